"""What `fit` gets beside `X`: labels or numbers in `y`, and weights. Each error names the argument, the row and lengths."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.class_weight import compute_sample_weight

from predgen.data.cells import CellError, is_missing, label_of, number_of, plain, shown, some_labels
from predgen.data.given import as_list
from predgen.errors import ConfigError, DataError

CellArray = npt.NDArray[Any]
_T = TypeVar("_T")
_ROWS_NAMED = 3
_COLUMN_VECTOR = (
    "A column-vector y was passed when a 1d array was expected. Please change the shape of y to (n_samples,), for example"
    " using ravel()."
)


@dataclass(frozen=True)
class Labels:
    """The labels of `y`.

    Attributes:
        classes: The different labels, in order, as they stand in `y`.
        texts: What a model writes for each class.
        rows: Class number of every row.
    """

    classes: CellArray
    texts: tuple[str, ...]
    rows: npt.NDArray[np.int64]

    def written(self, chosen: Mapping[str, str]) -> tuple[str, ...]:
        """What a model writes for each class, where a user has chosen the texts of labels.

        Raises:
            ConfigError: If a text is chosen for some labels, but not for all.
        """
        lacking = [text for text in self.texts if text not in chosen] if chosen else []
        if lacking:
            raise ConfigError(
                f"`label_texts` has no text for {some_labels(lacking)} of `y`, only for {some_labels(tuple(chosen))}. Give each"
                " label of `y` a text."
            )
        return tuple(chosen.get(text, text) for text in self.texts)

    def values(self, texts: Sequence[str]) -> dict[str, str | int | float | bool]:
        """Text written for a class -> its label, where it is plain data and not the text."""
        pairs = zip(texts, self.classes.tolist(), strict=True)
        return {text: label for text, label in pairs if not isinstance(label, Enum) and label != text}


def read_labels(y: Any, n_rows: int) -> Labels:  # noqa: ANN401
    """Read labels: texts, whole numbers, true and false, or members of one `enum.Enum`.

    A member is written as its value, where that is a text, or else by its name. Classes have the order of their values;
    members that of their definition.

    Raises:
        DataError: If `y` has another length than `X`, a label is missing, is none, or is of another kind than the first
            one, or if two labels would be written alike.
    """
    values = _of_length(_one_column(y), n_rows)
    texts = _each(values, label_text, "labels: texts, whole numbers, true/false, or members of one Enum")
    _refuse_mixed(values)
    text_of = dict(zip(values, texts, strict=True))
    distinct = sorted(text_of, key=_order)
    _refuse_alike({value: text_of[value] for value in distinct})
    number = {value: index for index, value in enumerate(distinct)}
    rows = np.array([number[value] for value in values], dtype=np.int64)
    return Labels(_as_given(distinct, y), tuple(text_of[value] for value in distinct), rows)


def read_numbers(y: Any, n_rows: int) -> list[float]:  # noqa: ANN401
    """Read finite numbers.

    Raises:
        DataError: If `y` has another length than `X`, or a value is missing or no finite number.
    """
    return _each(_of_length(_one_column(y), n_rows), _number, "finite numbers")


def column_name(y: Any) -> str | None:  # noqa: ANN401
    """Name of `y`, where it is a series, or a frame of one column, that has one."""
    name = getattr(y, "name", None)
    if name is None and len(columns := list(getattr(y, "columns", ()))) == 1:
        name = columns[0]
    return name if isinstance(name, str) and name.strip() else None


def row_weights(sample_weight: Any, n_rows: int) -> CellArray | None:  # noqa: ANN401
    """Read weights, 0 or more each; a row of weight 0 is left out.

    Raises:
        DataError: If they are not one finite number per row, one is negative, or all are 0.
    """
    if sample_weight is None:
        return None
    try:
        weights = np.asarray(sample_weight, dtype=float)
    except (TypeError, ValueError) as error:
        raise DataError(f"`sample_weight` must hold numbers, one per row: {error}.") from error
    if weights.ndim != 1:
        raise DataError(
            f"`sample_weight` has the shape {weights.shape}, but must be one-dimensional: one weight per row."
        )
    if len(weights) != n_rows:
        raise DataError(f"`sample_weight` has {len(weights)} weights, but `X` has {n_rows} rows; give one per row.")
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(bad):
        raise DataError(
            f"`sample_weight` has {len(bad)} negative or non-finite weights, the first in row {bad[0] + 1}:"
            f" {weights[bad[0]]:g}. Weights are finite numbers, 0 or more; 0 leaves a row out."
        )
    if not weights.any():
        raise DataError(
            f"all {n_rows} weights of `sample_weight` are zero; at least one row needs a weight above zero."
        )
    return weights


def class_weights(class_weight: str | Mapping[Any, float], labels: Labels) -> CellArray:
    """Weight of each row by its class: "balanced", or what a mapping gives for its label (1 for others).

    Raises:
        ConfigError: If it is another word, names a label that `y` has not, or has a negative weight.
    """
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ConfigError(f"`class_weight` is {class_weight!r}; allowed: 'balanced', a mapping from labels, None.")
        balanced: CellArray = compute_sample_weight("balanced", labels.rows)
        return balanced
    classes = labels.classes.tolist()
    unknown = [label for label in class_weight if plain(label) not in classes]
    if unknown:
        raise ConfigError(
            f"`class_weight` has the label {unknown[0]!r}, which `y` has not; labels of `y`: "
            f"{', '.join(map(repr, classes[:10]))}{', ...' if len(classes) > 10 else ''}."
        )
    given = {plain(label): weight for label, weight in class_weight.items()}
    per_class = row_weights([given.get(label, 1.0) for label in classes], len(classes))
    assert per_class is not None
    return per_class[labels.rows]


def _one_column(y: Any) -> list[Any]:  # noqa: ANN401
    """Return the values of `y`; a single column is taken as one, with scikit-learn's warning."""
    if y is None:
        raise DataError(
            "this estimator requires y to be passed, but the target y is None. Give a label or number per row."
        )
    if isinstance(y, str | bytes | Mapping):
        raise DataError(f"`y` is {shown(y)}, of type {type(y).__name__}; give one label or number per row.")
    values = as_list(y.to_numpy() if hasattr(y, "columns") and hasattr(y, "to_numpy") else y, "y")
    width = max((len(value) for value in values if isinstance(value, list | tuple)), default=None)
    if width is None:
        return [plain(value) for value in values]
    if width != 1 or not all(isinstance(value, list | tuple) for value in values):
        shape = f"({len(values)}, {width})"
        raise DataError(
            f"`y` should be a 1d array, got an array of shape {shape} instead; give one label or number per row."
        )
    warnings.warn(_COLUMN_VECTOR, DataConversionWarning, stacklevel=4)
    return [plain(value[0]) for value in values]


def _of_length(values: list[Any], n_rows: int) -> list[Any]:
    """Return the values, or raise if they are not one per row."""
    if len(values) != n_rows:
        raise DataError(f"`X` has {n_rows} rows, but `y` has {len(values)}; give one label or number per row.")
    return values


def _each(values: Sequence[Any], read: Callable[[Any], _T], wanted: str) -> list[_T]:
    """Read each value; name the first rows that cannot be read, and how many there are."""
    found: list[_T] = []
    bad: list[str] = []
    for number, value in enumerate(values, start=1):
        try:
            found.append(read(value))
        except CellError as error:
            bad.append(f"row {number} is {shown(value)} ({error})")
    if bad:
        more = f", and {len(bad) - _ROWS_NAMED} more" if len(bad) > _ROWS_NAMED else ""
        raise DataError(
            f"`y` cannot be used in {len(bad)} of {len(values)} rows: {', '.join(bad[:_ROWS_NAMED])}{more}. `y` must hold"
            f" {wanted}; repair these, or leave their rows out of `X` and `y`."
        )
    return found


def _number(value: Any) -> float:  # noqa: ANN401
    """A finite number; true and false are 1 and 0, as for all regressors of scikit-learn."""
    if isinstance(value, complex):
        raise CellError("Complex data not supported")
    return float(value) if isinstance(value, bool) else number_of(value)


def label_text(value: Any) -> str:  # noqa: ANN401
    """What a model writes for a label."""
    if isinstance(value, Enum):
        value = value.value if isinstance(value.value, str) else value.name
    if isinstance(value, complex):
        raise CellError("Complex data not supported")
    if isinstance(value, float) and not is_missing(value) and not value.is_integer():
        # scikit-learn's words for it, which users and its own checks look for
        raise CellError("Unknown label type: continuous, a fraction; PredGenRegressor predicts numbers")
    return label_of(value, {})


def _kind(value: Any) -> str:  # noqa: ANN401
    """Kind of a label."""
    if isinstance(value, Enum):
        return f"members of {type(value).__name__}"
    if isinstance(value, bool):
        return "true/false"
    return "text" if isinstance(value, str) else "whole numbers"


def _refuse_mixed(values: Sequence[Any]) -> None:
    """Refuse labels of several kinds: they have no order, and 1 and "1" would be written alike."""
    for number, value in enumerate(values, start=1):
        if _kind(value) != _kind(values[0]):
            raise DataError(
                f"`y` mixes {_kind(values[0])} and {_kind(value)}: row 1 is {shown(values[0])}, row {number} is"
                f" {shown(value)}. Give labels of one kind, such as [str(label) for label in y]."
            )


def _refuse_alike(text_of: Mapping[Any, str]) -> None:
    """Refuse two labels that would be written alike."""
    first: dict[str, Any] = {}
    for value, text in text_of.items():
        if text in first:
            raise DataError(
                f"`y` has the labels {first[text]!r} and {value!r}, which are both written {text!r}: a model cannot tell"
                " them apart. Make them one label, or give one of them another text."
            )
        first[text] = value


def _order(value: Any) -> Any:  # noqa: ANN401
    """Sort key of a label."""
    return list(type(value)).index(value) if isinstance(value, Enum) else value


def _as_given(distinct: Sequence[Any], y: Any) -> CellArray:  # noqa: ANN401
    """Labels as an array of the type that `y` has."""
    dtype = getattr(y, "dtype", None)
    if isinstance(dtype, np.dtype) and not dtype.hasobject:
        return np.array(distinct, dtype=dtype)
    if isinstance(dtype, np.dtype) or any(isinstance(value, Enum) for value in distinct):
        kept = np.empty(len(distinct), dtype=object)
        kept[:] = distinct
        return kept
    return np.array(distinct)
