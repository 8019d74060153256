"""No code of a saved model or of its base runs unless the caller allows it: a file that such code would write stays away."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import dynamic_module_utils

import cli_runs
import predgen
from predgen import registries
from predgen.core import TaskSpec
from predgen.engine.base_model import fingerprint
from predgen.errors import ModelError, SavedModelError
from predgen.training.rows import TrainingData
from tiny_runs import tiny_base, tiny_config, tiny_data, tiny_rows, tiny_run

ROW = "text\nthe room was warm\n"
OWN_LLAMA = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

Path({canary!r}).touch()

class OwnConfig(LlamaConfig):
    model_type = "of_my_own"

class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig

class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base") / "llama")


@pytest.fixture(scope="module")
def full(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model that carries its base along."""
    out = tmp_path_factory.mktemp("full") / "run"
    tiny_run(base, "classification", tiny_data("classification", 8), out, max_steps=1, peft="full")
    return out


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def plant(folder: Path, canary: Path, *, kind: str) -> None:
    """Put code into a base model's folder that touches `canary`, and what asks for it."""
    (folder / "own.py").write_text(OWN_LLAMA.format(canary=str(canary)), encoding="utf-8")
    models = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    if kind == "model":
        edit_json(folder / "config.json", lambda data: data.update(model_type="of_my_own", auto_map=models))
    elif kind == "known model":
        edit_json(folder / "config.json", lambda data: data.update(auto_map=models))
    elif kind == "generation":
        (folder / "custom_generate").mkdir()
        shutil.copy(folder / "own.py", folder / "custom_generate" / "generate.py")
    else:
        names = ["own.OwnTokenizer", "own.OwnTokenizer"]
        tokenizer = {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": names}}
        edit_json(folder / "tokenizer_config.json", lambda data: data.update(tokenizer))


def reseal(folder: Path) -> None:
    """Make a changed folder agree with itself again, as an attacker would: the manifest asks, and knows the files."""

    def change(data: dict[str, Any]) -> None:
        data["config"]["trust_remote_code"] = data["base"]["needs_remote_code"] = True
        source = folder / "base" if (folder / "base").is_dir() else Path(data["base"]["name"])
        data["base"]["fingerprint"] = fingerprint(source)

    edit_json(folder / "predgen.json", change)


@pytest.fixture
def processes(forked_python: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that keep the code they are allowed to run in a folder of the test's."""
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))


def predict(run: Path, cwd: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    """Run `python -m predgen predict` as a user who opens a folder that somebody sent.

    In a process: what it imports of the folder's directory would stay in this one.
    """
    (cwd / "in.csv").write_text(ROW, encoding="utf-8")
    command = [sys.executable, "-m", "predgen", "predict", str(run), "in.csv", "--out", "out.csv", *flags]
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(predgen.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "HF_HOME": str(cwd / "hub"),
    }
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def refused(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error: ") == 1
    return done.stderr


@pytest.mark.parametrize(
    ("kind", "asks"),
    [
        ("model", "config.json: auto_map"),
        ("known model", "config.json: auto_map"),
        ("tokenizer", "tokenizer_config.json: auto_map"),
        ("generation", "custom_generate/generate.py"),
    ],
)
def test_code_planted_in_a_saved_base_does_not_run(full: Path, tmp_path: Path, kind: str, asks: str) -> None:
    run = Path(shutil.copytree(full, tmp_path / "run"))
    plant(run / "base", tmp_path / "ran", kind=kind)
    reseal(run)
    with pytest.raises(SavedModelError, match=rf"base/{asks}.*trust_remote_code") as error:
        predgen.load(run)
    assert not (tmp_path / "ran").exists()
    edit_json(run / "predgen.json", lambda data: data["base"].update(needs_remote_code=False))
    with pytest.raises(SavedModelError, match="trained without it"):
        predgen.load(run, trust_remote_code=True)
    assert not (tmp_path / "ran").exists()
    assert str(run) in str(error.value)


@pytest.mark.usefixtures("processes")
def test_code_of_a_base_that_the_manifest_names_does_not_run(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, evil = tmp_path / "run", Path(shutil.copytree(base, tmp_path / "evil"))
    tiny_run(base, "classification", tiny_data("classification", 8), run, max_steps=1)
    plant(evil, tmp_path / "ran", kind="model")
    edit_json(run / "predgen.json", lambda data: data["base"].update(name=str(evil)))
    reseal(run)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_text(ROW, encoding="utf-8")
    message = cli_runs.refused(cli_runs.predgen("predict", run, "in.csv", "--out", "out.csv"))
    assert not (tmp_path / "ran").exists()
    assert "predgen.json: base.needs_remote_code" in message
    assert "--trust-remote-code" in message
    done = predict(run, tmp_path, "--trust-remote-code")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ran").exists()


def test_need_of_code_is_saved_and_no_permission(base: Path, tmp_path: Path) -> None:
    tiny_run(
        base, "classification", tiny_data("classification", 8), tmp_path / "run", max_steps=1, trust_remote_code=True
    )
    data = json.loads((tmp_path / "run" / "predgen.json").read_text(encoding="utf-8"))
    assert "trust_remote_code" not in data["config"]
    assert data["base"]["needs_remote_code"] is False  # an ordinary Llama: nothing ran
    assert predgen.load(tmp_path / "run", trust_remote_code=True).config.trust_remote_code is False


def test_known_model_that_also_offers_code_trains_without_it_and_is_saved_without_it(
    base: Path, tmp_path: Path
) -> None:
    offers = Path(shutil.copytree(base, tmp_path / "offers"))
    plant(offers, tmp_path / "ran", kind="known model")
    trained = tiny_run(
        offers, "classification", tiny_data("classification", 8), tmp_path / "run", max_steps=1, peft="full"
    )
    trained.merge(tmp_path / "merged")
    assert "auto_map" not in (tmp_path / "run" / "base" / "config.json").read_text(encoding="utf-8")
    assert "auto_map" not in (tmp_path / "merged" / "config.json").read_text(encoding="utf-8")
    assert predgen.load(tmp_path / "run").labels == trained.labels
    assert not (tmp_path / "ran").exists()


def test_base_that_needs_code_names_what_asks_for_it(base: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(base, tmp_path / "own"))
    plant(own, tmp_path / "ran", kind="model")
    with pytest.raises(ModelError, match=r"own\.py, config\.json: auto_map.*--trust-remote-code"):
        tiny_run(own, "classification", tiny_data("classification", 8), max_steps=1)
    assert not (tmp_path / "ran").exists()


# Extractors: functions that change rows before they are read


@pytest.mark.usefixtures("processes")
def test_extractor_in_a_manifest_names_no_code(base: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tiny_run(base, "classification", tiny_data("classification", 8), run, max_steps=1)
    (tmp_path / "extractor_of_mine.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\nextract = dict\n", encoding="utf-8"
    )
    edit_json(run / "predgen.json", lambda data: data["task"].update(extract="extractor_of_mine:extract"))
    done = predict(run, tmp_path)
    assert not (tmp_path / "ran").exists()
    message = refused(done)
    assert "task.extract" in message
    assert "extractor_of_mine:extract" in message
    for named in ("os:remove", "builtins:eval", "mine"):
        edit_json(run / "predgen.json", lambda data, named=named: data["task"].update(extract=named))
        with pytest.raises(SavedModelError, match=rf"task\.extract is '{named}'"):
            predgen.load(run)


SST2: TaskSpec = registries.tasks.get("sst2")


@pytest.fixture(scope="module")
def sst2(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model of a task with an extractor."""
    out = tmp_path_factory.mktemp("sst2") / "run"
    train_on(SST2, base, out)
    return out


def train_on(task: TaskSpec, base: Path, out: Path) -> None:
    """Train on tiny rows as if they were the task's."""
    data = TrainingData(replace(task, prompt="{text} =", labels={}), tiny_rows(8, "classification"), [])
    predgen.train(replace(tiny_config(base, "classification"), max_steps=1), out, data=data)


def test_extractor_is_saved_as_its_task(sst2: Path) -> None:
    data = json.loads((sst2 / "predgen.json").read_text(encoding="utf-8"))
    assert (data["task"]["name"], data["task"]["extract"]) == ("sst2", "sst2")
    assert predgen.load(sst2).task.extract == SST2.extract


def test_extractor_that_an_older_version_saved_loads_where_the_task_still_has_it(sst2: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(sst2, tmp_path / "run"))
    edit_json(run / "predgen.json", lambda data: data["task"].update(extract=SST2.extract))
    assert predgen.load(run).task == predgen.load(sst2).task
    edit_json(run / "predgen.json", lambda data: data["task"].update(extract="predgen.tasks.boolq:bare_question"))
    with pytest.raises(SavedModelError, match=r"task\.extract is 'predgen\.tasks\.boolq:bare_question'"):
        predgen.load(run)


def test_own_task_with_an_extractor_loads_where_it_is_registered(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for attribute in ("_targets", "_summaries", "_facts", "_aliases"):
        monkeypatch.setattr(registries.tasks, attribute, dict(getattr(registries.tasks, attribute)))
    train_on(replace(SST2, name="mine"), base, tmp_path / "run")
    with pytest.raises(SavedModelError, match=r"task\.extract is 'mine'.*Register the task"):
        predgen.load(tmp_path / "run")
    monkeypatch.setattr(sys.modules["tiny_runs"], "MINE", replace(SST2, name="mine"), raising=False)
    registries.tasks.register("mine", "tiny_runs:MINE", "a task of the user's")
    assert predgen.load(tmp_path / "run").task.extract == SST2.extract
    with pytest.raises(SavedModelError, match=r"'mine' has the extractor 'os:remove'"):
        train_on(replace(SST2, name="mine", extract="os:remove"), base, tmp_path / "other")
