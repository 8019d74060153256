"""What an experiment shows, as plain data: made by `make.findings`, read by tables and reports.

Differences are always first minus second, in the metric's own unit and direction; the verdict says which is better.
None stands where a value is not defined (an interval of one row, a correlation of equal numbers).
"""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from predgen import registries

Chance = Literal["rows and seeds", "rows only", "nothing"]
"""Which chance an interval covers; "nothing": there is no interval."""

Verdict = Literal["first better", "second better", "no difference shown"]
RunStatus = Literal["failed", "refused", "missing"]


@dataclass(frozen=True, slots=True)
class MetricEstimate:
    """A figure over rows and seeds.

    Attributes:
        value: Mean over the seeds.
        low: Lower end of the 95 % interval.
        high: Upper end.
        by_seed: The figure of each seed, in the order of the entry's or difference's `seeds`.
        chance: Which chance the interval covers.
    """

    value: float | None
    low: float | None
    high: float | None
    by_seed: list[float | None]
    chance: Chance


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows of one bin of a reliability diagram, all seeds together.

    Attributes:
        low: Lowest P(predicted label) of the bin, exclusive but for 0.
        high: Highest, inclusive.
        rows: Predictions in the bin.
        confidence: Their mean P(predicted label); None if there are none.
        accuracy: Share of them that are right; None if there are none.
    """

    low: float
    high: float
    rows: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far probabilities of labels can be trusted; means over seeds.

    Attributes:
        ece: Expected calibration error: |accuracy - confidence| over `len(bins)` bins of equal width, weighed by rows.
            Chance alone makes it greater than 0, the more so the fewer rows there are.
        brier: Mean over rows of sum over labels of (P - 1[label is right])^2, 0..2.
        log_loss: Mean of -log P(right label), in nats.
        bins: The reliability diagram.
        abstention: [share of rows that are answered, share of these that are wrong], the most confident ones first; all seeds
            together.
    """

    ece: float
    brier: float
    log_loss: float
    bins: list[Bin]
    abstention: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Residuals:
    """Errors of predicted numbers, prediction - target, in units of the target.

    Attributes:
        bias: Mean error, mean over seeds.
        spread: Standard deviation of the errors, mean over seeds.
        coverage: Share of targets inside the 5 % to 95 % interval (90 % where it is right), mean over seeds; None
            without intervals.
        width: Mean width of that interval; None without.
        points: [target, prediction] of the first seed's readable rows.
    """

    bias: float
    spread: float
    coverage: float | None
    width: float | None
    points: list[list[float]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One variant on the rows of one task.

    Attributes:
        task: Task whose rows were measured.
        source: Task it was trained on.
        kind: "classification", "regression" or "math".
        variant: Name of the variant; "... (mean)" for the mean of the numbers that a Generator could write.
        derived_from: The variant whose runs these are, where `variant` has none of its own ("... (mean)").
        metric: The primary metric: the task kind's first.
        greater_is_better: Direction of the primary metric.
        seeds: Seeds whose runs are in the figures.
        lacking: Seeds of the task whose runs failed, were refused or are missing.
        rows: Measured rows.
        metrics: Metric -> figure; the primary metric is the first.
        counts: Flag -> rows, in the order of `seeds` ("truncated", "parse_failure", "out_of_budget", "out_of_range",
            "trained_on"); "unread" counts values that are None.
        records: Names of the runs.
        calibration: Of label probabilities; None without them.
        residuals: Of numbers; None for labels.
    """

    task: str
    source: str
    kind: str
    variant: str
    derived_from: str | None
    metric: str
    greater_is_better: bool
    seeds: list[int]
    lacking: list[int]
    rows: int
    metrics: dict[str, MetricEstimate]
    counts: dict[str, list[int]]
    records: list[str]
    calibration: Calibration | None = None
    residuals: Residuals | None = None

    @property
    def primary(self) -> MetricEstimate:
        """Figure of the primary metric."""
        return self.metrics[self.metric]


@dataclass(frozen=True, slots=True)
class Difference:
    """Two variants on the same rows with the same seeds, in the primary metric.

    Attributes:
        task: Task whose rows were measured.
        first: Name of a variant.
        second: Name of another variant, or of a baseline (which has one run for all seeds, unless it trains).
        metric: The primary metric.
        greater_is_better: Its direction.
        family: The comparisons that share one correction: "headline", or the name of a baseline.
        seeds: Seeds that both have.
        rows: Rows that are compared.
        left_out: Rows left out because one of them has no readable number there.
        estimate: First minus second.
        p_rows: Would other rows give it, for these very models? Sign-flip test of row differences, mean over seeds.
        p_seeds: Would other rows and other seeds give it? min F' test (see `paired`); None with one seed.
        p: The greater of the two.
        p_corrected: `p` after Holm's correction over the family; the verdict follows from it, at 0.05.
        verdict: Which is better; "no difference shown" is a result, and the interval says how great it can still be.
        standardised: Difference in standard deviations of a row's score, positive where the first is better.
    """

    task: str
    first: str
    second: str
    metric: str
    greater_is_better: bool
    family: str
    seeds: list[int]
    rows: int
    left_out: int
    estimate: MetricEstimate
    p_rows: float
    p_seeds: float | None
    p: float
    p_corrected: float
    verdict: Verdict
    standardised: float | None


@dataclass(frozen=True, slots=True)
class Ordering:
    """Two variants across tasks.

    Attributes:
        first: Name of a variant.
        second: Name of another one.
        tasks: Tasks on which both were measured.
        first_better: Tasks with that verdict.
        second_better: Tasks with that verdict.
        no_difference: Tasks where no difference was shown.
        standardised: Mean over tasks of `Difference.standardised`.
        low: Lower end of its 95 % interval (Student's t, with the tasks as the sample); None for one task.
        high: Upper end.
    """

    first: str
    second: str
    tasks: list[str]
    first_better: int
    second_better: int
    no_difference: int
    standardised: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Cost:
    """What the runs of a variant on a task cost; means over its runs, None where they do not say.

    Attributes:
        source: Task it was trained on.
        variant: Name of the variant.
        runs: Runs that are in the means.
        train_s: Seconds of training, evaluations included.
        predict_s: Seconds of predicting the measured rows.
        predict_rows_per_s: Rows a second.
        peak_memory_bytes: Peak memory of the process.
        trainable_parameters: Trained numbers.
        optimizer_steps: Optimizer steps.
    """

    source: str
    variant: str
    runs: int
    train_s: float | None
    predict_s: float | None
    predict_rows_per_s: float | None
    peak_memory_bytes: float | None
    trainable_parameters: float | None
    optimizer_steps: float | None


@dataclass(frozen=True, slots=True)
class Tuning:
    """Trials of a variant on a task, by validation rows.

    Attributes:
        source: Task.
        variant: Name of the variant.
        trials: Trials made, those that failed included.
        failed: Trials that failed or were refused.
        choice: Settings that were chosen.
    """

    source: str
    variant: str
    trials: int
    failed: int
    choice: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A run that is in no figure.

    Attributes:
        record: Name of the run; for a missing one, what it would be.
        source: Task to train on.
        variant: Name of the variant.
        seed: Seed.
        status: "failed", "refused" or "missing".
        reason: What went wrong, as the record says it.
    """

    record: str
    source: str
    variant: str
    seed: int
    status: RunStatus
    reason: str


@dataclass(frozen=True, slots=True)
class VariantFacts:
    """What a variant is.

    Attributes:
        name: Name of the variant.
        method: Registry name of the method; None for a baseline.
        baseline: Name of the baseline; None for a method.
        derived_from: Variant whose runs it reads in another way.
        settings: Settings of its runs in which variants may differ; those that differ between its own runs (tuning,
            presets per task) are left out.
    """

    name: str
    method: str | None
    baseline: str | None
    derived_from: str | None
    settings: dict[str, Any]

    @property
    def is_seeded(self) -> bool:
        """Whether it runs with every seed: a method, or a baseline that trains."""
        return self.baseline is None or trains(self.baseline)


def trains(baseline: str) -> bool:
    """Whether a baseline depends on the seed, so that it runs with each; one that is not registered here runs once."""
    return baseline in registries.baselines and bool(registries.baselines.facts(baseline).get("trains", False))


@dataclass(frozen=True, slots=True)
class Findings:
    """What an experiment shows.

    Attributes:
        split: "test" or "validation": which rows all figures are about.
        study: Study of the paper that this is the analogue of ("table2"), or None.
        models: Base models.
        seeds: All seeds.
        tasks: Measured tasks, by kind.
        variants: Methods, derived ones and baselines, in the order of tables.
        headline: Variants that are compared with each other.
        entries: One per measured task and variant.
        differences: Pairs of headline variants, per task.
        baseline_differences: Every variant against every baseline, per task.
        ordering: Pairs of headline variants across tasks.
        not_learnable: Tasks where no variant is shown to beat the constant baseline.
        not_judged: Tasks without a measured constant baseline or without a variant, which cannot be judged so.
        costs: One per training task and variant.
        tuning: One per training task and variant with trials.
        shortfalls: Runs that are in no figure.
        notes: What a reader has to know, in sentences.
        bootstrap: "n_resamples", "seed", "confidence".
        proper_differences: Pairs of headline variants, per task, in the proper score of their distributions (`metrics.base.PROPER`):
            a family of their own. Runs of earlier versions did not measure it for numbers.
    """

    split: str
    study: str | None
    models: list[str]
    seeds: list[int]
    tasks: list[str]
    variants: list[VariantFacts]
    headline: list[str]
    entries: list[Entry]
    differences: list[Difference]
    baseline_differences: list[Difference]
    ordering: list[Ordering]
    not_learnable: list[str]
    not_judged: list[str]
    costs: list[Cost]
    tuning: list[Tuning]
    shortfalls: list[Shortfall]
    notes: list[str]
    bootstrap: dict[str, Any] = field(default_factory=dict)
    proper_differences: list[Difference] = field(default_factory=list)

    def entry(self, task: str, variant: str) -> Entry | None:
        """Return the entry of a variant on a task; None where there is none."""
        return next((e for e in self.entries if (e.task, e.variant) == (task, variant)), None)

    def is_at_floor(self, task: str, variant: str) -> bool:
        """Return whether a method was compared with the constant baseline and is not shown to beat it."""
        against = [d for d in self.baseline_differences if (d.task, d.first, d.family) == (task, variant, "constant")]
        return any(d.verdict != "first better" for d in against if d.second != variant)

    def is_among_losers(self, difference: Difference) -> bool:
        """Return whether neither of two methods is shown to beat the constant baseline, so that their order says little."""
        return all(self.is_at_floor(difference.task, name) for name in (difference.first, difference.second))

    @property
    def has_equal_tuning(self) -> bool:
        """Whether all tuned variants of a task had the same number of trials."""
        trials: dict[str, set[int]] = {}
        for tuned in self.tuning:
            trials.setdefault(tuned.source, set()).add(tuned.trials)
        return all(len(numbers) == 1 for numbers in trials.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), allow_nan=False))
        return found
