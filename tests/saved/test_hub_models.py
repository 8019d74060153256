"""Saved models on the hub: brought here, resumed, refused; and cards whose front matter the hub can read."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, constants
from huggingface_hub.repocard import metadata_load

import predgen
from fake_hub import FakeHub, fake_hub
from predgen.config import RunConfig
from predgen.errors import SavedModelError
from predgen.inference.trained import TrainedModel
from predgen.saved.card_data import front_matter
from predgen.tasks.sst2 import SST2
from predgen.training.run import train_targets
from tiny_runs import tiny_base, tiny_data, tiny_run

ROW = ["no tea"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("bases") / "base")


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    """A run with its base inside, and validation figures."""
    out = tmp_path_factory.mktemp("runs") / "mood"
    return tiny_run(base, "classification", tiny_data("classification", 8, 6), out, max_steps=2, peft="full")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: TrainedModel) -> Iterator[FakeHub]:
    with fake_hub(monkeypatch, tmp_path / "cache") as found:
        trained.save(tmp_path / "uploaded")
        (tmp_path / "uploaded" / "pytorch_model.bin").write_bytes(b"never brought")
        found.folders["user/mood"] = tmp_path / "uploaded"
        yield found


def test_a_model_is_loaded_by_its_hub_id(hub: FakeHub, trained: TrainedModel) -> None:
    assert predgen.load("user/mood").predict(ROW) == trained.predict(ROW)
    assert not [line for line in hub.asked if ".bin" in line]
    n_asked = len([line for line in hub.asked if line.startswith("GET /user/")])
    assert predgen.load("user/mood").predict(ROW) == trained.predict(ROW)
    assert len([line for line in hub.asked if line.startswith("GET /user/")]) == n_asked, "it is in the cache"


def test_a_transfer_that_breaks_goes_on_where_it_stopped(
    hub: FakeHub, trained: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)  # what has come is kept in chunks of 10 MB otherwise
    hub.breaks["model.safetensors"] = 1
    assert predgen.load("user/mood").predict(ROW) == trained.predict(ROW)
    first, second = weights_asked(hub)
    assert "bytes=" not in first
    assert int(second.rpartition("bytes=")[2].removesuffix("-")) > 0


def test_a_hub_that_breaks_off_is_told_and_the_next_call_brings_what_is_missing(
    hub: FakeHub, trained: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the client's own tries
    hub.breaks["model.safetensors"] = 100
    with pytest.raises(SavedModelError, match=r"'user/mood'.*brings what is missing"):
        predgen.load("user/mood")
    hub.breaks.clear()
    before = len(hub.asked)
    assert predgen.load("user/mood").predict(ROW) == trained.predict(ROW)
    brought = [line for line in hub.asked[before:] if line.startswith("GET /user")]
    assert any("model.safetensors" in line for line in brought)
    assert not [line for line in brought if "predgen.json" in line], "files that came whole are kept"


def weights_asked(hub: FakeHub) -> list[str]:
    """How the weights were asked for."""
    return [line for line in hub.asked if line.startswith("GET") and "model.safetensors" in line]


def test_pickles_and_other_peoples_models_are_refused_by_name(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    (tmp_path / "other" / "pytorch_model.bin").write_bytes(b"\x80\x04")
    hub.folders["user/pickled"] = tmp_path / "other"
    with pytest.raises(SavedModelError, match=r"'user/pickled'.*predgen\.json.*pickles \(pytorch_model\.bin\)"):
        predgen.load("user/pickled")
    assert not [line for line in hub.asked if line.endswith(".bin")]


def test_what_is_neither_here_nor_there_is_said(hub: FakeHub) -> None:
    with pytest.raises(SavedModelError, match="'user/gone' is neither a folder here nor"):
        predgen.load("user/gone")
    with pytest.raises(SavedModelError, match=r"no predgen\.json"):
        predgen.load(Path("user/gone"))  # a path is never looked for on the hub


@pytest.mark.slow
def test_the_environment_says_where_the_hub_is(hub: FakeHub, trained: TrainedModel, tmp_path: Path) -> None:
    code = "import predgen; print(predgen.load('user/mood').predict(['no tea'])[0].value)"
    given = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **given}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == trained.predict(ROW)[0].value


def test_a_cards_front_matter_is_the_hubs(trained: TrainedModel, tmp_path: Path) -> None:
    trained.save(tmp_path / "run")
    card = ModelCard.load(tmp_path / "run" / "README.md")
    assert card.data.library_name == "predgen"
    assert card.data.license == "unknown"  # of a base that nobody else knows
    assert card.data.base_model is None
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.tags == ["predgen", "classification"]
    measured = trained.report["validation"]
    assert {one.metric_type: one.metric_value for one in card.data.eval_results} == measured
    assert {one.dataset_split for one in card.data.eval_results} == {"validation"}
    assert metadata_load(tmp_path / "run" / "README.md")["model-index"][0]["name"] == trained.task.name


def test_known_bases_and_tasks_are_named_with_licence_and_data_set() -> None:
    config = RunConfig(task="sst2", model="smollm2", method="generator")
    text = front_matter(
        "mood\n---\nx", "smollm2", config, ["classification"], {"accuracy": 0.5, "mcc": float("nan")}, SST2
    )
    data = ModelCard(text).data
    assert data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert data.license == "apache-2.0"
    assert SST2.hub is not None
    assert data.datasets == [SST2.hub.dataset]
    assert data.model_name == "mood\n---\nx"
    assert [(one.metric_type, one.metric_value) for one in data.eval_results] == [("accuracy", 0.5)]
    gemma = ModelCard(front_matter("x", "gemma3-270m", config, ["math"], {}, None)).data
    assert (gemma.license, gemma.pipeline_tag, gemma.eval_results) == ("gemma", "text-generation", None)
    assert ModelCard(front_matter("x", "ann/own", config, ["math"], {}, None)).data.base_model == "ann/own"


def test_a_card_of_several_targets_is_read(base: Path, tmp_path: Path) -> None:
    rows = [{"text": f"row {i}", "mood": "ab"[i % 2], "stars": i % 3} for i in range(12)]
    config = RunConfig(
        prompt="{text}",
        targets=["mood:classification", "stars:regression"],
        method="generator",
        model=str(base),
        max_steps=1,
    )
    train_targets(config, tmp_path / "run", data=rows)
    data = ModelCard.load(tmp_path / "run" / "README.md").data
    assert data.tags == ["predgen", "classification", "regression", "several targets"]
    assert json.loads((tmp_path / "run" / "predgen.json").read_text())["report"]["validation"].keys() >= {
        one.metric_type for one in data.eval_results or []
    }
