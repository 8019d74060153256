"""A model with several targets: a prediction model for each question, over one language model."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from predgen.data.questions import QuestionBatch
from predgen.engine.prompt_pass import CachedPrompts
from predgen.engine.question_prompts import run_questions
from predgen.models.base import PredictionModel, Reduction, RowLosses, RowRunner
from predgen.models.together import CommonPrompts, parts_to_run
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
        """Return the losses of all pairs of row and question, in the order of the batch's questions.

        What a row's questions have in common is run once for all of them, where the base model runs trees.
        """
        prompts = self._run_together(batch)
        found = []
        for number, of_one in batch.batches.items():
            part = self.of(self.names[number])
            with part.behind(of_one, prompts.get(number)):
                found.append(part(of_one, plan, reduction))
        total = found[0].total
        for losses in found[1:]:
            total = total + losses.total
        return RowLosses(total, _joined([one.writer for one in found]), _joined([one.director for one in found]))

    @property
    def runs_together(self) -> bool:
        """Whether questions are run behind common prompts, now; else each is a row of its own."""
        return self.obstacle is None and not self.backbone.drops_caches

    def parts_to_run(self, batch: QuestionBatch) -> list[QuestionBatch]:
        """Cut a batch into parts whose losses add up to its own; one part's graph is alive at a time."""
        return parts_to_run(batch, together=self.runs_together)

    def _run_together(self, batch: QuestionBatch) -> dict[int, CachedPrompts]:
        """Prompts of each question, by its number; none where there is nothing to share."""
        common = CommonPrompts.of(batch) if self.runs_together else None
        if common is None:
            return {}
        questions = [common.continued(number, self.of(self.names[number]).head_tokens) for number in batch.batches]
        found = run_questions(self.backbone, common.ids, common.mask, questions)
        return dict(zip(batch.batches, found, strict=True))

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
