"""Trackers: names are checked before anything is loaded, and what they write outlives the run."""

import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback
from transformers.integrations import integration_utils

from predgen.errors import ConfigError
from predgen.training import run
from predgen.training.trackers import trackers
from tiny_runs import tiny_base, tiny_data, tiny_run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("names", ["tensorbord", "tensorboard", "wandb", "none,wandb", "tensorboard,nothing"])
def test_unknown_and_missing_trackers_are_refused_before_rows_and_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: str
) -> None:
    def late(*arguments: Any, **options: Any) -> None:
        raise AssertionError("something was loaded first")

    for package in ("tensorboard", "tensorboardX", "wandb"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(integration_utils, "is_tensorboard_available", lambda: False)
    monkeypatch.setattr(integration_utils, "is_wandb_available", lambda: False)
    monkeypatch.setattr(run, "load_base", late)
    with pytest.raises(ConfigError, match=f"`report_to` names '{names.removeprefix('none,').split(',')[0]}'"):
        tiny_run(tmp_path / "no base", "classification", tiny_data("classification"), tmp_path / "run", report_to=names)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("names", ["none", ""])
def test_no_tracker_is_no_tracker(names: str) -> None:
    assert trackers(names) == []


class Writes(TrainerCallback):
    """Writes where TensorBoard and CodeCarbon do: below the output folder."""

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        place = Path(args.output_dir) / "runs"
        place.mkdir(parents=True, exist_ok=True)
        (place / "events").write_text(str(state.global_step))


def test_what_a_tracker_writes_outlives_the_run(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "tensorboard", Writes)
    data = tiny_data("classification", 4, 2)
    tiny_run(base, "classification", data, tmp_path / "run", report_to="tensorboard", max_steps=2)
    assert (tmp_path / "run" / "logs" / "runs" / "events").read_text() == "2"
    assert not (tmp_path / "run" / "checkpoints").exists()
    tiny_run(base, "classification", data, tmp_path / "plain", max_steps=2)
    assert not (tmp_path / "plain" / "logs").exists()
