"""Comparing runs made of drawn numbers with known mutual information: order, controls, intervals, going on after a stop."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis_cases import discrete, measured_run
from predgen.analysis import comparison
from predgen.analysis.comparison import (
    MeanInformation,
    cells_of,
    differences,
    mean_with_error,
    measure_information,
    shuffled,
)
from predgen.analysis.estimators.ksg import Ksg
from predgen.analysis.runs import RANDOM, SHUFFLED, TRAINED, MiSettings
from predgen.analysis.store import Store
from predgen.errors import ConfigError, DataError

RUNS = [
    measured_run("one", "predictor", 0.3),
    measured_run("two", "generator", 0.6),
    measured_run("three", "predgen", 0.95),
]
KSG = MiSettings(("ksg",), components=1)


def test_known_information_comes_out_in_order_and_controls_near_zero(tmp_path: Path) -> None:
    cells = cells_of(RUNS, KSG, measure_information(RUNS, KSG, Store(tmp_path)))
    assert len(cells) == 9
    for rho, method in ((0.3, "predictor"), (0.6, "generator"), (0.95, "predgen")):
        at = {cell.what: cell for cell in cells if cell.method == method}
        true = -0.5 * math.log(1 - rho**2)
        assert at[TRAINED].ends is not None
        assert at[TRAINED].ends[0] < true < at[TRAINED].ends[1]
        for what in (RANDOM, SHUFFLED):
            error = at[what].error
            assert error is not None
            assert abs(at[what].nats) < error * 3 / 1.96 < 0.3  # three standard errors
    found = {(d.first, d.second): d for d in differences(cells)}
    assert found["predgen", "generator"].verdict == "predgen keeps more"
    assert found["generator", "predictor"].verdict == "generator keeps more"
    assert found["predgen", "predictor"].nats == pytest.approx(
        found["predgen", "generator"].nats + found["generator", "predictor"].nats
    )


def test_estimates_are_the_estimators_own(tmp_path: Path) -> None:
    settings = replace(KSG, components=3, seeds=(1,), sweep=(1, 3))
    found = measure_information(RUNS[:1], settings, Store(tmp_path))
    z, y = RUNS[0].arrays[TRAINED], RUNS[0].outcomes
    by_key = {(r["what"], r["components"]): r["nats"] for r in found["one", "ksg"]}
    assert by_key.keys() == {(what, k) for what in (TRAINED, RANDOM, SHUFFLED) for k in (1, 3)}
    for k in (1, 3):
        assert by_key[TRAINED, k] == Ksg().estimate(z[:, :k], y, seed=1).nats
        assert by_key[SHUFFLED, k] == Ksg().estimate(z[:, :k], shuffled(y, 1), seed=1).nats
        assert by_key[RANDOM, k] == Ksg().estimate(RUNS[0].arrays[f"{RANDOM} 1"][:, :k], y, seed=1).nats


def test_classes_are_measured_as_classes(tmp_path: Path) -> None:
    runs = [discrete(run) for run in RUNS]
    cells = cells_of(runs, KSG, measure_information(runs, KSG, Store(tmp_path)))
    trained = {cell.method: cell.nats for cell in cells if cell.what == TRAINED}
    assert trained["predictor"] < trained["generator"] < trained["predgen"] < math.log(2) + 0.05


def test_shuffles_keep_the_answers_and_differ_by_seed() -> None:
    y = np.arange(50)
    assert sorted(shuffled(y, 0)) == list(y)
    assert (shuffled(y, 0) == shuffled(y, 0)).all()
    assert not (shuffled(y, 0) == shuffled(y, 1)).all()


# --- intervals --------------------------------------------------------------------------------------------------------


def test_error_holds_rows_and_spread_over_runs() -> None:
    records = [{"nats": 0.5, "low": 0.25, "high": 0.75}, {"nats": 0.75, "low": 0.25, "high": 1.25}]
    nats, error = mean_with_error(records)
    assert nats == 0.625
    # Mean half width 0.375; standard deviation of 0.5 and 0.75 is 0.1768, of their mean 0.125.
    assert error == pytest.approx(math.sqrt(0.375**2 + (1.96 * 0.125) ** 2), rel=1e-4)


def with_controls(*cells: MeanInformation) -> list[MeanInformation]:
    """Methods with controls far below them."""
    return [*cells, *(replace(cell, what=what, nats=-5.0) for cell in cells for what in (RANDOM, SHUFFLED))]


def test_estimators_without_interval_give_no_verdict() -> None:
    nats, error = mean_with_error([{"nats": 0.5, "low": None, "high": None}])
    assert (nats, error) == (0.5, None)
    cell = comparison.MeanInformation("task", "predgen", TRAINED, "e", 1, 0.5, None, 1, 10)
    (found,) = differences(with_controls(cell, replace(cell, method="generator", nats=0.1)))
    assert (found.nats, found.error, found.verdict) == (0.4, None, "no interval")


@pytest.mark.parametrize(
    ("nats", "verdict"), [(0.49, "not told apart"), (0.51, "predgen keeps more"), (-0.51, "generator keeps more")]
)
def test_differences_within_their_error_tell_nothing(nats: float, verdict: str) -> None:
    cell = comparison.MeanInformation("task", "predgen", TRAINED, "e", 1, nats, 0.3, 1, 10)
    (found,) = differences(with_controls(cell, replace(cell, method="generator", nats=0.0, error=0.4)))
    assert found.error == pytest.approx(0.5)  # 3, 4, 5
    assert found.verdict == verdict


@pytest.mark.parametrize("what", [RANDOM, SHUFFLED])
def test_what_is_not_above_its_controls_keeps_nothing(what: str) -> None:
    cell = comparison.MeanInformation("task", "predgen", TRAINED, "e", 1, 1.0, 0.1, 1, 10)
    cells = with_controls(cell, replace(cell, method="generator", nats=0.0))
    cells = [replace(c, nats=0.95) if (c.method, c.what) == ("predgen", what) else c for c in cells]
    (found,) = differences(cells)
    assert found.verdict == "predgen is higher, but not above its controls"


def test_runs_of_one_method_are_averaged(tmp_path: Path) -> None:
    runs = [measured_run("a", "predgen", 0.5), measured_run("b", "predgen", 0.9)]
    found = measure_information(runs, KSG, Store(tmp_path))
    cell = next(cell for cell in cells_of(runs, KSG, found) if cell.what == TRAINED)
    values = [r["nats"] for label in "ab" for r in found[label, "ksg"] if r["what"] == TRAINED]
    assert (cell.runs, cell.nats) == (2, pytest.approx(np.mean(values)))


# --- going on ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Estimates that are really made from here on; the fourth is interrupted."""
    made: list[Any] = []
    estimate = Ksg.estimate

    def counting(self: Ksg, *args: Any, **options: Any) -> Any:
        made.append(self)
        if len(made) == 4:
            raise KeyboardInterrupt
        return estimate(self, *args, **options)

    monkeypatch.setattr(Ksg, "estimate", counting)
    return made


def test_a_stopped_analysis_goes_on(tmp_path: Path, counted: list[Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        measure_information(RUNS, KSG, Store(tmp_path))
    found = measure_information(RUNS, KSG, Store(tmp_path))
    assert len(counted) == 4 + 6  # three were kept, one was lost
    assert measure_information(RUNS, KSG, Store(tmp_path)) == found
    assert len(counted) == 10
    measure_information(RUNS, replace(KSG, sweep=(2,)), Store(tmp_path))
    assert len(counted) == 10 + 9  # only what is new


def test_estimates_of_another_run_are_refused(tmp_path: Path) -> None:
    measure_information(RUNS[:1], KSG, Store(tmp_path))
    other = replace(RUNS[0], made_with={**RUNS[0].made_with, "rows": "others"})
    with pytest.raises(
        ConfigError, match=r"'one.ksg.json' was made with other settings \(rows 'r' -> 'others'\)|one.ksg"
    ):
        measure_information([other], KSG, Store(tmp_path))


def test_what_an_estimator_refuses_is_said(tmp_path: Path) -> None:
    run = replace(RUNS[0], arrays={**RUNS[0].arrays, TRAINED: np.zeros((400, 1))})
    with pytest.raises(DataError, match="estimator 'ksg' got a `z` whose column 0 is constant"):
        measure_information([run], KSG, Store(tmp_path))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (MiSettings(()), "`estimators` is empty"),
        (MiSettings(("ksg",), seeds=()), "`seeds` is empty"),
        (MiSettings(("ksg",), components=0), "`components` is 0, but at least 1 component is needed"),
        (MiSettings(("ksg",), sweep=(4, 0)), "`components` is 0"),
    ],
)
def test_settings_that_measure_nothing_are_refused(settings: MiSettings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings.check()
