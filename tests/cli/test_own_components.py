"""Components of a package outside predgen, each with a setting of its own, wherever built-in ones can be used."""

import importlib.metadata
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import predgen as library
from cli_runs import Runs, predgen, refused
from predgen import lookup
from predgen.compare.plan_file import plan_from
from predgen.compare.runner import Experiment
from predgen.compare.workers import LocalWorkers
from predgen.config import RunConfig, all_settings, config_from
from predgen.errors import ConfigError
from registered import registrations_undone

EXAMPLES = Path(__file__).parents[2] / "examples"
MODULES = [f"own_components.{name}" for name in ("loss", "director", "sampling_mode", "peft_method", "metric", "task")]
CHOSEN = {
    "task": "colours",
    "loss": "weighted_sum",
    "director": "two_layers",
    "sampling": "after_gold",
    "peft": "lora_dropout",
    "metric": "sure_accuracy",
}
OWN = {
    "colour_prompt": "polite",
    "director_share": 0.25,
    "hidden_units": 3,
    "gold_tokens": 2,
    "adapter_dropout": 0.5,
    "sure_above": 0.0,
}
FURTHER = {"max_steps": 2, "batch_size": 4, "p_min": 0.5, "rank": 2}


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package can be imported, and nothing has imported it; afterwards all is as before."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(EXAMPLES)])
    with registrations_undone("own_components"):
        yield


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """The files of task `colours`."""
    (tmp_path / "data" / "colours").mkdir(parents=True)
    things = {"a ripe tomato": "red", "a clear sky": "blue", "a fire engine": "red", "deep water": "blue"}
    rows = [{"text": f"{thing} {i}", "colour": colour} for i in range(6) for thing, colour in things.items()]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "data" / "colours" / "train.jsonl").write_text(lines, encoding="utf-8")
    return tmp_path / "data"


def check(config: RunConfig) -> None:
    """The settings reached the components that they belong to."""
    assert {name: getattr(config, name) for name in CHOSEN} == CHOSEN
    assert {name: config.to_dict()[name] for name in OWN} == OWN


def check_model(trained: Any) -> None:
    """The components are built with them."""
    model = trained.model
    assert model.joint.share == 0.25
    assert model.director.head[0].out_features == 3
    assert model.mode.gold_tokens == 2
    assert {m.p for name, m in model.lm.named_modules() if name.endswith("lora_dropout.default")} == {0.5}
    assert trained.task.prompt.startswith("Please")
    assert trained.report["validation"]["sure_accuracy"] == trained.report["validation"]["accuracy"]  # sure above 0


@pytest.mark.usefixtures("importable")
def test_on_the_command_line(runs: Runs, data_dir: Path, tmp_path: Path) -> None:
    imports = [word for name in MODULES for word in ("--import", name)]
    flags = [
        word
        for name, value in {**CHOSEN, **OWN, **FURTHER}.items()
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]
    where = ("--data-dir", data_dir, "--model", runs.base)
    assert "no such option" in predgen("train", *where, *flags, "--out", tmp_path / "run").output.lower()
    done = predgen("train", *imports, *where, *flags, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "--hidden-units" in predgen("train", *imports, "--help").output
    loaded = library.load(tmp_path / "run")
    check(loaded.config)
    check_model(loaded)
    out = tmp_path / "figures.json"
    measured = predgen(
        "evaluate", tmp_path / "run", "--split", "validation", "--data-dir", data_dir, *imports, "--json", out
    )
    assert measured.exit_code == 0, measured.output
    figures = json.loads(out.read_text(encoding="utf-8"))["metrics"]
    assert figures["sure_accuracy"] == figures["accuracy"]
    listed = json.loads(predgen("ls", "losses", *imports, "--json").stdout)
    assert {entry["name"]: entry["settings"] for entry in listed}["weighted_sum"] == {"director_share": 0.5}


@pytest.mark.usefixtures("importable")
def test_from_python_yaml_and_after_reloading(runs: Runs, data_dir: Path, tmp_path: Path) -> None:
    lookup.import_modules(MODULES)
    given = {**CHOSEN, **OWN, **FURTHER, "data_dir": str(data_dir), "model": str(runs.base)}
    config = RunConfig(**given)
    check(config)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config.to_dict()), encoding="utf-8")
    assert (
        config_from(yaml.safe_load((tmp_path / "run.yaml").read_text(encoding="utf-8"))).to_dict() == config.to_dict()
    )
    trained = library.train(config, tmp_path / "run")
    check_model(trained)
    again = library.load(tmp_path / "run")
    check(again.config)
    check_model(again)
    rows = [{"text": "a ripe tomato 3"}, {"text": "deep water 1"}]
    assert again.predict(rows) == trained.predict(rows)


@pytest.mark.usefixtures("importable")
def test_in_the_workers_of_compare(runs: Runs, data_dir: Path, tmp_path: Path) -> None:
    lookup.import_modules(MODULES)
    of_method = ("loss", "director", "sampling", "director_share", "hidden_units", "gold_tokens")
    given = {**CHOSEN, **OWN}
    variants = [{"name": "ours", "method": "predgen", **{name: given[name] for name in of_method}}]
    variants += [{"name": "plain", "method": "predictor"}]
    shared = {
        name: given[name] for name in ("peft", "adapter_dropout", "colour_prompt")
    }  # methods are judged by accuracy
    shared |= {"data_dir": str(data_dir), "model": str(runs.base), "max_steps": 1, "batch_size": 4}
    plan = plan_from({"tasks": ["colours"], "variants": variants, "baselines": [], "seeds": [0], "settings": shared})
    records = {record.variant: record for record in Experiment(plan, tmp_path / "exp", LocalWorkers(1)).run()}
    assert {name: record.error for name, record in records.items()} == {"ours": None, "plain": None}
    measured = OWN.keys() - {"sure_above"}
    assert {name: records["ours"].config[name] for name in measured} == {name: OWN[name] for name in measured}
    assert records["plain"].config["adapter_dropout"] == 0.5
    assert "director_share" not in records["plain"].config


@pytest.mark.usefixtures("importable")
def test_by_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [importlib.metadata.EntryPoint(name, name, lookup.GROUP) for name in MODULES]
    monkeypatch.setattr(lookup, "entry_points", lambda group: points if group == lookup.GROUP else [])
    lookup.load_entry_points.cache_clear()
    check(config_from({**CHOSEN, **OWN}))
    lookup.load_entry_points.cache_clear()


@pytest.mark.usefixtures("importable")
def test_their_settings_are_checked_like_all_others() -> None:
    lookup.import_modules(MODULES)
    assert all_settings().keys() >= OWN.keys()
    for wrong, said in (
        ({**OWN, "hidden_units": 0}, "`hidden_units` is 0, outside"),
        ({**OWN, "colour_prompt": "rude"}, "`colour_prompt` is 'rude'"),
        ({**OWN, "loss": "sum"}, "`director_share` is 0.25, but loss 'sum' has no such setting"),
        ({**OWN, "hidden_unit": 3}, "Did you mean 'hidden_units'"),
    ):
        with pytest.raises(ConfigError, match=said):
            config_from({**CHOSEN, **wrong})


def test_nothing_in_the_package_knows_them() -> None:
    sources = [path.read_text(encoding="utf-8") for path in Path(library.__file__).parent.rglob("*.py")]
    for name in [*CHOSEN.values(), *OWN, "own_components"]:
        assert not any(f"{name!r}" in text or f'"{name}"' in text for text in sources), name


def test_without_the_import_the_name_is_refused(runs: Runs, tmp_path: Path) -> None:
    assert "weighted_sum" in refused(runs.train("--loss", "weighted_sum", "--out", tmp_path / "run"))
