"""Trackers: names are checked before anything is loaded, and what they write outlives the run."""

import json
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from transformers import TrainerCallback
from transformers.integrations import integration_utils

from predgen.errors import ConfigError, TrainingError
from predgen.training import run
from predgen.training.loop import PredictionTrainer
from predgen.training.trackers import SENDERS, trackers
from tiny_runs import tiny_base, tiny_config, tiny_data, tiny_run


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
    with pytest.raises(ConfigError, match=rf"`report_to` names '{names.removeprefix('none,').split(',')[0]}'"):
        tiny_run(tmp_path / "no base", "classification", tiny_data("classification"), tmp_path / "run", report_to=names)
    assert not (tmp_path / "run").exists()


def test_a_missing_tracker_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integration_utils, "is_tensorboard_available", lambda: False)
    with pytest.raises(ConfigError, match=r"pip install 'predgen\[tensorboard\]'"):
        trackers(tiny_config(Path(), "classification", report_to="tensorboard"))


@pytest.mark.parametrize("names", ["none", ""])
def test_no_tracker_is_no_tracker(names: str) -> None:
    assert trackers(tiny_config(Path(), "classification", report_to=names)) == []


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


class Told(TrainerCallback):
    """Notes what a tracker is told."""

    events: ClassVar[list[tuple[str, Any]]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.events.append(("begin", (args.run_name, args.to_dict(), json.loads(args.to_json_string()))))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.events.append(("log", (state.global_step, logs)))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.events.append(("end", args.output_dir))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "tensorboard", Told)
    monkeypatch.setitem(SENDERS, "tensorboard", lambda tracker, files: tracker.events.append(("files", files)))
    Told.events.clear()
    return Told.events


def test_a_tracker_is_told_our_curves_settings_and_files(
    base: Path, tmp_path: Path, told: list[tuple[str, Any]]
) -> None:
    data = tiny_data("classification", 8, 4)
    tiny_run(base, "classification", data, tmp_path / "run", report_to="tensorboard", max_steps=3, eval_steps=2)
    assert [name for name, _ in told if name != "log"] == ["begin", "files", "end"]
    name, settings, again = dict(told)["begin"]
    assert (name, settings["max_steps"], settings["report_to"]) == ("run", 3, "tensorboard")
    assert again == json.loads(json.dumps(settings))
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    logged = [(line.pop("step"), line.pop("time_s"), line)[::2] for line in lines]
    own = {"writer_loss": "L_W", "director_loss": "L_D"}
    expected = [(step, {own.get(key, key): value for key, value in line.items()}) for step, line in logged]
    assert [what for kind, what in told if kind == "log"] == expected
    curves = {key for _, line in expected for key in line}
    assert curves >= {"loss", "L_W", "L_D", "p", "learning_rate", "eval_accuracy"}
    assert dict(told)["files"] == [tmp_path / "run" / name for name in ("README.md", "config.yaml", "log.jsonl")]


def test_a_run_that_stops_by_an_error_is_ended(
    base: Path, tmp_path: Path, told: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any, **options: Any) -> None:
        raise TrainingError("stopped")

    monkeypatch.setattr(PredictionTrainer, "compute_loss", fails)
    with pytest.raises(TrainingError, match="stopped"):
        tiny_run(base, "classification", tiny_data("classification", 4), tmp_path / "run", report_to="tensorboard")
    assert [name for name, _ in told] == ["begin", "files", "end"]


@pytest.mark.filterwarnings("ignore")  # of TensorBoard's own code
def test_tensorboards_reader_finds_curves_settings_and_card(base: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    data = tiny_data("classification", 8, 4)
    tiny_run(base, "classification", data, tmp_path / "run", report_to="tensorboard", max_steps=3, eval_steps=2)
    (events,) = (tmp_path / "run" / "logs" / "runs").rglob("events.out.*")
    read = EventAccumulator(str(events)).Reload()
    assert {"train/L_W", "train/L_D", "train/p", "train/learning_rate", "eval/accuracy"} <= {*read.Tags()["scalars"]}
    assert [one.step for one in read.Scalars("train/L_W")] == [1, 2, 3]
    assert [one.step for one in read.Scalars("eval/accuracy")] == [2, 3]
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [line["writer_loss"] for line in lines if "writer_loss" in line]
    assert [one.value for one in read.Scalars("train/L_W")] == pytest.approx(losses, rel=1e-6)
    texts = {tag: read.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in read.Tags()["tensors"]}
    assert json.loads(texts["args/text_summary"])["max_steps"] == 3
    assert texts["README/text_summary"] == (tmp_path / "run" / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of MLflow's own code
def test_mlflows_file_store_holds_curves_settings_and_files(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    data = tiny_data("classification", 8, 4)
    tiny_run(base, "classification", data, tmp_path / "run", report_to="mlflow", max_steps=3, eval_steps=2)
    client = mlflow.MlflowClient()
    (found,) = client.search_runs(["0"])
    assert (found.info.status, found.info.run_name) == ("FINISHED", "run")
    assert (found.data.params["max_steps"], found.data.params["method"]) == ("3", "predgen")
    assert {"L_W", "L_D", "p", "learning_rate", "eval_accuracy"} <= found.data.metrics.keys()
    assert [one.step for one in client.get_metric_history(found.info.run_id, "L_W")] == [1, 2, 3]
    assert [one.step for one in client.get_metric_history(found.info.run_id, "eval_accuracy")] == [2, 3]
    kept = {one.path for one in client.list_artifacts(found.info.run_id)}
    assert kept == {"README.md", "config.yaml", "log.jsonl"}
    assert mlflow.active_run() is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of its own code
def test_wandb_offline_holds_curves_settings_and_files(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    data = tiny_data("classification", 8, 4)
    tiny_run(base, "classification", data, tmp_path / "run", report_to="wandb", max_steps=3, eval_steps=2)
    import wandb

    wandb.finish()
    (log,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    written = log.read_bytes()
    assert all(name in written for name in (b"train/L_W", b"train/L_D", b"train/p", b"eval/accuracy", b"predgen-run"))
