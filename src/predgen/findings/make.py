"""From the records of an experiment to what it shows: figures, differences, order of methods, costs, what is missing."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from predgen.errors import ConfigError
from predgen.findings.base import (
    Cost,
    Difference,
    Entry,
    Findings,
    MetricEstimate,
    Ordering,
    Tuning,
    VariantFacts,
    Verdict,
)
from predgen.findings.calibration import calibration, residuals
from predgen.findings.estimates import estimate
from predgen.findings.notes import notes
from predgen.findings.paired import min_f_p, resampled_differences, sign_flip_p, standardised, with_verdicts
from predgen.findings.runs import CONSTANT, Run, Runs, gather
from predgen.metrics.base import PRIMARY, PROPER, Metric, metric_of
from predgen.metrics.bootstrap import CONFIDENCE, Draws
from predgen.metrics.distributions import DESCRIBED
from predgen.metrics.weighted import Floats, Weights
from predgen.near_names import near_matches
from predgen.records import Record, read_plan, read_records

N_PAIRED_RESAMPLES = 2000
HEADLINE = "headline"
PROPERLY = "proper scores"
FIRST: Verdict = "first better"


def findings(
    experiment: Path | Sequence[Record],
    *,
    headline: Sequence[str] | None = None,
    reference: str | None = None,
    n_resamples: int = N_PAIRED_RESAMPLES,
    seed: int = 0,
) -> Findings:
    """Work out what an experiment shows.

    The same records and the same `seed` give the same findings.

    Args:
        experiment: Its folder, or its records. A folder's plan also says which runs are missing; records alone show only
            what the others let expect.
        headline: Variants to compare with each other. With the tasks they make the family of comparisons to correct for,
            so it is to be chosen before the figures are seen. None: those of the plan, or all methods, "... (mean)" included,
            baselines not.
        reference: The one of them that the others are compared with. None: that of the plan, or all pairs.
        n_resamples: Resamples of the bootstraps.
        seed: Seed of the draws of bootstraps and tests.

    Raises:
        ConfigError: If a name in `headline`, or `reference`, is unknown.
        DataError: If there are no records, one is damaged, or they cannot be compared; see `runs.gather`.
    """
    records, trials, plan = _read(experiment)
    runs = gather(records, plan)
    known = {variant.name for variant in runs.variants}
    chosen = _headline(runs, headline or [name for name in plan.get("headline") or () if name in known] or None)
    planned = plan.get("reference")
    if reference is None and planned is not None and planned not in known:
        chosen = []  # nothing to compare with: its runs are missing
    pairs = _pairs(runs, chosen, reference or planned)
    scored = _Scored(runs, n_resamples, seed)
    entries = scored.entries()
    differences = with_verdicts([d for pair in pairs for d in scored.differences(*pair, HEADLINE)])
    against = _against_baselines(runs, scored)
    judged = [d for d in against if d.family == CONSTANT]
    tuning = list(_tuning(trials, records))
    return Findings(
        split=runs.split,
        study=plan.get("study"),
        models=sorted({v.settings["model"] for v in runs.variants if "model" in v.settings}),
        seeds=runs.seeds,
        tasks=runs.tasks,
        variants=runs.variants,
        headline=[variant.name for variant in chosen],
        entries=entries,
        differences=differences,
        baseline_differences=against,
        proper_differences=with_verdicts([d for pair in pairs for d in scored.differences(*pair, PROPERLY, PROPER)]),
        ordering=[_ordering(a.name, b.name, differences) for a, b in pairs],
        not_learnable=[task for task in runs.tasks if _verdicts(judged, task) and FIRST not in _verdicts(judged, task)],
        not_judged=[task for task in runs.tasks if not _verdicts(judged, task)],
        costs=list(_costs(records)),
        tuning=tuning,
        shortfalls=runs.shortfalls,
        notes=notes(runs, entries, differences, tuning),
        bootstrap={"n_resamples": n_resamples, "seed": seed, "confidence": CONFIDENCE},
    )


def _read(experiment: Path | Sequence[Record]) -> tuple[list[Record], list[Record], Mapping[str, Any]]:
    """Return final records, trials, and the plan as plain data (empty where there is none)."""
    if not isinstance(experiment, Path):
        finals = [record for record in experiment if record.stage == "final"]
        return finals, [record for record in experiment if record.stage == "trial"], {}
    finals, trials = read_records(experiment), read_records(experiment, "trial")
    return finals, trials, read_plan(experiment)


def _headline(runs: Runs, names: Sequence[str] | None) -> list[VariantFacts]:
    """Variants to compare with each other, in the order of tables."""
    if names is None:
        return [variant for variant in runs.variants if variant.baseline is None]
    chosen = [_named(runs, name, "headline") for name in names]
    return [variant for variant in runs.variants if variant in chosen]


def _pairs(
    runs: Runs, chosen: Sequence[VariantFacts], reference: str | None
) -> list[tuple[VariantFacts, VariantFacts]]:
    """Pairs to compare: all, or each one with the reference."""
    if reference is None:
        return list(itertools.combinations(chosen, 2))
    return [(variant, _named(runs, reference, "reference")) for variant in chosen if variant.name != reference]


def _named(runs: Runs, name: str, asked_by: str) -> VariantFacts:
    """A variant by its name, or raise."""
    known = {variant.name: variant for variant in runs.variants}
    if name not in known:
        raise ConfigError(
            f"`{asked_by}` names {name!r}, but the experiment has no such variant.{near_matches(name, known)} It has:"
            f" {', '.join(known)}."
        )
    return known[name]


@dataclass(slots=True)
class _Scored:
    """Figures and differences of runs, on the same resamples for all variants of a task."""

    runs: Runs
    n_resamples: int
    seed: int

    def entries(self) -> list[Entry]:
        """Figures of every variant on every task that it was measured on."""
        found = [self.entry(task, variant) for task in self.runs.tasks for variant in self.runs.variants]
        return [entry for entry in found if entry is not None]

    def entry(self, task: str, variant: VariantFacts) -> Entry | None:
        """Figures of a variant on a task; None without runs."""
        found = self.runs.of(task, variant)
        if not found:
            return None
        kind, source, runs = self.runs.kinds[task], self.runs.sources[task], list(found.values())
        primary = PRIMARY[kind]
        names = [primary, *(name for name in runs[0].measurement.metrics if name != primary)]
        expected = self.runs.seeds_of[source] if variant.is_seeded else []
        flags = sorted({flag for run in runs for flag in run.measurement.counts})
        counts = {flag: [run.measurement.counts.get(flag, 0) for run in runs] for flag in flags}
        counts["unread"] = [sum(value is None for value in run.measurement.predictions.value) for run in runs]
        return Entry(
            task=task,
            source=source,
            kind=kind,
            variant=variant.name,
            derived_from=variant.derived_from,
            metric=primary,
            greater_is_better=metric_of(primary).greater_is_better,
            seeds=list(found),
            lacking=[seed for seed in expected if seed not in found],
            rows=len(runs[0].measurement.predictions.row_id),
            metrics=self._figures(names, runs),
            counts=counts,
            records=[run.record.id for run in runs],
            calibration=calibration(runs) if kind == "classification" else None,
            residuals=residuals(runs) if kind == "regression" else None,
        )

    def _figures(self, names: Sequence[str], runs: Sequence[Run]) -> dict[str, MetricEstimate]:
        """Metrics with intervals; one that is not registered here has the records' values alone."""
        rows = [run.rows() for run in runs]
        draws = Draws(len(rows[0]), self.n_resamples, self.seed)
        by_seed = {name: [run.figure(name) for run in runs] for name in names}
        known = {
            n: m
            for n in names
            if (m := _registered(n, runs[0].record.config)) is not None and not np.isnan(by_seed[n]).any()
        }

        def resampled(weights: Weights) -> Floats:
            return np.array([[metric.on_resamples(r, weights) for r in rows] for metric in known.values()]).T

        values = draws.over_rows(resampled) if known else np.empty(0)  # resamples x seeds x metrics
        intervals = {name: (values[..., i], draws, metric.bounds) for i, (name, metric) in enumerate(known.items())}
        return {name: estimate(by_seed[name], *intervals.get(name, (None, draws))) for name in names}

    def scores(self, task: str, variant: VariantFacts, name: str) -> dict[int, Floats]:
        """Seed -> score of each row in a metric; of runs that have what it takes."""
        metric, runs = metric_of(name), self.runs.of(task, variant)
        is_proper = name != PRIMARY[self.runs.kinds[task]]
        known = {seed: run for seed, run in runs.items() if run.is_judged_properly or not is_proper}
        return {seed: metric.row_scores(run.rows()) for seed, run in known.items()}

    def differences(
        self, first: VariantFacts, second: VariantFacts, family: str, by: Mapping[str, str] = PRIMARY
    ) -> Iterator[Difference]:
        """Yield the difference of two variants on each task where they have seeds in common.

        A baseline that does not train has one run, which stands for all seeds.

        Args:
            first: A variant.
            second: Another one.
            family: Which comparisons share a correction.
            by: Kind of task -> metric, a mean of row scores; tasks of other kinds are passed over.
        """
        for task in self.runs.tasks:
            name = by.get(self.runs.kinds[task])
            if name is None:
                continue
            ours, theirs = self.scores(task, first, name), self.scores(task, second, name)
            if not ours or not theirs:
                continue
            if not second.is_seeded:
                theirs = dict.fromkeys(ours, next(iter(theirs.values())))
            elif not first.is_seeded:
                ours = dict.fromkeys(theirs, next(iter(ours.values())))
            seeds = [seed for seed in ours if seed in theirs]
            if seeds:
                pair = (np.stack([side[seed] for seed in seeds]) for side in (ours, theirs))
                yield self._difference(task, metric_of(name), (first.name, second.name), family, seeds, *pair)

    def _difference(
        self,
        task: str,
        metric: Metric,
        names: tuple[str, str],
        family: str,
        seeds: list[int],
        first: Floats,
        second: Floats,
    ) -> Difference:
        """A difference that is not yet corrected; scores are seeds x rows."""
        read = np.asarray(~np.isnan(first + second).any(axis=0))
        first, second = first[:, read], second[:, read]
        n_rows, by = int(read.sum()), first - second
        found, p_rows, p_seeds = MetricEstimate(None, None, None, [None] * len(seeds), "nothing"), 1.0, None
        if n_rows:
            draws = Draws(n_rows, self.n_resamples, self.seed)
            found = estimate(by.mean(axis=1).tolist(), resampled_differences(by, draws), draws)
            p_rows, p_seeds = sign_flip_p(by.mean(axis=0), seed=self.seed), min_f_p(by)
        return Difference(
            task=task,
            first=names[0],
            second=names[1],
            metric=metric.name,
            greater_is_better=metric.greater_is_better,
            family=family,
            seeds=seeds,
            rows=n_rows,
            left_out=len(read) - n_rows,
            estimate=found,
            p_rows=p_rows,
            p_seeds=p_seeds,
            p=max(p_rows, p_seeds or 0.0),
            p_corrected=1.0,
            verdict="no difference shown",
            standardised=standardised(first, second, metric.greater_is_better) if n_rows else None,
        )


def _registered(name: str, settings: Mapping[str, Any]) -> Metric | None:
    """The metric that a record names, with its settings; None where the package that it is from is not imported here."""
    try:
        return DESCRIBED.get(name) or metric_of(name, settings)
    except ConfigError:
        return None


def _verdicts(differences: Sequence[Difference], task: str) -> set[Verdict]:
    """What comparisons on a task show."""
    return {d.verdict for d in differences if d.task == task}


def _against_baselines(runs: Runs, scored: _Scored) -> list[Difference]:
    """Every method against every baseline; the comparisons with one baseline are a family."""
    found: list[Difference] = []
    for baseline in (variant for variant in runs.variants if variant.baseline is not None):
        methods = [variant for variant in runs.variants if variant.baseline is None]
        found += with_verdicts([d for method in methods for d in scored.differences(method, baseline, baseline.name)])
    return found


def _ordering(first: str, second: str, differences: Sequence[Difference]) -> Ordering:
    """Count verdicts over tasks, and average the standardised differences with the tasks as a sample."""
    own = [d for d in differences if (d.first, d.second) == (first, second)]
    verdicts: list[Verdict] = [d.verdict for d in own]
    sizes = [d.standardised for d in own if d.standardised is not None]
    mean = low = high = None
    if sizes:
        mean = float(np.mean(sizes))
    if len(sizes) > 1:
        error = float(np.std(sizes, ddof=1)) / len(sizes) ** 0.5
        reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(sizes) - 1)) * error
        low, high = float(np.mean(sizes)) - reach, float(np.mean(sizes)) + reach
    return Ordering(
        first=first,
        second=second,
        tasks=[d.task for d in own],
        first_better=verdicts.count(FIRST),
        second_better=verdicts.count("second better"),
        no_difference=verdicts.count("no difference shown"),
        standardised=mean,
        low=low,
        high=high,
    )


def _costs(records: Sequence[Record]) -> Iterator[Cost]:
    """Yield the mean cost of each variant on each task that it was trained on."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.status == "done":
            groups.setdefault((record.task, record.variant), []).append(record)
    for (source, variant), runs in groups.items():
        costs = [run.cost for run in runs]
        facts = [run.training for run in runs]
        yield Cost(
            source=source,
            variant=variant,
            runs=len(runs),
            train_s=_mean(costs, "train_s"),
            predict_s=_mean(costs, "predict_s"),
            predict_rows_per_s=_mean(costs, "predict_rows_per_s"),
            peak_memory_bytes=_mean(costs, "peak_memory_bytes"),
            trainable_parameters=_mean(facts, "trainable_parameters"),
            optimizer_steps=_mean(facts, "optimizer_steps"),
        )


def _mean(facts: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Mean of a fact over runs; None where one of them does not say it."""
    values = [fact.get(name) for fact in facts]
    return None if None in values else float(np.mean(np.asarray(values, dtype=np.float64)))


def _tuning(trials: Sequence[Record], finals: Sequence[Record]) -> Iterator[Tuning]:
    """Yield how often each variant was tried on each task, and what was chosen."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for trial in trials:
        groups.setdefault((trial.task, trial.variant), []).append(trial)
    chosen = {(record.task, record.variant): record.choice for record in finals}
    for (source, variant), tried in groups.items():
        failed = sum(trial.status != "done" for trial in tried)
        yield Tuning(source, variant, len(tried), failed, dict(chosen.get((source, variant), {})))
