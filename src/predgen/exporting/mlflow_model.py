"""A model in MLflow's format: a folder with signature and input example that `mlflow.pyfunc.load_model` loads."""

import shutil
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from predgen import __version__, registries
from predgen.bases.hub import WANTED
from predgen.engine.base_model import runs_own_code
from predgen.errors import ConfigError
from predgen.exporting import pyfunc
from predgen.inference.targets import TrainedTargets
from predgen.inference.trained import TrainedModel
from predgen.saved.export import without_folders
from predgen.saved.saving import write_folder


def check_mlflow() -> None:
    """Raise where MLflow is not installed.

    Raises:
        ConfigError: Naming the extra that brings it.
    """
    if find_spec("mlflow") is None:
        raise ConfigError(
            "`--to mlflow` needs the package 'mlflow', which is not installed: pip install 'predgen[mlflow]'."
        )


def write_mlflow(
    trained: TrainedModel | TrainedTargets, folder: Path, *, proba: bool = False, quantiles: Sequence[float] = ()
) -> None:
    """Write a model that MLflow loads by `predgen.exporting.pyfunc`.

    Args:
        trained: The model.
        folder: An empty folder.
        proba: Whether it answers with labels' probabilities, too.
        quantiles: Levels of quantiles of numbers to answer with.

    Raises:
        ConfigError: If MLflow is not installed, the model has not what is asked for, or its base runs code of its own.
    """
    check_mlflow()
    import mlflow.pyfunc

    if runs_own_code(trained.base):
        raise ConfigError(
            f"the base {trained.base.name!r} runs Python code of its own, and loading an MLflow model allows none. Serve the model's"
            " folder with `predgen serve --trust-remote-code`."
        )
    answering = pyfunc.Answering(trained, proba=proba, quantiles=quantiles)
    # mlflow calls its untyped parts, and wants a folder that is not there yet
    save: Any = mlflow.pyfunc.save_model
    with tempfile.TemporaryDirectory(prefix="predgen-") as scratch:
        data = Path(scratch) / "data"
        write_folder(without_folders(trained), data / pyfunc.MODEL)
        _copy_base(trained, data / pyfunc.BASE)
        save(
            path=str(folder),
            loader_module=pyfunc.__name__,
            data_path=str(data),
            signature=_signature(trained, answering),
            input_example=_example(answering),
            pip_requirements=requirements(),
            model_config={"proba": proba, "quantiles": list(quantiles)},
        )


def requirements() -> list[str]:
    """Return what loads the model where it is served, in the versions that wrote it."""
    names = ("torch", "transformers", "peft", "safetensors", "numpy", "pandas")
    return [f"predgen=={__version__}", *(f"{name}=={version(name)}" for name in names)]


def _copy_base(trained: TrainedModel | TrainedTargets, place: Path) -> None:
    """Take the base along where no other machine would find it; hub ids and known names are found anywhere."""
    is_inside = registries.peft_methods.get(trained.config.peft).trains == "everything"
    if is_inside or not Path(trained.base.name).exists():
        return
    place.mkdir(parents=True)
    for pattern in WANTED:
        for path in trained.base.folder.glob(pattern):
            shutil.copyfile(path, place / path.name)


def _example(answering: pyfunc.Answering) -> Any:  # noqa: ANN401  (a data frame)
    """A row of the columns that the model reads: no row of the training data leaves this machine."""
    import pandas

    return pandas.DataFrame([dict.fromkeys(answering.fields, "...")])


def _signature(trained: TrainedModel | TrainedTargets, answering: pyfunc.Answering) -> Any:  # noqa: ANN401
    """Columns in, columns out. Cells of a prompt are texts."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    made: Any = ColSpec
    labels = [type(label) for label in trained.classes] if isinstance(trained, TrainedModel) else []
    types = {name: "double" for name in answering.numbers}
    if labels and len(set(labels)) == 1:
        types["prediction"] = {bool: "boolean", int: "long", float: "double"}.get(labels[0], "string")
    read = [made("string", name) for name in answering.fields]
    told = [made(types.get(name, "string"), name) for name in answering.columns]
    return ModelSignature(inputs=Schema(read), outputs=Schema(told))
