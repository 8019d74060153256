"""Single cells: missing or not, and what text, number, label or weight they hold."""

import datetime
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from predgen.near_names import near_matches

_BYTES_PER_VALUE = 64  # of a Python object and its place in a dictionary
_LABELS_NAMED = 10  # in one message
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", re.ASCII)


_DATE = "a date, not a number; write e.g. the days since a fixed one"
_ALMOST_NUMBERS = (
    (_THOUSANDS, "a number with commas; write it without"),
    (re.compile(r"[+-]?\d+(\.\d{3})*,\d+", re.ASCII), "a number with a decimal comma; write it with a point"),
    (re.compile(r"[+-]?\d[\d.,]*\s*%"), "a percentage; write the number alone, as percent or as a share in all rows"),
    (re.compile(r"([$€£¥]|[A-Z]{3})\s*[+-]?[\d.,]+|[+-]?[\d.,]+\s*([$€£¥]|[A-Z]{3})"), "an amount with a currency; write the number alone"),
    (re.compile(r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})([T ].*)?"), _DATE),
)  # fmt: skip
MISSING_MARKS = ("na", "n/a", "nan", "null", "none", "nil", "-", "--", "missing", "#n/a", "#value!")
"""What people write for a missing value, in lower case. In text files these are words: a label may be "none"."""


class CellError(ValueError):
    """A cell that cannot be used; the message says why, without row and column."""


def plain(value: Any) -> Any:  # noqa: ANN401
    """Return a numpy scalar as the Python value it stands for, anything else as it is."""
    if type(value).__name__ == "float32":
        return float(str(value))  # 3.8, not 3.799999952316284
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def is_missing(value: Any) -> bool:  # noqa: ANN401
    """Whether a cell holds nothing: None, NaN, pandas' NA and NaT. An empty text is a text."""
    value = plain(value)
    # By name: pandas is optional, and `pd.NA == pd.NA` is neither true nor false.
    return (
        value is None
        or type(value).__name__ in ("NAType", "NaTType")
        or (isinstance(value, float) and math.isnan(value))
    )


def size_of(row: Mapping[str, Any]) -> int:
    """About how many bytes a row takes in memory, values inside values included; level by level, for nesting may be deep."""
    total, level = 0, list(row.values())
    while level:
        total += sum(_BYTES_PER_VALUE + (len(value) if isinstance(value, str | bytes) else 0) for value in level)
        inner = (
            value.values() if isinstance(value, dict) else value for value in level if isinstance(value, dict | list)
        )
        level = [value for values in inner for value in values]
    return total


def shown(value: object) -> str:
    """Return a value's text for a message, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def field_text(value: Any) -> str:  # noqa: ANN401
    """Return a prompt field's text.

    Raises:
        CellError: If it is missing, is bytes, or holds half of a surrogate pair, which no tokenizer can read.
    """
    value = plain(value)
    if is_missing(value):
        raise CellError("missing")
    if isinstance(value, bytes):
        raise CellError("bytes, not text")
    text = str(value)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CellError(f"not valid Unicode (lone surrogate at character {error.start + 1})") from None
    return text


def number_of(value: Any, *, with_commas: bool = False) -> float:  # noqa: ANN401
    """Return a finite number.

    Args:
        value: The cell.
        with_commas: Accept thousands commas in text.

    Raises:
        CellError: If the cell is missing, or not a finite number. True and false are labels, not numbers.

    Example:
        >>> number_of(" -1.5e1 "), number_of("1,250", with_commas=True)
        (-15.0, 1250.0)
    """
    value = plain(value)
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        raise CellError("missing" if not isinstance(value, str) else "empty")
    if isinstance(value, bool):
        raise CellError("true/false is a label, not a number")
    if isinstance(value, datetime.date):
        raise CellError(_DATE)
    if isinstance(value, str):
        # Not float() alone: it also takes "1_000", "nan" and "infinity".
        if with_commas and _THOUSANDS.fullmatch(value.strip()):
            value = value.replace(",", "")
        if not _NUMBER.fullmatch(value.strip()):
            raise CellError(_not_a_number(value.strip()))
    try:
        number = float(value)
    except OverflowError:
        raise CellError("too large for a number") from None
    except (TypeError, ValueError):
        raise CellError("not a number") from None
    if not math.isfinite(number):
        raise CellError("not finite")
    return number


def _not_a_number(text: str) -> str:
    """Say what a text is instead of a number; nothing is converted, since what was meant is the user's to say."""
    if text.lstrip("+-").casefold() in ("inf", "infinity", "nan"):
        return "not finite"
    if text.casefold() in MISSING_MARKS:
        return "not a number, but a mark for a missing value; leave the cell empty or the row out"
    return next((what for pattern, what in _ALMOST_NUMBERS if pattern.fullmatch(text)), "not a number")


def label_of(value: Any, labels: Mapping[str, str], *, normalised: bool = False) -> str:  # noqa: ANN401
    """Return a class label's text.

    Args:
        value: Text, whole number or true/false; surrounding blanks are no part of a label.
        labels: Published label -> text; empty: any label is allowed.
        normalised: A label that differs only in case or blanks from one of `labels` is that one.

    Raises:
        CellError: If the cell is missing, is no label, or is not among `labels`.

    Example:
        >>> label_of(1.0, {}), label_of(True, {}), label_of("0", {"0": "negative", "1": "positive"})
        ('1', 'true', 'negative')
    """
    text = _label_text(plain(value))
    if not labels or text in labels:
        return labels.get(text, text)
    if text not in labels.values():
        alike = {label_key(name): written for name, written in labels.items()} if normalised else {}
        if label_key(text) in alike:
            return alike[label_key(text)]
        known = tuple(dict.fromkeys([*labels, *labels.values()]))
        raise CellError(f"not among {some_labels(known)}.{near_matches(text, known)}".rstrip("."))
    return text


def label_key(label: str) -> str:
    """Return what two labels share that differ only in case or blanks."""
    return " ".join(label.casefold().split())


def some_labels(labels: Sequence[str]) -> str:
    """Name labels in a message, at most ten of them.

    Example:
        >>> some_labels(("a", "b")), some_labels([str(i) for i in range(270)])[:35]
        ("the labels 'a', 'b'", "the 270 labels '0', '1', '2', '3', ")
    """
    if len(labels) <= _LABELS_NAMED:
        return f"the labels {', '.join(map(repr, labels))}"
    return f"the {len(labels)} labels {', '.join(map(repr, labels[:_LABELS_NAMED]))}, ..."


def _label_text(value: Any) -> str:  # noqa: ANN401
    """Return the text of a label of any type."""
    if is_missing(value):
        raise CellError("missing")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if not value.is_integer():
            raise CellError("a fraction, not a label; for numbers use kind 'regression'")
        return str(int(value))
    if not isinstance(value, str | int):
        raise CellError(f"of type {type(value).__name__}; a label is text, a whole number or true/false")
    text = field_text(value).strip()
    if not text:
        raise CellError("empty")
    return text


def weight_of(value: Any) -> float:  # noqa: ANN401
    """Return a row's weight.

    Raises:
        CellError: If it is not a number above 0.
    """
    weight = number_of(value)
    if weight <= 0:
        raise CellError("not above 0; leave the row out instead")
    return weight
