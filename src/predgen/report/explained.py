"""The page of explanations: each row's text with its words coloured, beside what is predicted."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import predgen
from predgen.distribution import Distribution
from predgen.explanation.explain import Explanation, LeftOut
from predgen.files import write_text
from predgen.report import words
from predgen.report.templates import policy, style, templates

_MOST_BARS = 12
_SHOWN_FROM = 0.05  # of a row's largest drop: what is less has no colour
_TAILS = 0.005  # of a number's distribution, left out of the bars at either end


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text on the page.

    Attributes:
        text: The text.
        kind: Class of its colour: "for", "against", or "" for none.
        share: Its drop, as a share of the row's largest, in percent.
        title: Its drop in words; "" for what is between words.
    """

    text: str
    kind: str = ""
    share: float = 0.0
    title: str = ""


def write_explanations(found: Sequence[Explanation], name: str, target: Path) -> None:
    """Write the page; a reader sees the whole page or the one before.

    Args:
        found: Explanations.
        name: What the page calls the model.
        target: The file to write.

    Raises:
        StorageError: If the file cannot be written.
    """
    write_text(target, explanations_page(found, name))


def explanations_page(found: Sequence[Explanation], name: str) -> str:
    """Return the page: the same explanations give the same text, byte by byte."""
    page = templates().get_template("explanations.html")
    return words.clean(
        page.render(
            version=predgen.__version__,
            name=name,
            style=style(),
            policy=policy(),
            rows=[_row(one) for one in found],
            unit=found[0].unit if found else "",
        )
    )


def _row(one: Explanation) -> dict[str, object]:
    """What the page shows of a row."""
    largest = max((abs(part.drop) for part in one.left_out), default=0.0)
    fields = dict.fromkeys(part.part.field for part in one.left_out) or dict.fromkeys(one.example.fields)
    return {
        "number": one.example.row_id + 1,
        "value": one.prediction.value if one.labels else words.as_figure(float(one.answer)),
        "answer": one.answer if one.labels else words.as_figure(float(one.answer)),
        "flags": sorted(flag.replace("_", " ") for flag in one.prediction.flags),
        "texts": {field: list(_pieces(one, field, largest)) for field in fields},
        "bars": list(_bars(one)),
        "table": [_line(one, part) for part in sorted(one.left_out, key=lambda part: -abs(part.drop))],
        "fields": len(fields),
    }


def _pieces(one: Explanation, field: str, largest: float) -> Iterator[Piece]:
    """A field's text, its words with their drops."""
    text, at = one.example.fields[field], 0
    for part in one.left_out:
        if part.part.field != field:
            continue
        if at < part.part.start:
            yield Piece(text[at : part.part.start])
        share = abs(part.drop) / largest if largest else 0.0
        kind = "" if share < _SHOWN_FROM else "for" if part.drop > 0 else "against"
        yield Piece(part.part.of(one.example.fields), kind, round(100 * share, 1), f"{_signed(part.drop)} {one.unit}")
        at = part.part.end
    if at < len(text):
        yield Piece(text[at:])


def _line(one: Explanation, part: LeftOut) -> dict[str, str]:
    """A word in the table."""
    value = part.value if isinstance(part.value, str) else words.as_figure(part.value)
    return {
        "text": part.part.of(one.example.fields),
        "field": part.part.field,
        "drop": _signed(part.drop),
        "value": value,
        "differs": "differs" if one.labels and part.value != one.prediction.value else "",
    }


def _signed(drop: float) -> str:
    """A drop with its sign."""
    return ("+" if drop > 0 else "") + words.as_figure(drop)


def _bars(one: Explanation) -> Iterator[tuple[str, float]]:
    """The most probable labels, or ranges of numbers, with their probabilities."""
    told = one.prediction
    if told.probabilities is not None:
        order = np.argsort(told.probabilities)[::-1][:_MOST_BARS]
        yield from ((one.labels[place], told.probabilities[place]) for place in order)
    elif told.distribution is not None:
        yield from _ranges(told.distribution)


def _ranges(told: Distribution) -> Iterator[tuple[str, float]]:
    """Numbers where they are few; else ranges of one width, without the tails."""
    if len(told.support) <= _MOST_BARS:
        yield from (
            (words.as_figure(float(x)), float(p)) for x, p in zip(told.support, told.probabilities, strict=True)
        )
        return
    low, high = told.quantile(_TAILS), told.quantile(1 - _TAILS)
    if low == high:
        yield words.as_figure(low), float(told.probabilities[told.support == low].sum())
        return
    masses, edges = np.histogram(told.support, _MOST_BARS, (low, high), weights=told.probabilities)
    for mass, (start, end) in zip(masses, itertools.pairwise(edges), strict=True):
        yield f"{words.as_figure(float(start))} to {words.as_figure(float(end))}", float(mass)
