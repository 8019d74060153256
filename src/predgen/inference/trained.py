"""A trained model together with everything needed to use it: prompt, codec, task, settings, measurements."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from predgen.config import RunConfig
from predgen.core import Example, Prediction, Row, TaskSpec
from predgen.data.digests import RowDigests
from predgen.data.encode import Encoded, Encoder
from predgen.data.examples import iter_examples
from predgen.data.sources import rows_of
from predgen.errors import ConfigError
from predgen.inference.batching import free_decoding, predict_encoded
from predgen.inference.cloze import predict_options
from predgen.models.base import PredictionModel
from predgen.models.base_model import BaseModel
from predgen.registry import near_matches


@dataclass
class TrainedModel:
    """What `predgen.train` returns and `predgen.load` reads back.

    Attributes:
        model: The prediction model, in eval state.
        base: The base model it was made from.
        encoder: Rows -> token ids.
        task: Task, with prompt, columns and metrics.
        config: All settings of the run.
        report: Measurements and facts of the training run, plain JSON data.
        trained_rows: Digests of the training rows; None where they are not known (older saved models).

    Example:
        >>> import predgen
        >>> model = predgen.load("RUN")  # doctest: +SKIP
        >>> model.predict([{"text": "a splendid evening"}])[0].value  # doctest: +SKIP
        'positive'
    """

    model: PredictionModel
    base: BaseModel
    encoder: Encoder
    task: TaskSpec
    config: RunConfig
    report: dict[str, Any] = field(default_factory=dict)
    trained_rows: RowDigests | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Class labels, in the order of all probabilities; empty for numbers."""
        return self.model.setup.labels

    @property
    def pad_id(self) -> int:
        """Some valid token id: what stands under a mask never matters."""
        return self.base.tokenizer.pad_token_id or 0

    def predict(self, rows: Iterable[Row] | Any, *, batch_size: int | None = None) -> list[Prediction]:  # noqa: ANN401
        """Predict rows: a pandas DataFrame, a `datasets.Dataset`, a list of mappings, or the path of a file.

        Args:
            rows: Must have the prompt's columns; other columns are ignored.
            batch_size: Rows per batch; None: `config.eval_batch_size`.

        Raises:
            DataError: If a column or a cell of the prompt is missing.
        """
        return self.predict_examples(list(iter_examples(rows_of(rows), self.task)), batch_size=batch_size)

    def predict_examples(
        self,
        examples: Sequence[Example],
        *,
        batch_size: int | None = None,
        decode: str = "constrained",
        on_batch: Callable[[int], None] | None = None,
    ) -> list[Prediction]:
        """Predict examples; targets they may have are not looked at.

        Args:
            examples: Rows.
            batch_size: Rows per batch; None: `config.eval_batch_size`.
            decode: "constrained", or "free": let a Generator write without constraint, and count what cannot be read.
            on_batch: Called with the number of rows after each batch.
        """
        encoded = [self.encoder.encode(example, with_answer=False) for example in examples]
        return self.predict_encoded(encoded, batch_size=batch_size, decode=decode, on_batch=on_batch)

    def predict_encoded(
        self,
        rows: Sequence[Encoded],
        *,
        batch_size: int | None = None,
        decode: str = "constrained",
        on_batch: Callable[[int], None] | None = None,
    ) -> list[Prediction]:
        """Predict encoded rows; see `predict_examples`."""
        if decode not in ("constrained", "free"):
            raise ConfigError(
                f"`decode` is {decode!r}.{near_matches(decode, ('constrained', 'free'))} Allowed: constrained, free."
            )
        if self.task.form == "cloze":
            if decode == "free":
                raise ConfigError(
                    "`decode` 'free' does not go with form 'cloze', which scores options and writes nothing."
                )
            return predict_options(
                self.model,
                rows,
                self.labels,
                pad_id=self.pad_id,
                batch_size=batch_size or self.config.eval_batch_size,
                on_batch=on_batch,
            )
        return predict_encoded(
            self.model,
            rows,
            pad_id=self.pad_id,
            batch_size=batch_size or self.config.eval_batch_size,
            predict=free_decoding(self.model, self.base.tokenizer) if decode == "free" else None,
            on_batch=on_batch,
        )

    # Saving and loading stand in `saved`, which knows the folder; imported late because it builds on this class.
    def save(self, folder: str | Path) -> Path:
        """Write the model into a folder; see `predgen.inference.saved.save`."""
        from predgen.inference.saved import save

        return save(self, folder)

    def merge(self, folder: str | Path) -> Path:
        """Write the fine-tuned language model as a plain Hugging Face folder; see `predgen.inference.saved.merge`."""
        from predgen.inference.saved import merge

        return merge(self, folder)

    def push_to_hub(self, repo_id: str, *, private: bool = True) -> str:
        """Upload the model and its card; see `predgen.inference.saved.push_to_hub`."""
        from predgen.inference.saved import push_to_hub

        return push_to_hub(self, repo_id, private=private)


def count_flags(predictions: Iterable[Prediction]) -> Mapping[str, int]:
    """How often each flag was raised."""
    counts: dict[str, int] = {}
    for prediction in predictions:
        for flag in prediction.flags:
            counts[flag] = counts.get(flag, 0) + 1
    return counts
