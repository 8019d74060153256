"""The self-check: its figures are those of single estimates, in order, whoever does the work."""

from collections.abc import Callable

import numpy as np
import pytest

from predgen import registries
from predgen.analysis import self_check as module
from predgen.analysis.self_check import CheckRow, channels, estimate_once, n_estimates, self_check
from predgen.lookup import Registry


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two channels, two sizes, one quick estimator under two names."""
    quick = Registry("mutual information estimator")
    for name in ("ksg", "same"):
        quick.register(name, registries.mi_estimators._targets["ksg"], "quick")
    monkeypatch.setattr(registries, "mi_estimators", quick)
    chosen = channels()[:2]
    monkeypatch.setattr(module, "channels", lambda: chosen)
    monkeypatch.setattr(module, "ROWS", (60, 120))


def test_channels_cover_dimensions_strengths_and_classes() -> None:
    found = channels()
    gaussians = [c for c in found if c.name == "gaussian"]
    assert {c.dim for c in gaussians} == {1, 2, 5, 10}
    assert all({0.0, 0.5, 2.0} <= {c.true_nats for c in gaussians if c.dim == dim} for dim in (1, 2, 5, 10))
    assert {c.name for c in found} >= {"lognormal", "binary symmetric", "gaussian mixture", "exclusive or"}
    assert 5000 in module.ROWS


@pytest.mark.usefixtures("small")
def test_figures_are_means_and_deviations_over_seeds() -> None:
    done: list[int] = []
    rows = self_check(workers=1, on_done=done.append)
    assert len(done) == n_estimates() == 2 * 2 * 2 * 5
    assert [(r.true_nats, r.n, r.estimator) for r in rows] == [
        (nats, n, name) for nats in (0.0, 0.1) for n in (60, 120) for name in ("ksg", "same")
    ]
    values = [estimate_once("ksg", channels()[1], 120, seed) for seed in range(5)]
    assert len(set(values)) == 5
    assert (rows[-1].channel, rows[-1].dim) == ("gaussian", 1)
    assert rows[-1].estimate_nats == pytest.approx(np.mean(values))
    assert rows[-1].std_nats == pytest.approx(np.std(values, ddof=1))


@pytest.mark.usefixtures("small")
def test_work_is_shared_among_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def estimates(runs: list[object], workers: int) -> list[float]:
        asked.append(workers)
        return [float(i) for i in range(len(runs))]

    monkeypatch.setattr(module, "_estimates", estimates)
    monkeypatch.setattr(module, "available_cores", lambda: 64)
    assert self_check()[0].estimate_nats == 2.0
    assert asked == [8]


@pytest.mark.slow
def test_processes_give_the_same_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [module._Run(channel, name, 60, seed) for channel in (0, 16) for name in ("ksg", "mine") for seed in (0, 1)]
    assert list(module._estimates(runs, 2)) == pytest.approx(list(module._estimates(runs, 1)), abs=1e-6)


def test_a_row_knows_whether_it_is_close() -> None:
    row: Callable[[float, float], CheckRow] = lambda true, found: CheckRow("gaussian", "ksg", 1, 500, true, found, 0.0)  # noqa: E731
    assert row(2.0, 1.901).is_close  # 5 % of 2 nats
    assert not row(2.0, 1.899).is_close
    assert row(0.1, 0.149).is_close  # 0.05 nats
    assert not row(0.1, 0.151).is_close
    assert row(0.1, 0.151).error_nats == pytest.approx(0.051)
