"""One simulated experiment and its page for all tests of the report."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import yaml

from compare.factory import ERROR, REFUSAL, SOURCES, VARIANTS, Simulated, broken, records, trials, write_experiment
from html_pages import Element, read_page
from predgen.findings.make import findings
from predgen.findings.paired import sign_flip_p
from predgen.records import PLAN_FILE, Record
from predgen.report.experiment import LoadedExperiment, load_experiment
from predgen.report.page import make_page

TASKS = ("sst2", "sick", "gsm8k", "multiarith")
NINTH = Simulated("predgen loss=adaptive", {"method": "predgen", "loss": "adaptive"}, skill=0.9)
"""With it, the headline table has more variants than fit beside each other."""


@dataclass(frozen=True)
class Made:
    """An experiment, what was loaded from it, and its page."""

    folder: Path
    experiment: LoadedExperiment
    text: str
    page: Element


def simulated() -> list[Record]:
    """Records of three training tasks; one run fails, others are refused, one is missing, two tasks were tuned."""
    found = []
    for one in records(TASKS, (*VARIANTS, NINTH), (0, 1), n_rows=60):
        if one.id == "sick--predgen_loss=wdal--seed1":
            found.append(broken(one, ERROR))
        elif (one.task, one.variant) == ("gsm8k", "predictor"):
            found.append(broken(one, REFUSAL))
        elif one.id != "sst2--generator--seed1":
            found.append(one)
    return found + trials(("sst2", "sick"), VARIANTS)


def write(folder: Path, found: list[Record]) -> Path:
    """Write an experiment whose plan asks for the variants that are there."""
    write_experiment(folder, found)
    plan = yaml.safe_load((folder / PLAN_FILE).read_text(encoding="utf-8"))
    named = {run.variant: run.config for run in found if run.cell["baseline"] is None}
    plan["variants"] = [
        {"name": name, "settings": {key: config[key] for key in ("method", "loss")}} for name, config in named.items()
    ]
    plan["baselines"] = list(dict.fromkeys(run.variant for run in found if run.cell["baseline"] is not None))
    (folder / PLAN_FILE).write_text(yaml.safe_dump(plan), encoding="utf-8")
    return folder


def made(folder: Path, found: list[Record]) -> Made:
    """Write an experiment and its page."""
    experiment = load_experiment(write(folder, found))
    text = make_page(experiment)
    return Made(folder, experiment, text, read_page(text))


@pytest.fixture(scope="session", autouse=True)
def _few_draws() -> Iterator[None]:
    """Intervals are rougher for it, and tests ten times as fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("predgen.report.experiment.findings", partial(findings, n_resamples=200))
        patch.setattr("predgen.findings.make.sign_flip_p", partial(sign_flip_p, n_flips=2000))
        yield


@pytest.fixture(scope="session")
def sample(_few_draws: None, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """An experiment with everything in it."""
    assert SOURCES["multiarith"] == "gsm8k"
    return made(tmp_path_factory.mktemp("report") / "sample", simulated())


@pytest.fixture(scope="session")
def single(_few_draws: None, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """One seed, two tasks, no tuning, nothing missing."""
    return made(tmp_path_factory.mktemp("report") / "single", records(("sst2", "sick"), VARIANTS[:5], (0,), n_rows=40))
