"""Explaining predictions: each word of a row is left out once, and the model asked again.

row -> its words -> one row per left-out word -> all of them predicted in common batches -> what each word's absence changes.
Nothing is sampled and nothing fitted: every figure is the difference of two exact predictions.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from predgen.core import Example, Prediction, Row
from predgen.data.prompts import prompt_fields
from predgen.errors import ConfigError
from predgen.explanation.parts import Part, left_out, row_parts
from predgen.inference.facts import whole_decoding
from predgen.inference.trained import TrainedModel
from predgen.near_names import near_matches

MOST_PARTS = 512
"""Most parts of a row that are left out one by one; the words of a longer row are left out together with their neighbours."""

_EXAMPLES_AT_ONCE = 2048  # bounds memory: distributions of numbers may be large
_LEAST = float(np.finfo(np.float64).eps)  # as in `log_loss`


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What changes where a part of a row is left out.

    Attributes:
        part: The part.
        drop: By how much the answer loses: log P(answer | row) - log P(answer | row without the part) in nats, where a P
            below 2.2e-16 counts as that, as in `log_loss`; of numbers, the predicted number minus the one without the part.
            Above 0: the part speaks for the answer, or raises the number.
        value: The label or number that is predicted without it.
    """

    part: Part
    drop: float
    value: str | float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A row, what is predicted of it, and what each part of its text has to do with that.

    Attributes:
        example: The row.
        prediction: What is predicted of it, with the distribution where there is one.
        answer: The label that is explained; the predicted number.
        labels: The model's labels, in the order of the probabilities; empty for numbers.
        unit: Unit of the drops: "nats" for labels, "units of the target" for numbers.
        left_out: One entry per part, in the order of the fields in the prompt and of the parts in them.
    """

    example: Example
    prediction: Prediction
    answer: str | float
    labels: tuple[str, ...]
    unit: str
    left_out: tuple[LeftOut, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data; places count characters (Unicode code points) from 0."""
        fields = self.example.fields
        return {
            "row": self.example.row_id + 1,
            "fields": dict(fields),
            "answer": self.answer,
            "labels": list(self.labels),
            "prediction": self.prediction.to_dict(),
            "unit": self.unit,
            "words": [
                {
                    "field": one.part.field,
                    "start": one.part.start,
                    "end": one.part.end,
                    "text": one.part.of(fields),
                    "drop": one.drop,
                    "value_without": one.value,
                }
                for one in self.left_out
            ],
        }


def explain(
    trained: TrainedModel,
    rows: Iterable[Row] | Any,  # noqa: ANN401
    *,
    label: str | None = None,
    batch_size: int | None = None,
) -> list[Explanation]:
    """Explain what a model predicts: by how much each word of a row's fields moves the answer.

    The template around the fields stays, and so do the options of a model that scores options.

    Args:
        trained: The model.
        rows: As for `TrainedModel.predict`: a file, texts, a frame, mappings.
        label: The text of the label to explain in every row; None: the predicted one.
        batch_size: As for `predict`.

    Raises:
        ConfigError: If the model writes answers without probabilities, or does not know the label.
        DataError: If a column or a cell of the prompt is missing.
    """
    check_explainable(trained, label)
    return explain_examples(trained, trained.examples(rows), label=label, batch_size=batch_size)


def explain_examples(
    trained: TrainedModel,
    examples: Sequence[Example],
    *,
    label: str | None = None,
    batch_size: int | None = None,
    on_rows: Callable[[int], None] | None = None,
) -> list[Explanation]:
    """Explain examples; see `explain`.

    Args:
        trained: The model.
        examples: Rows; targets are not looked at.
        label: The label to explain in every row; None: the predicted one.
        batch_size: As for `predict`.
        on_rows: Called with the number of rows explained since the last call.

    Raises:
        ConfigError: If the model writes answers without probabilities, or does not know the label.
    """
    check_explainable(trained, label)
    found: list[Explanation] = []
    for rows in _in_portions(trained, examples):
        asked = [one for _, _, questions in rows for one in questions]
        told = iter(trained.predict_examples(asked, batch_size=batch_size, decoding=whole_decoding(trained.model)))
        found += [explained_by(trained, row, parts, label, [next(told) for _ in asked]) for row, parts, asked in rows]
        if on_rows is not None:
            on_rows(len(rows))
    return found


def check_explainable(trained: TrainedModel, label: str | None = None) -> None:
    """Refuse what has no probabilities, and labels that are not the model's.

    Raises:
        ConfigError: If it is such a model or label.
    """
    kind = trained.model.setup.kind
    if kind not in ("classification", "regression"):
        raise ConfigError(
            f"explanations need probabilities of labels, or numbers to compare, but this is a {kind} model, whose answers"
            " are written freely. Explain a model of kind classification or regression."
        )
    if label is not None and label not in trained.labels:
        if not trained.labels:
            raise ConfigError(f"`label` is {label!r}, but this model predicts numbers. Leave it out.")
        raise ConfigError(
            f"`label` is {label!r}, which the model does not know.{near_matches(label, trained.labels)}"
            f" Allowed: {', '.join(trained.labels)}."
        )


def rows_without_parts(trained: TrainedModel, example: Example) -> tuple[list[Part], list[Example]]:
    """Return the parts of a row that are left out, and what the model is asked: the row, and the row without each of them.

    Args:
        trained: The model.
        example: The row.
    """
    names = prompt_fields(trained.task.prompt)
    parts = row_parts({name: example.fields[name] for name in names}, MOST_PARTS)
    return parts, [example, *(_without(example, part) for part in parts)]


def _in_portions(
    trained: TrainedModel, examples: Sequence[Example]
) -> Iterator[list[tuple[Example, list[Part], list[Example]]]]:
    """Rows with their parts and questions, some thousand questions at a time."""
    portion: list[tuple[Example, list[Part], list[Example]]] = []
    size = 0
    for example in examples:
        portion.append((example, *rows_without_parts(trained, example)))
        size += len(portion[-1][2])
        if size >= _EXAMPLES_AT_ONCE:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _without(example: Example, part: Part) -> Example:
    """The row without a part."""
    text = left_out(example.fields[part.field], part.start, part.end)
    return replace(example, fields={**example.fields, part.field: text})


def explained_by(
    trained: TrainedModel, example: Example, parts: Sequence[Part], label: str | None, told: Sequence[Prediction]
) -> Explanation:
    """Return a row's explanation from what the model said to `rows_without_parts` it.

    Args:
        trained: The model.
        example: The row.
        parts: Its parts.
        label: The label to explain; None: the predicted one.
        told: Predictions by `whole_decoding`, in the order of the questions.
    """
    whole, *others = told
    assert whole.value is not None, "labels and constrained numbers are always readable"
    answer = whole.value if label is None else label
    labels = trained.labels
    scores = [_score(one, answer, labels) for one in told]
    changes = [
        LeftOut(part, scores[0] - score, other.value)
        for part, score, other in zip(parts, scores[1:], others, strict=True)
    ]
    return Explanation(example, whole, answer, labels, "nats" if labels else "units of the target", tuple(changes))


def _score(told: Prediction, answer: str | float, labels: Sequence[str]) -> float:
    """Log-probability of a label, or the predicted number."""
    if not labels:
        assert told.value is not None, "constrained numbers are always readable"
        return float(told.value)
    assert told.probabilities is not None, "labels have probabilities"
    return math.log(max(told.probabilities[labels.index(str(answer))], _LEAST))
