"""A model as a function of batches of rows, for whatever hands batches out: Ray Data, Spark, Dask, a pool of processes."""

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from predgen.batch.request import PredictionRequest
from predgen.data.cells import plain
from predgen.data.frames import frame_rows, is_instance
from predgen.errors import DataError, SavedModelError

if TYPE_CHECKING:
    from predgen.inference.stream import RowMaker

_KEPT = 2  # models of a process; a task that ends takes its copy of a predictor along, and the next one finds the model here
_loaded: dict[str, "RowMaker"] = {}
_loading = threading.Lock()


class BatchPredictor(PredictionRequest):
    """Adds to a batch of rows the columns that `predgen predict` writes; see `PredictionRequest` for the arguments.

    It is small until it is first called, and when it is pickled: it holds the folder's path, and each process loads the model
    once. The folder has to be there, under the same path, wherever it is called; a process that finds another model in it
    refuses to go on, so that no job mixes two.

    Raises:
        SavedModelError: If there is no saved model, and no question is asked that a base could answer.
        ConfigError: If a base is asked for predictions.

    Example:
        >>> predictor = BatchPredictor("RUN", proba=True)  # doctest: +SKIP
        >>> predictor({"text": ["a splendid evening"]})  # doctest: +SKIP
        {'text': ['a splendid evening'], 'prediction': ['good'], 'p(bad)': [0.2], 'p(good)': [0.8]}
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._maker: RowMaker | None = None
        if not self.seal and not self.ask:
            raise SavedModelError(
                f"{self.run!r} holds no saved model: there is no predgen.json. Give the folder that `predgen train --out` wrote."
            )

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the model."""
        return {**self.__dict__, "_maker": None}

    def __call__(self, batch: Any) -> Any:  # noqa: ANN401  (pandas is named by those who call)
        """Return a batch with further columns, of the kind that came.

        Args:
            batch: A pandas DataFrame, or a mapping from column name to its cells, a list or a numpy array.

        Raises:
            DataError: If it is of another kind, lacks a column or a cell of the prompt, or has a column that is added.
        """
        if is_instance(batch, "pandas", "DataFrame"):
            added = self._added(list(frame_rows(batch)), [str(name) for name in batch.columns])
            return batch.assign(**added)
        if not isinstance(batch, Mapping):
            raise DataError(
                f"a batch is a {type(batch).__name__}, but must be a pandas DataFrame or a mapping from column name to cells."
                ' Ray Data has `batch_format="pandas"`, Spark `mapInPandas`.'
            )
        added = self._added(_rows_of_columns(batch), list(batch))
        if any(isinstance(cells, np.ndarray) for cells in batch.values()):
            return {**batch, **added}
        return {**batch, **{name: cells.tolist() for name, cells in added.items()}}

    def _added(self, rows: list[dict[str, Any]], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """The further columns: numbers as float64, all else as objects."""
        maker = self._model()
        # A scheduler hands out empty batches, too, and takes the columns from them.
        columns = maker.columns(rows[0] if rows else dict.fromkeys(names, ""))[len(names) :]
        lines = maker.lines(list(zip(rows, maker.items(rows), strict=True)), None)[0] if rows else []
        numbers = maker.numbers()
        return {name: _array([line.get(name) for line in lines], name in numbers) for name in columns}

    def _model(self) -> "RowMaker":
        """The model, loaded once in a process however many copies of this predictor it has."""
        if self._maker is None:
            key = repr(self)
            with _loading:
                if key not in _loaded:
                    while len(_loaded) >= _KEPT:
                        _loaded.pop(next(iter(_loaded)))
                    _loaded[key] = self.maker()
                self._maker = _loaded[key]
        return self._maker


def _rows_of_columns(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of a mapping from column name to cells.

    Raises:
        DataError: If columns differ in length.
    """
    lengths = {str(name): len(cells) for name, cells in batch.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"columns of a batch differ in length: {lengths}. Give each a cell for every row.")
    return [dict(zip(lengths, map(plain, cells), strict=True)) for cells in zip(*batch.values(), strict=True)]


def _array(cells: Sequence[Any], is_number: bool) -> NDArray[Any]:
    """A column as an array; lists in cells stay lists."""
    if is_number:
        return np.array([np.nan if cell is None else cell for cell in cells], dtype=np.float64)
    column = np.empty(len(cells), dtype=object)
    for place, cell in enumerate(cells):
        column[place] = cell
    return column
