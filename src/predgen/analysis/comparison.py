"""I(Y; Z) of several runs, by several estimators, with controls: the analogues of the paper's Figures 2 and 7.

Every method is given the same number of components, the same rows to measure on, and the same estimators.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from predgen import registries
from predgen.analysis import processing
from predgen.analysis.estimators.base import Z_95
from predgen.analysis.processing import Check
from predgen.analysis.rows import Outcomes
from predgen.analysis.runs import RANDOM, SHUFFLED, TRAINED, MiSettings, RunStates, ShowProgress, silent
from predgen.analysis.store import Store
from predgen.components import resolve
from predgen.paper.published import COMPARED

PAIRS = (("predgen", "generator"), ("generator", "predictor"), ("predgen", "predictor"))
WHATS = (TRAINED, RANDOM, SHUFFLED)


@dataclass(frozen=True, slots=True)
class Job:
    """One estimate to make.

    Attributes:
        run: The run.
        what: What of it, see `RunStates.arrays`; `SHUFFLED`: the trained states, with Y in another order.
        estimator: Registry name.
        components: k.
        seed: Seed of estimator and control.
        own: Own settings of estimators, those of others among them.
    """

    run: RunStates
    what: str
    estimator: str
    components: int
    seed: int
    own: Mapping[str, Any]

    @property
    def key(self) -> dict[str, Any]:
        """What tells it from the run's other estimates by the same estimator."""
        return {"what": self.what, "components": self.components, "seed": self.seed}

    def measure(self) -> dict[str, Any]:
        """Make the estimate; plain data."""
        arrays, y = self.run.arrays, self.run.outcomes
        name = {SHUFFLED: TRAINED, RANDOM: f"{RANDOM} {self.seed}"}.get(self.what, self.what)
        z = arrays[name][:, : self.components]
        if z.shape[1] == 0:
            return {**self.key, "nats": 0.0, "std_nats": 0.0, "low": 0.0, "high": 0.0, "rows": len(y), "constant": True}
        if self.what == SHUFFLED:
            y = shuffled(y, self.seed)
        chosen = resolve([(registries.mi_estimators, self.estimator)], self.own, None)
        estimate = chosen[registries.mi_estimators.kind].make().estimate(z, y, seed=self.seed)
        return {**self.key, **estimate.to_dict()}


def shuffled(y: Outcomes, seed: int) -> Outcomes:
    """Return Y in another order: what is left of I(Y; Z) is the estimator's error."""
    order = np.random.default_rng([seed, 1]).permutation(len(y))
    moved: Outcomes = y[order]
    return moved


def jobs_of(runs: Sequence[RunStates], settings: MiSettings) -> Iterator[Job]:
    """Yield every estimate to make, the quick ones of all runs first where estimators are given so."""
    for estimator in settings.estimators:
        for run in runs:
            for seed in settings.seeds:
                for k in settings.all_components:
                    yield from (Job(run, what, estimator, k, seed, settings.own) for what in WHATS)
                if settings.processing:
                    names = [name for name in run.arrays if name.startswith(processing.whole(settings.components)[:-1])]
                    k = settings.components
                    yield from (Job(run, name, estimator, k, seed, settings.own) for name in names)


def measure_information(
    runs: Sequence[RunStates], settings: MiSettings, store: Store, progress: ShowProgress = silent
) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Make every estimate that is not in the store yet, and keep each as it comes.

    Args:
        runs: The runs.
        settings: What to measure.
        store: Where estimates are kept.
        progress: How to show it.

    Returns:
        (Run's label, estimator) -> its estimates of this call's settings, plain data.

    Raises:
        ConfigError: If the store holds estimates of other settings.
        DataError: If an estimator refuses the rows.
    """
    kept = {
        (run.label, estimator): store.results(run.label, estimator, settings.made_with(run, estimator))
        for estimator in settings.estimators
        for run in runs
    }
    found: dict[tuple[str, str], list[dict[str, Any]]] = {place: [] for place in kept}
    jobs = list(jobs_of(runs, settings))
    with progress("estimates", len(jobs)) as advance:
        for job in jobs:
            place = job.run.label, job.estimator
            record = next((r for r in kept[place] if {**r, **job.key} == r), None)
            if record is None:
                record = job.measure()
                kept[place].append(record)
                store.keep_results(*place, settings.made_with(job.run, job.estimator), kept[place])
            found[place].append(record)
            advance(1)
    return found


@dataclass(frozen=True, slots=True)
class MeanInformation:
    """I(Y; Z) of one method on one task: the mean over its runs and seeds.

    Attributes:
        task: The task.
        method: The method.
        what: `TRAINED`, `RANDOM` or `SHUFFLED`.
        estimator: Registry name.
        components: k.
        nats: Mean estimate.
        error: Half width of the 95 % interval: chance among the rows by the estimator's own interval, and the spread over
            runs and seeds where there are several; None where the estimator gives no interval.
        runs: Number of runs.
        rows: Number of rows.
    """

    task: str
    method: str
    what: str
    estimator: str
    components: int
    nats: float
    error: float | None
    runs: int
    rows: int

    @property
    def ends(self) -> tuple[float, float] | None:
        """Ends of the interval."""
        return None if self.error is None else (self.nats - self.error, self.nats + self.error)

    def is_above(self, other: "MeanInformation") -> bool:
        """Whether the estimate is higher than another's, by more than the error of the difference."""
        error = _joint(self.error, other.error)
        return error is not None and self.nats - other.nats > error


def ordered_methods(methods: Iterable[str]) -> list[str]:
    """Methods in the order of tables and pictures: the three of the paper, whether they are there or not, then others."""
    return list(dict.fromkeys([*COMPARED, *methods]))


def cells_of(
    runs: Sequence[RunStates], settings: MiSettings, found: dict[tuple[str, str], list[dict[str, Any]]]
) -> list[MeanInformation]:
    """Bring the estimates of each task and method together."""
    cells = []
    for task in dict.fromkeys(run.task for run in runs):
        for method in ordered_methods(run.method for run in runs):
            labels = [run.label for run in runs if (run.task, run.method) == (task, method)]
            for estimator in settings.estimators if labels else ():
                for k in settings.all_components:
                    for what in WHATS:
                        records = [
                            record
                            for label in labels
                            for record in found[label, estimator]
                            if (record["what"], record["components"]) == (what, k)
                        ]
                        nats, error = mean_with_error(records)
                        cells.append(
                            MeanInformation(
                                task, method, what, estimator, k, nats, error, len(labels), records[0]["rows"]
                            )
                        )
    return cells


def mean_with_error(records: Sequence[dict[str, Any]]) -> tuple[float, float | None]:
    """Return the mean of estimates, and half the width of its 95 % interval.

    error^2 = (mean half width)^2 + (1.96^2 / R) * variance over the R estimates

    All are made on the same rows, so that the first term does not shrink with their number.

    Example:
        >>> mean_with_error([{"nats": 0.5, "low": 0.25, "high": 0.75}])
        (0.5, 0.25)
    """
    values = np.array([record["nats"] for record in records])
    halves = [(r["high"] - r["low"]) / 2 for r in records if r["low"] is not None]
    if len(halves) < len(records):
        return float(values.mean()), None
    spread = values.var(ddof=1) / len(values) if len(values) > 1 else 0.0
    return float(values.mean()), math.sqrt(float(np.mean(halves)) ** 2 + Z_95**2 * float(spread))


@dataclass(frozen=True, slots=True)
class InformationDifference:
    """Two methods on one task.

    Attributes:
        task: The task.
        estimator: Registry name.
        components: k.
        first: The method that the paper says keeps more.
        second: The other.
        nats: First minus second.
        error: Half width of its 95 % interval, as if the two errors were independent: on the same rows they rise and fall
            together in part, so that the interval is, if anything, too wide. None where an estimator gives none.
        is_beyond_controls: Whether the higher of both is above both of its own controls, beyond error.
    """

    task: str
    estimator: str
    components: int
    first: str
    second: str
    nats: float
    error: float | None
    is_beyond_controls: bool

    @property
    def verdict(self) -> str:
        """What the figures say."""
        if self.error is None:
            return "no interval"
        if abs(self.nats) <= self.error:
            return "not told apart"
        higher = self.first if self.nats > 0 else self.second
        return f"{higher} keeps more" if self.is_beyond_controls else f"{higher} is higher, but not above its controls"


def differences(cells: Iterable[MeanInformation]) -> list[InformationDifference]:
    """Compare the trained methods of each task, at equal k and estimator."""
    groups: dict[tuple[str, str, int], dict[tuple[str, str], MeanInformation]] = {}
    for cell in cells:
        groups.setdefault((cell.task, cell.estimator, cell.components), {})[cell.method, cell.what] = cell
    found = []
    for place, group in groups.items():
        for first, second in PAIRS:
            if (first, TRAINED) in group and (second, TRAINED) in group:
                ours, theirs = group[first, TRAINED], group[second, TRAINED]
                higher = ours if ours.nats > theirs.nats else theirs
                is_beyond = all(higher.is_above(group[higher.method, what]) for what in (RANDOM, SHUFFLED))
                error = _joint(ours.error, theirs.error)
                found.append(InformationDifference(*place, first, second, ours.nats - theirs.nats, error, is_beyond))
    return found


def _joint(first: float | None, second: float | None) -> float | None:
    """Half width of a difference's interval."""
    return None if first is None or second is None else math.hypot(first, second)


def checks_of(
    runs: Sequence[RunStates], settings: MiSettings, found: dict[tuple[str, str], list[dict[str, Any]]]
) -> list[Check]:
    """Hold I(Y; g(Z)) against I(Y; Z), for every run and estimator."""
    checks = []
    k = settings.components
    for run in runs:
        for estimator in settings.estimators:
            by_name: dict[str, list[dict[str, Any]]] = {}
            for record in found[run.label, estimator]:
                by_name.setdefault(record["what"], []).append(record)
            nats, error = mean_with_error(by_name[processing.whole(k)])
            for g in ("mean", "last", "first", "head"):
                for kind in (processing.OF_Z, processing.OWN):
                    records = by_name.get(processing.part(k, g, kind))
                    if records is not None:
                        part, part_error = mean_with_error(records)
                        checks.append(Check(run.label, estimator, g, kind, nats, part, _joint(error, part_error)))
    return checks
