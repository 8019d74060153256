"""A trained model with several targets, and predicting with it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from predgen.core import Decoding, Example, Prediction, Row
from predgen.data.collate import Batch
from predgen.data.encode import Encoded
from predgen.data.examples import iter_examples
from predgen.data.given import given_rows
from predgen.data.prompts import prompt_fields
from predgen.data.questions import RowQuestions
from predgen.data.sources import rows_of
from predgen.engine.backbone import answers_only_from_finite_scores
from predgen.engine.forest import Answers, Asked, count_nodes, run_forest, split_shared
from predgen.engine.prompt_pass import SharedPrefix
from predgen.errors import ConfigError
from predgen.inference.batching import run_encoded
from predgen.inference.prefixes import KeptPrefix
from predgen.inference.trained import TrainedModel, of_contents
from predgen.models.base import PLAIN
from predgen.near_names import near_matches
from predgen.saved.contents import TargetContents
from predgen.saved.fetch import folder_of
from predgen.saved.loading import read_targets_folder
from predgen.saved.saving import write_folder

_Place = tuple[int, int]
"""A row, and a place in what it is asked."""


@dataclass(frozen=True, slots=True)
class _Prompted:
    """A row, and those of its questions that a forest holds: no texts, grids of many passes, or states of the whole prompt.

    Attributes:
        row: What its questions' prompts have in common; its number stands as `row_id`.
        asked: The questions.
        numbers: Their numbers in the model.
        places: Their places in what the row is asked.
        truncated: Whether each one's prompt was shortened.
    """

    row: Encoded
    asked: tuple[Asked, ...]
    numbers: tuple[int, ...]
    places: tuple[int, ...]
    truncated: tuple[bool, ...]

    @classmethod
    def of(cls, index: int, row: RowQuestions, answers: Sequence[Answers | None]) -> "_Prompted":
        """Take the questions of a row that have answers in a forest."""
        held = [
            (place, number, one, of_one)
            for place, (number, one) in enumerate(row.asked)
            if (of_one := answers[number]) is not None
        ]
        shared, suffixes = split_shared([one.prompt_ids for _, _, one, _ in held]) if held else ((), [])
        # A single question needs no forest; and prompts may have been shortened at their beginning, each another way.
        if len(held) < 2 or not shared:
            held, suffixes = [], []
        return cls(
            Encoded(index, shared, (), (), float("nan"), 1.0, False),
            tuple(Asked(suffix, of_one) for suffix, (_, _, _, of_one) in zip(suffixes, held, strict=True)),
            tuple(number for _, number, _, _ in held),
            tuple(place for place, _, _, _ in held),
            tuple(one.is_truncated for _, _, one, _ in held),
        )


@dataclass
class TrainedTargets(TargetContents):
    """What `predgen.train_targets` returns and `predgen.load_targets` reads back.

    Each question is a `TrainedModel` of its own over the shared language model: `model["mood"]` predicts, measures, explains and
    is saved as one of a single target. Questions about the labels of a multi-label target have names such as `tags[wine]`.

    Attributes:
        parts: Name of each question -> its model, in the order of the names.

    Example:
        >>> import predgen
        >>> model = predgen.load_targets("RUN")  # doctest: +SKIP
        >>> model.predict([{"text": "a splendid evening"}])[0]["mood"].value  # doctest: +SKIP
        'good'
    """

    parts: Mapping[str, TrainedModel]
    _kept: KeptPrefix = field(default_factory=KeptPrefix, init=False, repr=False, compare=False)

    def __getitem__(self, name: str) -> TrainedModel:
        """Return the model of a question.

        Raises:
            ConfigError: If there is none of this name.
        """
        if name not in self.parts:
            raise ConfigError(
                f"the model has no target {name!r}.{near_matches(name, self.parts)} It has: {', '.join(map(repr, self.parts))}."
            )
        return self.parts[name]

    @property
    def pad_id(self) -> int:
        """See `TrainedModel.pad_id`."""
        return next(iter(self.parts.values())).pad_id

    def predict(self, rows: Iterable[Row] | Any, *, batch_size: int | None = None) -> list[dict[str, Prediction]]:  # noqa: ANN401
        """Predict rows; see `TrainedModel.predict`.

        Returns:
            For each row, the prediction of every question by its name, targets in the order in which they were given. Values are
            labels as they stand in the training rows.
        """
        names = self.names
        examples = self.examples(rows)
        found = self.predict_examples(examples, batch_size=batch_size)
        own = {name: self.parts[name].in_own_labels(of_one) for name, of_one in found.items()}
        return [dict(zip(names, of_row, strict=True)) for of_row in zip(*(own[name] for name in names), strict=True)]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all questions, targets in the order in which they were given."""
        return tuple(name for spec in self.specs for name in spec.part_names)

    def examples(self, rows: Iterable[Row] | Any) -> dict[str, list[Example]]:  # noqa: ANN401
        """Return rows as examples without targets, by question.

        Args:
            rows: As for `predict`.
        """
        first = self.parts[self.names[0]]
        given = list(
            rows_of(rows)
            if isinstance(rows, str | Path)
            else given_rows(rows, prompt_fields(first.task.prompt), name="rows").rows
        )
        return {name: list(iter_examples(given, self.parts[name].task)) for name in self.names}

    def predict_examples(
        self,
        examples: Mapping[str, Sequence[Example]],
        *,
        batch_size: int | None = None,
        on_batch: Callable[[int], None] | None = None,
        decodings: Mapping[str, Decoding] | None = None,
    ) -> dict[str, list[Prediction]]:
        """Predict examples of each question; values are texts of labels, as targets are.

        Args:
            examples: Name of a question -> the same rows with its prompt's fields.
            batch_size: Rows per batch.
            on_batch: Called with the number of rows after each batch.
            decodings: Name of a question -> what to ask of its model; its own prediction where there is none.
        """
        numbers = {name: self.model.names.index(name) for name in examples}
        of_rows = [
            RowQuestions(
                row[0].row_id,
                tuple(
                    (numbers[name], self.parts[name].encoder.encode(example, with_answer=False))
                    for name, example in zip(examples, row, strict=True)
                ),
            )
            for row in zip(*examples.values(), strict=True)
        ]
        asked = [(decodings or {}).get(name, PLAIN) for name in self.model.names]
        found = self.predict_questions(of_rows, asked, batch_size=batch_size, on_batch=on_batch)
        return {name: [of_row[place] for of_row in found] for place, name in enumerate(examples)}

    def predict_questions(
        self,
        rows: Sequence[RowQuestions],
        decodings: Sequence[Decoding] = (),
        *,
        batch_size: int | None = None,
        on_batch: Callable[[int], None] | None = None,
    ) -> list[list[Prediction]]:
        """Predict what is asked of each row.

        Args:
            rows: The rows.
            decodings: What to ask of each question's model, by its number; none: its own prediction.
            batch_size: Rows per batch.
            on_batch: Called with the number of rows after each batch.

        Returns:
            For each row its predictions, in the order of what is asked.
        """
        asked = decodings or [PLAIN] * len(self.model.names)
        answers = [
            self.model.of(name).answers_in_forest(one) for name, one in zip(self.model.names, asked, strict=True)
        ]
        prompted = [_Prompted.of(i, row, answers) for i, row in enumerate(rows)]
        found = self._in_forest(prompted, asked, batch_size, on_batch)
        alone = [(i, j) for i, row in enumerate(rows) for j in range(len(row.asked)) if (i, j) not in found]
        for number, name in enumerate(self.model.names):
            places = [(i, j) for i, j in alone if rows[i].asked[j][0] == number]
            encoded = [rows[i].asked[j][1] for i, j in places]
            told = self.parts[name].predict_encoded(encoded, batch_size=batch_size, decoding=asked[number])
            found.update(zip(places, told, strict=True))
        return [[found[i, j] for j in range(len(row.asked))] for i, row in enumerate(rows)]

    def _in_forest(
        self,
        prompted: Sequence["_Prompted"],
        decodings: Sequence[Decoding],
        batch_size: int | None,
        on_batch: Callable[[int], None] | None,
    ) -> dict[_Place, Prediction]:
        """Predictions of all questions that a forest holds, each row's behind one prefill; by row and place in what it is asked."""
        waiting = [one for one in prompted if one.asked]
        everything = any(
            self.model.of(name).runs_everything(one) for name, one in zip(self.model.names, decodings, strict=True)
        )

        def run(batch: Batch, prefix: SharedPrefix | None) -> list[dict[_Place, Prediction]]:
            return self._run([prompted[i] for i in batch.row_id.tolist()], batch, prefix, decodings, everything)

        with torch.no_grad(), answers_only_from_finite_scores():
            told = run_encoded(
                self.model,
                [one.row for one in waiting],
                run,
                pad_id=self.pad_id,
                answer_nodes=[count_nodes(one.asked, everything=everything) for one in waiting],
                batch_tokens=self.config.eval_batch_tokens,
                batch_size=batch_size or self.config.eval_batch_size,
                kept=self._kept,
                on_batch=on_batch,
            )
        return {place: prediction for of_row in told for place, prediction in of_row.items()}

    def _run(
        self,
        prompted: Sequence["_Prompted"],
        batch: Batch,
        prefix: SharedPrefix | None,
        decodings: Sequence[Decoding],
        everything: bool,
    ) -> list[dict[_Place, Prediction]]:
        """Predictions of a batch of rows."""
        groves = run_forest(
            self.model.backbone,
            batch.prompt_ids,
            batch.prompt_mask,
            [one.asked for one in prompted],
            obstacle=self.model.obstacle,
            prefix=prefix,
            everything=everything,
        )
        found: list[dict[_Place, Prediction]] = [{} for _ in prompted]
        for grove in groves:
            row, question = grove.pairs[0]
            number = prompted[row].numbers[question]  # a grove is of one answer set, which is one question's own
            told = self.model.of(self.model.names[number]).predict_in_forest(grove, decodings[number])
            for (row, question), prediction in zip(grove.pairs, told, strict=True):
                one = prompted[row]
                flags = prediction.flags | {"truncated"} if one.truncated[question] else prediction.flags
                found[row][one.row.row_id, one.places[question]] = replace(prediction, flags=flags)
        return found

    def save(self, folder: str | Path) -> Path:
        """Write the model into a folder; see `predgen.saved.saving.write_folder`."""
        return write_folder(self, folder)


def load_targets(
    folder: str | Path, *, base: str | None = None, merge_adapter: bool = False, trust_remote_code: bool = False
) -> TrainedTargets:
    """Read a saved model with several targets back; it predicts what it predicted before.

    Args:
        folder: What `predgen train --out` or `TrainedTargets.save` wrote; or, as text, the hub id where it was uploaded.
        base: See `predgen.load`, as all that follow.
        merge_adapter: See `predgen.load`.
        trust_remote_code: See `predgen.load`.

    Raises:
        SavedModelError: See `predgen.load`.
        ModelError: If the base model is missing.
        ConfigError: If the model has one target.
    """
    found = read_targets_folder(
        folder_of(folder), base=base, merge_adapter=merge_adapter, trust_remote_code=trust_remote_code
    )
    parts = {name: of_contents(part) for name, part in found.parts.items()}
    return TrainedTargets(found.model, found.base, found.config, found.specs, parts, found.report, found.trained_rows)
