"""Rows that callers hold in memory -> rows as `sources` yields them: texts, tables, mappings, lists of cells."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from predgen.data.cells import is_missing, shown
from predgen.data.sources import is_table, rows_of
from predgen.errors import DataError

TEXT = "text"
"""Name of the column that single texts make up, where the prompt names none."""


@dataclass(frozen=True, slots=True)
class Given:
    """Rows, with what is known of their columns.

    Attributes:
        rows: Column -> cell; may be empty.
        kind: "table", whose columns have the caller's names; "texts", one per row; "cells", without names.
    """

    rows: list[dict[str, Any]]
    kind: Literal["table", "texts", "cells"]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, by the first row."""
        return tuple(self.rows[0]) if self.rows else ()


def given_rows(source: Any, fields: Sequence[str] = (), *, name: str = "X") -> Given:  # noqa: ANN401
    """Return the rows of what a caller gives.

    Tables and mappings keep their columns' names. A list of texts, or a single nameless column, is the prompt's only
    field, or else `text`. Several nameless columns (lists of lists, arrays, a frame with columns 0, 1, ..) are `x0`,
    `x1`, .. by position.

    Args:
        source: Texts, a data frame, a `datasets.Dataset`, mappings, or lists of cells.
        fields: The prompt's fields, where there is a prompt.
        name: How messages call `source`.

    Raises:
        DataError: If it is one text, a mapping of columns, sparse, complex or of more than two dimensions; if rows are of
            different kinds or lengths; if single texts are to fill a prompt of several fields.

    Example:
        >>> given_rows(["Splendid.", "Dull."]).rows, given_rows([["a", 1]]).rows
        ([{'text': 'Splendid.'}, {'text': 'Dull.'}], [{'x0': 'a', 'x1': 1}])
    """
    if isinstance(source, str | bytes):
        raise DataError(f"`{name}` is one text ({shown(source)}); give a list of texts.")
    if isinstance(source, Mapping):
        return Given(list(rows_of(source)), "table")  # says how to give rows instead
    if is_table(source):
        if hasattr(source, "__len__") and len(source) == 0:
            return Given([], "table")
        if not _is_numbered(source):
            return Given(list(rows_of(source)), "table")
        source = list(source.itertuples(index=False, name=None))
    values = as_list(source, name)
    if values and isinstance(values[0], Mapping):
        return Given(list(rows_of(values)), "table")
    if values and isinstance(values[0], list | tuple):
        return Given(_cells(values, fields, name), "cells")
    return Given(_texts(values, fields, name), "texts")


def as_list(source: Any, name: str) -> list[Any]:  # noqa: ANN401
    """Return a column, an array or any other iterable as a list, its cells as Python values.

    Raises:
        DataError: If it cannot be iterated over, is sparse, or is an array of complex numbers, with NaN or infinity among
            several columns, or of more than two dimensions.
    """
    if hasattr(source, "tocsr"):
        raise DataError(f"`{name}` is a sparse matrix; give dense data: texts, or a table, or `{name}.toarray()`.")
    if isinstance(source, np.ndarray):
        _check_array(source, name)
    for method in ("tolist", "to_list", "to_pylist"):  # numpy and pandas; polars; Arrow
        if hasattr(source, method):
            found = getattr(source, method)()
            return found if isinstance(found, list) else [found]
    if hasattr(source, "__array__"):
        return as_list(np.asarray(source), name)
    if not isinstance(source, Iterable):
        raise DataError(f"`{name}` is {shown(source)}, of type {type(source).__name__}; give one value per row.")
    return list(source)


def _is_numbered(table: Any) -> bool:  # noqa: ANN401
    """Whether a pandas frame has no names, but numbers for its columns."""
    names = list(getattr(table, "columns", ()))
    return bool(names) and all(isinstance(name, int | np.integer) for name in names)


def _check_array(array: npt.NDArray[Any], name: str) -> None:
    """Refuse what no rows of cells can be made of."""
    if array.dtype.kind == "c":
        raise DataError(
            f"Complex data not supported: `{name}` is an array of {array.dtype}; give real numbers or texts."
        )
    if array.ndim > 2:
        raise DataError(
            f"`{name}` has the shape {array.shape}; give rows of cells (2 dimensions) or texts (1 dimension)."
        )
    if array.ndim == 2 and array.shape[1] == 0:
        raise DataError(f"`{name}` has 0 feature(s) (shape={array.shape}) while a minimum of 1 is required.")
    if array.ndim == 2 and array.dtype.kind == "f" and not np.isfinite(array).all():
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise DataError(
            f"`{name}` contains NaN or inf: row {row + 1}, column {column + 1} is {array[row, column]}. Fill in these"
            " cells, or leave their rows out."
        )


def _texts(values: Sequence[Any], fields: Sequence[str], name: str) -> list[dict[str, Any]]:
    """Rows of one column; a missing text stays missing, so that reading it names its row."""
    for number, value in enumerate(values, start=1):
        if not isinstance(value, str) and not is_missing(value):
            raise DataError(
                f"row {number} of `{name}` is {shown(value)}, of type {type(value).__name__}; rows must be texts,"
                " mappings, or lists of cells, all of one kind. Reshape your data if it is a single"
                f" column of numbers: `numpy.reshape({name}, (-1, 1))`."
            )
    if values and len(fields) > 1:
        raise DataError(
            f"`{name}` has one text per row, but the prompt has the fields {', '.join(fields)}; give a data frame or"
            " mappings with these columns."
        )
    column = fields[0] if fields else TEXT
    return [{column: value} for value in values]


def _cells(values: Sequence[Any], fields: Sequence[str], name: str) -> list[dict[str, Any]]:
    """Rows of nameless cells."""
    width = len(values[0])
    for number, value in enumerate(values, start=1):
        if not isinstance(value, list | tuple) or len(value) != width:
            found = f"{len(value)} cells" if isinstance(value, list | tuple) else shown(value)
            raise DataError(f"row {number} of `{name}` is {found}, but row 1 has {width} cells; give each row as many.")
    names = [f"x{i}" for i in range(width)]
    if width == 1 and len(fields) < 2:
        names = [fields[0] if fields else TEXT]
    return [dict(zip(names, value, strict=True)) for value in values]
