"""A model with several targets: a prediction model for each question, over one language model."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from predgen.data.questions import QuestionBatch
from predgen.models.base import PredictionModel, Reduction, RowLosses, RowRunner
from predgen.sampling.draws import SamplingPlan
from predgen.weights import TensorFacts

_SEPARATOR = "/"


class TargetsModel(RowRunner):
    """Prediction models that share a language model: what each says of a row is what it says alone.

    Args:
        lm: The language model, possibly with adapters.
        parts: Name of each question -> its model over `lm`, in the order of the names.

    Attributes:
        names: Names of the questions; a question's number is its place among them.
    """

    def __init__(self, lm: Any, parts: Mapping[str, PredictionModel]) -> None:  # noqa: ANN401
        super().__init__(lm)
        self.names = tuple(parts)
        self.parts = nn.ModuleList(parts.values())

    def of(self, name: str) -> PredictionModel:
        """Return the model of a question."""
        part = self.parts[self.names.index(name)]
        assert isinstance(part, PredictionModel), "nothing else was given"
        return part

    def forward(self, batch: QuestionBatch, plan: SamplingPlan, reduction: Reduction) -> RowLosses:
        """Return the losses of all pairs of row and question, in the order of the batch's questions."""
        found = [self.parts[number](of_one, plan, reduction) for number, of_one in batch.batches.items()]
        total = found[0].total
        for losses in found[1:]:
            total = total + losses.total
        return RowLosses(total, _joined([one.writer for one in found]), _joined([one.director for one in found]))

    @property
    def way(self) -> str:
        """How predictions are computed, in a word; several where questions differ."""
        return ", ".join(dict.fromkeys(self.of(name).way for name in self.names))

    @property
    def engine(self) -> str:
        """How predictions are computed, in words."""
        return "; ".join(dict.fromkeys(self.of(name).engine for name in self.names))

    def head_state(self) -> dict[str, Tensor]:
        """Weights of everything beside the language model, by question and their name in its model."""
        return {
            f"{name}{_SEPARATOR}{weight}": value
            for name in self.names
            for weight, value in self.of(name).head_state().items()
        }

    def load_head_state(self, state: dict[str, Tensor]) -> None:
        """Put back what `head_state` returned; names, shapes and kinds of numbers have to agree."""
        expected = self.head_state()
        if {k: TensorFacts.of(v) for k, v in expected.items()} != {k: TensorFacts.of(v) for k, v in state.items()}:
            raise ValueError(f"head weights {sorted(state)} do not fit this model, which has {sorted(expected)}")
        for name in self.names:
            mine = f"{name}{_SEPARATOR}"
            own = {weight.removeprefix(mine): value for weight, value in state.items() if weight.startswith(mine)}
            self.of(name).load_head_state(own)


def _joined(values: list[Tensor | None]) -> Tensor | None:
    """One column of several; None where there are none: all questions have one method."""
    known = [value for value in values if value is not None]
    return torch.cat(known) if known else None
