"""What MLflow loads an exported model with: it names this module, and nothing of the model is a pickle.

MODEL/MLmodel        MLflow's own file: loader module, signature, columns to answer with
MODEL/data/model/    the saved model
MODEL/data/base/     its base, where that was a folder or a file of the machine it was exported on
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from predgen.data.given import given_rows
from predgen.data.prompts import prompt_fields
from predgen.inference.stream import Predicting, RowMaker
from predgen.inference.target_columns import PredictingTargets
from predgen.inference.targets import TrainedTargets, load_targets
from predgen.inference.trained import TrainedModel, load
from predgen.saved.manifest import has_targets

if TYPE_CHECKING:
    import pandas

MODEL, BASE = "model", "base"


def fields_of(trained: TrainedModel | TrainedTargets) -> tuple[str, ...]:
    """Return the columns that a model reads."""
    tasks = [part.task for part in trained.parts.values()] if isinstance(trained, TrainedTargets) else [trained.task]
    return tuple(dict.fromkeys(name for task in tasks for name in prompt_fields(task.prompt)))


class Answering:
    """A model that answers a data frame with one: the columns that `predgen predict` adds.

    Args:
        trained: The model.
        proba: Whether labels' probabilities are among them.
        quantiles: Levels of quantiles of numbers.

    Raises:
        ConfigError: If the model has not what is asked for.
    """

    def __init__(
        self, trained: TrainedModel | TrainedTargets, *, proba: bool = False, quantiles: Sequence[float] = ()
    ) -> None:
        self.fields = fields_of(trained)
        self._maker: RowMaker
        if isinstance(trained, TrainedTargets):
            self._maker = PredictingTargets(trained, proba, None)
        else:
            self._maker = Predicting(trained, proba, tuple(quantiles))
        self.columns = self._maker.columns(dict.fromkeys(self.fields, ""))[len(self.fields) :]
        self.numbers = self._maker.numbers()

    def predict(self, model_input: "pandas.DataFrame") -> "pandas.DataFrame":
        """Return the answers to a frame's rows, with its index.

        Raises:
            DataError: If a column or a cell of the prompt is missing.
        """
        import pandas

        rows = given_rows(model_input, self.fields, name="model_input").rows
        own = [{name: row[name] for name in self.fields if name in row} for row in rows]
        lines, _ = self._maker.lines(list(zip(own, self._maker.items(own), strict=True)), None)
        cells = [{name: line[name] for name in self.columns} for line in lines]
        return pandas.DataFrame(cells, index=getattr(model_input, "index", None), columns=list(self.columns))


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> Answering:
    """Load the model; MLflow calls this.

    Args:
        path: The folder `data`.
        model_config: `proba` and `quantiles`, as they were exported or as `mlflow.pyfunc.load_model(..., model_config=)` has them.
    """
    folder, base = Path(path) / MODEL, Path(path) / BASE
    where = str(base) if base.is_dir() else None
    several = has_targets(folder)
    trained = (load_targets if several else load)(folder, base=where, merge_adapter=True)
    asked = dict(model_config or {})
    return Answering(trained, proba=bool(asked.get("proba", False)), quantiles=tuple(asked.get("quantiles", ())))
