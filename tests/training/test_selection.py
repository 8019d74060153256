"""Which checkpoint is kept, by which metric, and what that rests on."""

from io import StringIO
from pathlib import Path

import pytest

from predgen import registries
from predgen.data.examples import custom_task
from predgen.inference.trained import TrainedModel
from predgen.metrics.base import PRIMARY
from predgen.saved.model_card import model_card
from predgen.terminal import PlainConsole
from predgen.training.run import train
from predgen.training.selection import FEW_ROWS, Selection
from tiny_runs import tiny_base, tiny_config, tiny_data


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base") / "llama")


def run_with(base: Path, n_validation: int, metric: str | None = None, epochs: float = 2.0) -> tuple[TrainedModel, str]:
    """A Predictor of numbers, and what its run said."""
    console = PlainConsole(file=StringIO(), width=400)
    config = tiny_config(base, "regression", method="predictor", metric=metric, epochs=epochs)
    trained = train(config, data=tiny_data("regression", 8, n_validation), console=console)
    assert isinstance(console.file, StringIO)
    return trained, console.file.getvalue()


@pytest.mark.parametrize("kind", PRIMARY)
def test_files_of_ones_own_are_judged_by_the_metric_of_all_tasks(kind: str) -> None:
    own = custom_task(prompt="{text}", target="score", kind=kind).metrics[0]
    assert {own} == {task.metrics[0] for n in registries.tasks if (task := registries.tasks.get(n)).kind == kind}
    assert own == PRIMARY[kind]


def test_checkpoint_is_chosen_by_the_metric_that_judges(base: Path) -> None:
    trained, _ = run_with(base, 6)
    selection = trained.report["selection"]
    assert (selection["metric"], selection["rows"], selection["looks"], selection["defined"]) == ("mse", 6, 2, 2)
    assert trained.report["best_step"] in (2, 4)
    assert "best of 2 by mse on 6 validation rows" in model_card(trained)


def test_a_choice_on_few_rows_is_called_weak(base: Path) -> None:
    trained, said = run_with(base, 2)
    assert "mse on 2 validation rows" in trained.report["selection"]["remark"]
    assert trained.report["selection"]["remark"] in said


def test_a_metric_without_a_value_does_not_choose_in_silence(base: Path) -> None:
    trained, said = run_with(base, 1, metric="pearson")
    assert trained.report["best_step"] is None
    assert (trained.report["selection"]["looks"], trained.report["selection"]["defined"]) == (2, 0)
    assert "pearson was not defined on the 1 validation rows" in said
    assert trained.report["selection"]["choice"] == "the last one"


def test_one_row_is_enough_for_the_default(base: Path) -> None:
    trained, _ = run_with(base, 1)
    assert trained.report["best_step"] in (2, 4)


def test_nothing_is_remarked_where_nothing_was_chosen_or_rows_are_many(base: Path) -> None:
    trained, _ = run_with(base, 0)
    assert (trained.report["selection"]["remark"], trained.report["selection"]["choice"]) == (None, "the last one")
    trained, _ = run_with(base, 3, epochs=1.0)
    assert trained.report["selection"]["remark"] is None
    log = [{"eval_mse": 1.0}, {"loss": 3.0}, {"eval_mse": float("nan")}, {"eval_mse": 2.0}]
    assert Selection.of("mse", FEW_ROWS, log) == Selection("mse", FEW_ROWS, 3, 2)
    assert Selection.of("mse", FEW_ROWS, log).remark is None
    assert Selection.of("mse", FEW_ROWS - 1, log).remark is not None
