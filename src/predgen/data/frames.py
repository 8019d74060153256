"""Tables in memory -> rows: pandas, polars, Arrow, and whatever else narwhals or Arrow's stream protocol can read."""

import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from predgen.errors import DataError


def is_frame(value: object) -> bool:
    """Whether a value is a table with named columns, not a single column of one.

    Libraries are not imported for it: a table exists only once its library is imported.
    """
    if is_instance(value, "pandas", "DataFrame"):
        return True
    if any(hasattr(value, name) for name in ("columns", "__arrow_c_stream__", "__narwhals_dataframe__")):
        import narwhals as nw

        is_column = nw.dependencies.is_into_series(value) or is_instance(value, "pyarrow", "ChunkedArray")
        return nw.dependencies.is_into_dataframe(value) or (hasattr(value, "__arrow_c_stream__") and not is_column)
    return False


def is_instance(value: object, module: str, name: str) -> bool:
    """Whether `value` is a `module.name`, without importing the module."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))


def frame_rows(frame: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """Yield a table's rows, one at a time, as Python scalars.

    Raises:
        DataError: If two columns have one name, or the table's library cannot hand its rows over.
    """
    if is_instance(frame, "pandas", "DataFrame"):
        names = _different([str(name) for name in frame.columns])
        singles = {name for name, dtype in zip(names, frame.dtypes, strict=True) if str(dtype) == "float32"}
        rows = (dict(zip(names, cells, strict=True)) for cells in frame.itertuples(index=False, name=None))
        return as_written(rows, singles)
    return _interchanged(frame)


def _interchanged(frame: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """Yield the rows of a table of any other library."""
    import narwhals as nw

    try:
        table = (
            nw.from_native(frame, eager_only=True)
            if nw.dependencies.is_into_dataframe(frame)
            else nw.from_arrow(frame, backend="pyarrow")
        )
    except nw.exceptions.DuplicateError:
        _different(list(frame.column_names))
        raise
    except ImportError as error:
        raise DataError(
            f"reading rows from {type(frame).__name__} needs pyarrow: pip install 'predgen[data]'; or give a pandas frame."
        ) from error
    except (TypeError, ValueError) as error:  # Arrow's errors are among them
        raise DataError(
            f"cannot read rows from {type(frame).__name__}: {error}. Give a table with named columns."
        ) from error
    singles = {name for name, dtype in table.schema.items() if dtype == nw.Float32}
    return as_written(table.iter_rows(named=True), singles)


def _different(names: Sequence[str]) -> Sequence[str]:
    """Return the names, or raise if two columns have one."""
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise DataError(
            f"the data frame has more than one column named {', '.join(map(repr, twice[:10]))}; rename or drop the others."
        )
    return names


def as_written(rows: Iterable[dict[str, Any]], singles: Collection[str]) -> Iterator[dict[str, Any]]:
    """Give numbers of single precision the shortest decimal that stands for them: 3.8, not 3.799999952316284 (docs/estimators.md)."""
    for row in rows:
        short = {name: float(str(np.float32(row[name]))) for name in singles if row[name] is not None}
        yield {**row, **short} if short else row
