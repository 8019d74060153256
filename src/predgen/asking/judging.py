"""A model's answers to the questions of a file of decisions, judged: accuracy, KL, Brier, calibration; numbers by MAE and CRPS."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from predgen.asking.asker import Asker, Case
from predgen.questions.decisions import Decision
from predgen.questions.kinds import NumberQuestion
from predgen.questions.measures import Judged, figures_of


@dataclass(frozen=True, slots=True)
class JudgedDecisions:
    """What a file of decisions shows of a model.

    Attributes:
        judged: Every question that has an answer in the file.
        counts: Cases, questions, and what was left out or shortened.
    """

    judged: tuple[Judged, ...]
    counts: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as plain JSON data: of all choices together, of each question, of each with numbers."""
        numbers = [one for one in self.judged if isinstance(one.question, NumberQuestion)]
        choices = [one for one in self.judged if not isinstance(one.question, NumberQuestion)]
        names = list(dict.fromkeys(one.name for one in self.judged))
        of_each = {name: figures_of([one for one in choices if one.name == name]) for name in names}
        of_numbers = {name: figures_of([one for one in numbers if one.name == name]) for name in names}
        by_question = {name: figures for one in (of_each, of_numbers) for name, figures in one.items() if figures}
        return {"counts": self.counts, "metrics": figures_of(choices), "by_question": by_question}


def judge(
    asker: Asker, decisions: Sequence[Decision], *, on_batch: Callable[[int], None] | None = None
) -> JudgedDecisions:
    """Ask a model all questions of some decisions, and hold its answers against theirs.

    Questions without an answer are not asked; they are counted.

    Args:
        asker: The model.
        decisions: What `read_decisions` returned.
        on_batch: Called with the number of cases after each batch.
    """
    cases = [Case(one.state, {name: one.questions[name] for name in one.answers}) for one in decisions]
    told = asker.answer(cases, on_batch=on_batch)
    judged = [
        Judged(number, name, decision.questions[name], answered.probabilities[name], gold)
        for number, (decision, answered) in enumerate(zip(decisions, told, strict=True))
        for name, gold in decision.answers.items()
    ]
    counts = Counter(
        cases=len(decisions),
        questions=len(judged),
        questions_without_answer=sum(one.missing for one in decisions),
        states_truncated=sum(one.is_truncated for one in told),
    )
    return JudgedDecisions(tuple(judged), dict(counts))
