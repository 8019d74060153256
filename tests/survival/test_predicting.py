"""`predict` over 20,000 rows and saving over an older model, ended at every file operation."""

import errno
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import predgen
from kills import Kill, Refuse, Signal, places, run_child
from predgen.core import Example, Prediction
from predgen.errors import SavedModelError
from predgen.inference.stream import predict_file
from predgen.inference.trained import TrainedModel
from tiny_runs import tiny_base, tiny_data, tiny_run

N_ROWS = 5_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def trained(folder: Path) -> TrainedModel:
    return tiny_run(
        tiny_base(folder / "base"), "classification", tiny_data("classification"), folder / "run", max_steps=1
    )


def rows_to_predict(path: Path, n: int) -> Path:
    path.write_text("id,text\n" + "".join(f"{i},a dull book {i}\n" for i in range(n)))
    return path


def quickly(self: TrainedModel, examples: Sequence[Example], **options: Any) -> list[Prediction]:
    """A prediction that depends on the row and costs nothing: the files are looked at here."""
    return [Prediction(self.labels[len(e.fields["text"]) % 2]) for e in examples]


def predicting(trained: TrainedModel, source: Path, out: Path) -> Callable[[], int]:
    """Predict all rows, in windows of the usual size."""
    return lambda: predict_file(trained, source, out).rows


@pytest.mark.parametrize("suffix", ["csv", pytest.param("parquet", marks=pytest.mark.slow)])
@pytest.mark.parametrize("most", [4, pytest.param(None, marks=pytest.mark.slow)])
def test_rows_killed_at_any_file_operation_are_neither_lost_nor_doubled(
    trained: TrainedModel, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, most: int | None
) -> None:
    monkeypatch.setattr(TrainedModel, "predict_examples", quickly)
    # All 20,000 rows where every operation is met; else three windows, enough for whatever a window does.
    n_rows = 20_000 if most is None and suffix == "csv" else N_ROWS
    source = rows_to_predict(folder / "in.csv", n_rows)
    (tmp_path / "whole").mkdir()
    whole = tmp_path / "whole" / f"out.{suffix}"
    total = run_child(predicting(trained, source, whole), whole.parent).operations
    wanted = whole.read_bytes()
    for number in places(total, most):
        out = tmp_path / str(number) / f"out.{suffix}"
        out.parent.mkdir()
        assert run_child(predicting(trained, source, out), out.parent, Kill(number)).was_killed
        assert not out.exists() or out.read_bytes() == wanted, number  # what has the name is whole
        done = run_child(predicting(trained, source, out), out.parent)
        assert done.value == n_rows or "exists" in done.error, (number, done.error)
        assert out.read_bytes() == wanted, number
        beside = [p.name for p in out.parent.iterdir() if p != out]
        assert beside == [], (number, beside)
        shutil.rmtree(out.parent)
    print(f"predict {suffix}, {n_rows} rows: {len(places(total, most))} kills at {total} operations")


@pytest.mark.parametrize("most", [2, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "what",
    [(errno.ENOSPC,), (errno.EROFS,), (signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)],
    ids=["full", "read-only", "SIGTERM", "Ctrl-C"],
)
def test_rows_survive_full_disks_and_signals(
    trained: TrainedModel, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int | None, what: Any
) -> None:
    monkeypatch.setattr(TrainedModel, "predict_examples", quickly)
    source = rows_to_predict(folder / "in.csv", N_ROWS)
    (tmp_path / "whole").mkdir()
    whole = tmp_path / "whole" / "out.csv"
    total = run_child(predicting(trained, source, whole), whole.parent).operations
    for number in places(total, most):
        out = tmp_path / str(number) / "out.csv"
        out.parent.mkdir()
        ends = Refuse(number, what[0]) if len(what) == 1 else Signal(number, what)
        done = run_child(predicting(trained, source, out), out.parent, ends)
        known = ("StorageError: ", "KeyboardInterrupt")
        assert done.error == "" or done.error.startswith(known), (number, done.error)
        assert out.exists() == (done.error == "") or out.read_bytes() == whole.read_bytes(), number
        run_child(predicting(trained, source, out), out.parent)
        assert out.read_bytes() == whole.read_bytes(), number
        shutil.rmtree(out.parent)
    print(f"predict {what}: {len(places(total, most))} ends at {total} operations")


# Saving over an older model


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("peft", ["lora", "full"])
@pytest.mark.parametrize("most", [6, pytest.param(None, marks=pytest.mark.slow)])
def test_a_save_killed_at_any_file_operation_leaves_the_old_model_or_the_new_one(
    trained: TrainedModel, folder: Path, tmp_path: Path, peft: str, most: int | None
) -> None:
    other = tiny_run(folder / "base", "classification", tiny_data("classification"), max_steps=2, peft=peft, seed=1)
    old, place = files_of(folder / "run"), tmp_path / "place"
    shutil.copytree(folder / "run", place)
    total = run_child(lambda: str(other.save(place)), place).operations
    new = {**{name: data for name, data in old.items() if name in ("config.yaml", "log.jsonl")}, **files_of(place)}
    assert new != old
    shutil.rmtree(place)
    came_back = 0
    for number in places(total, most):
        shutil.copytree(folder / "run", place)
        assert run_child(lambda: str(other.save(place)), place, Kill(number)).was_killed
        try:
            predgen.load(place)
        except SavedModelError as error:
            raise AssertionError(f"killed at {number}: {error}") from error
        found = files_of(place)
        assert {name: data for name, data in found.items() if not name.startswith(".")} in (old, new), number
        came_back += {name: data for name, data in found.items() if not name.startswith(".")} == old
        assert run_child(lambda: str(other.save(place)), place).error == ""
        assert files_of(place) == new, number
        shutil.rmtree(place)
    assert 0 < came_back
    print(
        f"save --peft {peft}: {len(places(total, most))} kills at {total} operations, {came_back} times the old model"
    )
