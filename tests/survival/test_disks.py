"""Disks that are full or read-only in earnest, for root as for everybody: mounts, in a namespace of the test's own."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

import predgen
from kills import Kill, run_child
from predgen.errors import StorageError
from predgen.inference.stream import predict_file
from predgen.inference.trained import TrainedModel
from survival.mounts import alone, read_only, require_mounts, small_disk
from tiny_runs import RESUMABLE, tiny_base, tiny_data, tiny_run

SETTINGS = {**RESUMABLE, "epochs": 1.0, "batch_size": 2, "gradient_accumulation": 1, "eval_steps": 1}
ROOM = 1 << 26


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model; what training imports late is there before the first child is forked."""
    folder = tmp_path_factory.mktemp("base")
    require_mounts(folder)
    made = tiny_base(folder / "base")
    trained(made, folder / "run")
    return made


@pytest.fixture(scope="module")
def model(base: Path) -> TrainedModel:
    return predgen.load(base.parent / "run")


def trained(base: Path, out: Path, *, resume: bool = False, steps: int = 2) -> TrainedModel:
    """A run with a checkpoint after each of its steps."""
    data = tiny_data("classification", 2 * steps, 2)
    return tiny_run(base, "classification", data, out, resume=resume, **SETTINGS)


def weights_of(run: Path) -> dict[str, str]:
    """Digests of a model's tensors."""
    found = sorted(run.rglob("*.safetensors"))
    return {str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_training_into_a_read_only_folder_is_told_and_changes_nothing(base: Path, tmp_path: Path) -> None:
    def act() -> None:
        alone()
        read_only(tmp_path)
        trained(base, tmp_path / "run")

    ended = run_child(act, tmp_path)
    assert ended.error.startswith("StorageError: "), ended.error
    assert "Read-only file system" in ended.error
    assert names(tmp_path) == []


def test_predicting_into_a_read_only_folder_is_refused_before_any_row(model: TrainedModel, tmp_path: Path) -> None:
    source, disk = tmp_path / "in.csv", tmp_path / "disk"
    disk.mkdir()
    source.write_text("text\na dull book\n")

    def act() -> None:
        alone()
        read_only(disk)
        predict_file(model, source, disk / "out.csv")

    ended = run_child(act, disk)
    assert ended.error.startswith("ConfigError: "), ended.error
    assert "may not write" in ended.error
    assert ended.operations == 0
    assert names(disk) == []


def test_going_on_where_the_folder_has_become_read_only_is_told_and_costs_nothing(base: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    operations = run_child(lambda: trained(base, run) and None, run).operations
    wanted = weights_of(run)
    shutil.rmtree(run)
    run.mkdir()
    assert run_child(lambda: trained(base, run) and None, run, Kill(operations // 2)).was_killed
    left = names(run)

    def act() -> None:
        alone()
        read_only(run)
        trained(base, run, resume=True)

    ended = run_child(act, run)
    assert ended.error.startswith("StorageError: "), ended.error
    assert names(run) == left
    trained(base, run, resume=True)
    assert weights_of(run) == wanted


@pytest.mark.parametrize("size", [0x1000, 0x8000, 0x18000])
def test_a_run_that_fills_its_disk_goes_on_to_the_same_weights_where_there_is_room(
    base: Path, tmp_path: Path, size: int
) -> None:
    def act() -> Any:
        alone()
        small_disk(tmp_path, size)
        run = tmp_path / "run"
        told = ""
        try:
            trained(base, run)
        except StorageError as error:
            told = str(error)
        assert "disk full" in told, told
        small_disk(tmp_path, ROOM, again=True)
        trained(base, run, resume=(run / "config.yaml").exists() and any(run.glob("checkpoints/*")))
        return weights_of(run)

    ended = run_child(act, tmp_path)
    assert ended.error == ""
    assert ended.value == weights_of(base.parent / "run")


def test_predictions_that_fill_their_disk_go_on_to_the_same_bytes(model: TrainedModel, tmp_path: Path) -> None:
    source, disk = tmp_path / "in.csv", tmp_path / "disk"
    disk.mkdir()
    source.write_text("text\n" + "".join(f"a dull book {i}\n" for i in range(400)))
    predict_file(model, source, tmp_path / "whole.csv", window_rows=50)

    def act() -> Any:
        alone()
        small_disk(disk, 0x2000)
        with pytest.raises(StorageError, match="disk full"):
            predict_file(model, source, disk / "out.csv", window_rows=50)
        small_disk(disk, ROOM, again=True)
        done = predict_file(model, source, disk / "out.csv", window_rows=50)
        return [done.resumed_rows > 0, (disk / "out.csv").read_text(), names(disk)]

    ended = run_child(act, disk)
    assert ended.error == ""
    assert ended.value == [True, (tmp_path / "whole.csv").read_text(), ["out.csv"]]


def test_a_model_that_does_not_fit_leaves_the_older_one(base: Path, model: TrainedModel, tmp_path: Path) -> None:
    other = tiny_run(base, "classification", tiny_data("classification"), max_steps=2, peft="full", seed=1)
    rows = [{"text": "a dull book"}, {"text": "good wine"}]
    said = [p.probabilities for p in model.predict(rows)]

    def act() -> Any:
        alone()
        small_disk(tmp_path, ROOM)
        place = tmp_path / "model"
        model.save(place)
        used = sum(p.stat().st_blocks * 512 for p in place.rglob("*"))
        small_disk(tmp_path, used + 0x8000, again=True)
        before = names(place)
        with pytest.raises(StorageError, match="disk full"):
            other.save(place)
        assert names(place) == before
        return [list(p.probabilities) for p in predgen.load(place).predict(rows)]

    ended = run_child(act, tmp_path)
    assert ended.error == ""
    assert ended.value == [list(p) for p in said]
