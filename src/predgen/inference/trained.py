"""A trained model together with everything needed to use it: prompt, codec, task, settings, measurements."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from predgen.core import Decoding, Example, Prediction, Row
from predgen.data.encode import Encoded
from predgen.data.examples import iter_examples
from predgen.data.given import given_rows
from predgen.data.prompts import prompt_fields
from predgen.data.sources import rows_of
from predgen.decodings import rule_of
from predgen.errors import ConfigError
from predgen.inference.batching import free_decoding, predict_encoded
from predgen.inference.guarantees import Guarantee, Promised
from predgen.inference.prefixes import KeptPrefix
from predgen.metrics.base import metric_of, primary_metric
from predgen.models.base import PLAIN, PredictionModel
from predgen.models.targets import TargetsModel
from predgen.near_names import near_matches
from predgen.saved.contents import Contents
from predgen.saved.export import merge, push_to_hub
from predgen.saved.fetch import folder_of
from predgen.saved.loading import read_folder, read_targets_folder
from predgen.saved.saving import write_folder


@dataclass
class TrainedModel(Contents):
    """What `predgen.train` returns and `predgen.load` reads back: what a model's folder holds, and predicting with it.

    Attributes:
        validated: What has been predicted of the validation rows at the end of training, in their order; None: it was loaded.

    Example:
        >>> import predgen
        >>> model = predgen.load("RUN")  # doctest: +SKIP
        >>> model.predict([{"text": "a splendid evening"}])[0].value  # doctest: +SKIP
        'positive'
    """

    validated: list[str | float | None] | None = field(default=None, init=False, repr=False, compare=False)
    _kept: KeptPrefix = field(default_factory=KeptPrefix, init=False, repr=False, compare=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class labels, in the order of all probabilities; empty for numbers."""
        return self.model.setup.labels

    @property
    def pad_id(self) -> int:
        """Some id that has an embedding: what stands under a mask never matters."""
        pad = self.base.tokenizer.pad_token_id
        return pad if pad is not None and pad < self.model.backbone.vocabulary_size else 0

    @property
    def classes(self) -> tuple[str | float, ...]:
        """The same as they stand in the training rows: numbers stay numbers, true stays true."""
        return tuple(self.task.values.get(label, label) for label in self.labels)

    def in_own_labels(self, predictions: Iterable[Prediction]) -> list[Prediction]:
        """Return predictions whose value is one of `classes`, where it was one of `labels`."""
        values = self.task.values
        return [replace(p, value=values.get(str(p.value), p.value)) if values else p for p in predictions]

    def predict(
        self,
        rows: Iterable[Row] | Any,  # noqa: ANN401
        *,
        batch_size: int | None = None,
        decoding: Decoding = PLAIN,
    ) -> list[Prediction]:
        """Predict rows: the path of a file, or what estimators take: texts, a data frame, mappings, lists of cells.

        Args:
            rows: Must have the prompt's columns; other columns are ignored. Texts, and single cells, fill the prompt's only
                field; several nameless cells are the columns `x0`, `x1`, .. Where there are no rows, there is nothing to
                predict.
            batch_size: Rows per batch; None: as many as `config.eval_batch_tokens` allow.
            decoding: What to ask for besides the method's own prediction, e.g. `Decoding(distribution=True)`.

        Raises:
            DataError: If a column or a cell of the prompt is missing.
            ConfigError: If the model cannot be asked for what `decoding` says.
        """
        return self.in_own_labels(self.predict_examples(self.examples(rows), batch_size=batch_size, decoding=decoding))

    def examples(self, rows: Iterable[Row] | Any) -> list[Example]:  # noqa: ANN401
        """Return rows as examples without targets.

        Args:
            rows: As for `predict`.

        Raises:
            DataError: If a column or a cell of the prompt is missing.
        """
        return list(iter_examples(self._rows(rows), self.task))

    def predict_set(
        self,
        rows: Iterable[Row] | Any,  # noqa: ANN401
        coverage: float = 0.9,
        *,
        conformal: str | None = None,
        by: str | None = None,
        batch_size: int | None = None,
    ) -> list[list[str | float]]:
        """Return for each row the labels among which the true one is in a share of `coverage` of rows; never none.

        Args:
            rows: As for `predict`.
            coverage: Between 0 and 1. It holds whatever model and labels are like, for rows like the calibration's.
            conformal: "lac" (the smallest sets), "aps" (larger where the model is unsure) or "ordinal" (neighbouring
                labels); None: "ordinal" where labels are levels, else "lac".
            by: Column whose groups are covered one by one; the model was calibrated by it.
            batch_size: Rows per batch.

        Raises:
            ConfigError: If the model predicts no labels, is not calibrated, or on too few rows for this coverage.
        """
        if not self.labels:
            raise ConfigError("sets are for labels, but this model predicts none; numbers have `predict_interval`.")
        guarantee = self.guarantee(Promised(coverage, conformal, by))
        given, predictions = self._promised(rows, guarantee, batch_size)
        return [[self.classes[place] for place in places] for places in guarantee.sets(given, predictions)]

    def predict_interval(
        self,
        rows: Iterable[Row] | Any,  # noqa: ANN401
        coverage: float = 0.9,
        *,
        conformal: str | None = None,
        by: str | None = None,
        batch_size: int | None = None,
    ) -> list[tuple[float, float]]:
        """Return for each row lower and upper end between which the true number is in a share of `coverage` of rows.

        Args:
            rows: As for `predict`.
            coverage: Between 0 and 1. It holds whatever model and numbers are like, for rows like the calibration's.
            conformal: "cqr" (from the model's own quantiles) or "cps" (a conformal predictive system around its number);
                None: "cqr" where the model writes numbers.
            by: Column whose groups are covered one by one; the model was calibrated by it.
            batch_size: Rows per batch.

        Raises:
            ConfigError: If the model predicts no numbers, is not calibrated, or on too few rows for this coverage.
        """
        if self.model.setup.kind != "regression":
            raise ConfigError(
                f"intervals are for numbers, but this is a {self.model.setup.kind} model; labels have `predict_set`."
            )
        guarantee = self.guarantee(Promised(coverage, conformal, by))
        return guarantee.intervals(*self._promised(rows, guarantee, batch_size))

    def guarantee(self, promised: Promised, decoding: Decoding = PLAIN) -> Guarantee:
        """Return what keeps a promise about predictions.

        Raises:
            ConfigError: If the model cannot keep it.
        """
        return Guarantee(self.model, self.calibration, promised, decoding)

    def _promised(
        self,
        rows: Any,  # noqa: ANN401
        guarantee: Guarantee,
        batch_size: int | None,
    ) -> tuple[list[Row], list[Prediction]]:
        """Rows, and predictions as promises need them."""
        found = list(self._rows(rows))
        examples = list(iter_examples(found, self.task))
        return found, self.predict_examples(examples, batch_size=batch_size, decoding=guarantee.decoding(PLAIN))

    def _rows(self, rows: Any) -> Iterable[Row]:  # noqa: ANN401
        """Rows of a file, or in memory."""
        if isinstance(rows, str | Path):
            return rows_of(rows)
        return given_rows(rows, prompt_fields(self.task.prompt), name="rows").rows

    def predict_examples(
        self,
        examples: Sequence[Example],
        *,
        batch_size: int | None = None,
        decoding: Decoding = PLAIN,
        on_batch: Callable[[int], None] | None = None,
    ) -> list[Prediction]:
        """Predict examples; targets they may have are not looked at. Values are texts of `labels`, as targets are.

        Args:
            examples: Rows.
            batch_size: Rows per batch; None: `config.eval_batch_size`, or as many as `config.eval_batch_tokens` allow.
            decoding: See `predict`.
            on_batch: Called with the number of rows after each batch.
        """
        encoded = [self.encoder.encode(example, with_answer=False) for example in examples]
        return self.predict_encoded(encoded, batch_size=batch_size, decoding=decoding, on_batch=on_batch)

    def predict_encoded(
        self,
        rows: Sequence[Encoded],
        *,
        batch_size: int | None = None,
        decoding: Decoding = PLAIN,
        on_batch: Callable[[int], None] | None = None,
    ) -> list[Prediction]:
        """Predict encoded rows; see `predict_examples`."""
        decoding = self.resolved(decoding)
        is_free = decoding.how is not None and rule_of(decoding.how, decoding.own).reads == "text"
        return predict_encoded(
            self.model,
            rows,
            pad_id=self.pad_id,
            batch_tokens=self.config.eval_batch_tokens,
            batch_size=batch_size or self.config.eval_batch_size,
            decoding=PLAIN if is_free else decoding,
            predict=free_decoding(self.model, self.base.tokenizer) if is_free else None,
            kept=self._kept,
            on_batch=on_batch,
        )

    def resolved(self, decoding: Decoding) -> Decoding:
        """Check what is asked for, and replace "best" by the point that the run's metric rewards.

        The mean minimises the squared error, the median the absolute one (RAIL, Lukasik et al. 2024, arXiv:2403.04182).

        Raises:
            ConfigError: If it is not for this model.
        """
        rule = None if decoding.how is None else rule_of(decoding.how, decoding.own)
        if rule is not None and rule.reads == "text":
            if decoding.distribution or decoding.full_vocabulary:
                raise ConfigError(
                    f"`decode` {decoding.how!r} gives a text, which has no distribution; leave one of them out."
                )
            free_decoding(self.model, self.base.tokenizer)  # refuses what predicts by a head
            self.model.check(decoding)
            return decoding
        if rule is not None and rule.by_metric:
            if self.model.setup.kind != "regression":
                raise ConfigError(
                    f"`decode` {decoding.how!r} is a point of a distribution over numbers, but this is a"
                    f" {self.model.setup.kind} model."
                )
            metric = metric_of(primary_metric(self.config.metric, self.task), self.config.own)
            decoding = replace(decoding, how=metric.point)
        self.model.check(decoding)
        return decoding

    def save(self, folder: str | Path) -> Path:
        """Write the model into a folder; see `predgen.saved.saving.write_folder`."""
        return write_folder(self, folder)

    def merge(self, folder: str | Path) -> Path:
        """Write the fine-tuned language model as a plain Hugging Face folder; see `predgen.saved.export.merge`."""
        return merge(self, folder)

    def push_to_hub(self, repo_id: str, *, private: bool = True) -> str:
        """Upload the model and its card; see `predgen.saved.export.push_to_hub`."""
        return push_to_hub(self, repo_id, private=private)


def load(
    folder: str | Path,
    *,
    target: str | None = None,
    base: str | None = None,
    merge_adapter: bool = False,
    trust_remote_code: bool = False,
) -> TrainedModel:
    """Read a saved model back; it predicts what it predicted before, bit for bit in float32 on the same machine.

    Args:
        folder: What `predgen train --out` or `TrainedModel.save` wrote; or, as text, the hub id of what `push_to_hub` uploaded.
        target: Of a model with several targets, the one to predict with (`predgen.load_targets` reads all of them).
        base: Where the base model lies now, if no longer where it was.
        merge_adapter: Fold the adapter into the base's weights: faster, and equal up to rounding (about 1e-6). Only for
            weights in float32, since others would round away small updates; they stay as they are.
        trust_remote_code: Let a model that was trained with Python code of its base run that code. Nothing in the folder
            can allow it.

    Raises:
        SavedModelError: If the folder is no complete saved model, is damaged, the base model is another one, or it needs
            code that the caller does not allow.
        ModelError: If the base model is missing.
        ConfigError: If the model has several targets and none of them is named, or one target and another is named.
    """
    place = folder_of(folder)
    if target is not None:
        many = read_targets_folder(place, base=base, merge_adapter=merge_adapter, trust_remote_code=trust_remote_code)
        if target not in many.parts:
            raise ConfigError(
                f"{str(folder)!r} holds no target {target!r}.{near_matches(target, many.parts)} It holds:"
                f" {', '.join(map(repr, many.parts))}."
            )
        return of_contents(many.parts[target])
    found = read_folder(place, base=base, merge_adapter=merge_adapter, trust_remote_code=trust_remote_code)
    return of_contents(found)


def of_contents(found: Contents) -> TrainedModel:
    """Return what a folder holds as a model to predict with."""
    return TrainedModel(**{one.name: getattr(found, one.name) for one in fields(found)})


def engine_in_words(model: PredictionModel | TargetsModel) -> list[str]:
    """A line where a model's answers are not evaluated by the tree pass, or its base needs a detour; else none."""
    return [f"Answers: {model.engine}."] if model.way.startswith("sequential") or model.engine != model.way else []


def count_flags(predictions: Iterable[Prediction]) -> Mapping[str, int]:
    """How often each flag was raised."""
    counts: dict[str, int] = {}
    for prediction in predictions:
        for flag in prediction.flags:
            counts[flag] = counts.get(flag, 0) + 1
    return counts
