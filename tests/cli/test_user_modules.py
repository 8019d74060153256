"""Components of a user's own module: on the command line, in workers, from installed packages, with a setting of their own."""

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli_runs import PROMPT, Runs, predgen, refused
from predgen import lookup, registries
from predgen.compare import workers
from predgen.config import RunConfig, config_from
from predgen.errors import ConfigError
from predgen.inference.trained import load
from registered import registrations_undone

MODULE = '''
from dataclasses import dataclass

import torch
from peft import LoraConfig

from predgen.losses.base import JointLoss
from predgen.metrics.base import Metric
from predgen.peft_methods.base import PeftMethod
from predgen.registries import losses, metrics, peft_methods
from predgen.settings import Settings, setting


class MaxLoss(JointLoss):
    """L = max(L_W, L_D)."""

    def join(self, writer, director):
        return torch.maximum(writer, director)


def config(settings):
    """LoRA with a dropout of its own."""
    return LoraConfig(r=settings.options["rank"], lora_dropout=settings.options["own_dropout"], target_modules=["q_proj"])


OWN_PEFT = PeftMethod("own_peft", "adapter", adapter=config)
WRONG = Metric("wrong", "classification", greater_is_better=False, function=lambda t, p, q, l: float((t != p).mean()))

losses.register("own_max", f"{__name__}:MaxLoss", "max(L_W, L_D)")
metrics.register("wrong", f"{__name__}:WRONG", "share of wrong labels")


@dataclass(frozen=True)
class OwnSettings(Settings):
    rank: int = setting(2, "Rank of the adapter.", low=1)
    own_dropout: float = setting(0.0, "Share of the adapter's inputs that is left out.", low=0.0, high=1.0)


peft_methods.register("own_peft", f"{__name__}:OWN_PEFT", "LoRA on queries", settings=OwnSettings)
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module in the working directory, which nothing has imported yet; afterwards all is as before."""
    name = f"own_components_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with registrations_undone(name):
        yield name


def test_import_on_the_command_line(runs: Runs, own: str, tmp_path: Path) -> None:
    assert "own_max" in refused(runs.train("--loss", "own_max", "--out", tmp_path / "early"))
    names = ("--import", own, "--loss", "own_max", "--metric", "wrong", "--peft", "own_peft")
    data = ("--data", runs.data, "--prompt", PROMPT, "--target", "label", "--kind", "classification")
    trained = runs.train(*data, *names, "--own-dropout", "0.25", "--out", tmp_path / "run")
    assert trained.exit_code == 0, trained.output
    assert "wrong" in trained.output
    adapter = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert adapter["lora_dropout"] == 0.25
    assert load(tmp_path / "run").config.peft_settings() == {"rank": 2, "own_dropout": 0.25}
    predicted = predgen("predict", tmp_path / "run", runs.data, "-o", tmp_path / "out.csv", "--import", own)
    assert predicted.exit_code == 0, predicted.output
    listed = predgen("ls", "losses", "--import", own, "--json")
    assert "own_max" in [entry["name"] for entry in json.loads(listed.stdout)]


def test_a_module_that_cannot_be_imported_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert "no_such_module" in refused(predgen("ls", "losses", "--import", "no_such_module"))
    (tmp_path / "breaks_at_once.py").write_text("1 / 0", encoding="utf-8")
    assert "ZeroDivisionError" in refused(predgen("ls", "--import", "breaks_at_once"))


AS_WORKERS_BEGIN = """
import json, sys
from importlib.util import find_spec
from predgen import registries
registries.add(json.loads(sys.stdin.readline()))
print(json.dumps([find_spec(sys.argv[1]) is not None, "own_max" in registries.losses, "torch" in sys.modules]), flush=True)
"""


def test_workers_know_what_this_process_has_registered(
    own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = subprocess.Popen

    def popen(command: list[str], **options: Any) -> "subprocess.Popen[str]":
        return real([sys.executable, "-c", AS_WORKERS_BEGIN, own], cwd="/", **options)

    lookup.import_modules([own])
    monkeypatch.setattr(subprocess, "Popen", popen)
    with workers._start("one", tmp_path / "exp", 1) as worker:
        assert worker.stdout is not None
        assert json.loads(worker.stdout.readline()) == [True, True, False]


def test_entry_points_are_looked_up_where_a_name_is_not_known(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sys.path.append(str(Path.cwd()))
    points = [importlib.metadata.EntryPoint("mine", own, lookup.GROUP)]
    monkeypatch.setattr(lookup, "entry_points", lambda group: points if group == lookup.GROUP else [])
    lookup.load_entry_points.cache_clear()
    assert own not in sys.modules
    registries.losses.get("wdal")
    assert own not in sys.modules, "built-in names need no package of others"
    assert registries.losses.get("own_max").__module__ == own
    lookup.load_entry_points.cache_clear()


def test_a_broken_entry_point_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [importlib.metadata.EntryPoint("bad", "no_such_module", lookup.GROUP)]
    monkeypatch.setattr(lookup, "entry_points", lambda group: points)
    lookup.load_entry_points.cache_clear()
    with pytest.raises(ConfigError, match="no_such_module"):
        registries.losses.canonical("no such loss")
    lookup.load_entry_points.cache_clear()


def test_a_foreign_setting_leaves_other_methods_alone(own: str) -> None:
    lookup.import_modules([own])
    plain = RunConfig(task="sst2")
    assert plain.peft_settings() == {"rank": 8, "adapt_layers": None, "alpha": 16.0}
    config = config_from({"task": "sst2", "peft": "own_peft", "own_dropout": "0.5", "rank": 3})
    assert config.peft_settings() == {"rank": 3, "own_dropout": 0.5}
    assert config_from(config.to_dict()) == config
    assert replace(config, seed=4).peft_settings() == config.peft_settings()
    assert yaml.safe_load(yaml.safe_dump(config.to_dict()))["own_dropout"] == 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft": "lora", "own_dropout": 0.5}, "own_dropout.*lora.*own_peft"),
        ({"peft": "own_peft", "own_dropout": "much"}, "own_dropout.*much"),
        ({"peft": "own_peft", "own_droput": 0.5}, "own_dropout"),
        ({"peft": "own_peft", "alpha": 2.0}, "alpha"),
    ],
)
def test_foreign_settings_are_checked_like_others(own: str, settings: dict[str, object], message: str) -> None:
    lookup.import_modules([own])
    with pytest.raises(ConfigError, match=message):
        config_from({"task": "sst2", **settings})
