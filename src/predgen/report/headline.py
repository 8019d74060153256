"""The headline table: every variant on every task, in the task's primary metric."""

from dataclasses import dataclass

from predgen import registries
from predgen.findings.base import Entry, Findings
from predgen.report.words import decimals_for

_MANY_COLUMNS = 8


@dataclass(frozen=True, slots=True)
class TaskHead:
    """A task in a table.

    Attributes:
        name: Name of the task.
        metric: Its primary metric.
        direction: "higher is better" or "lower is better".
        rows: Measured rows.
        decimals: Digits after the point for its figures.
        is_learnable: False where no variant is shown to beat the constant baseline.
    """

    name: str
    metric: str
    direction: str
    rows: int
    decimals: int
    is_learnable: bool


@dataclass(frozen=True, slots=True)
class HeadlineCell:
    """A variant on a task.

    Attributes:
        head: The task.
        variant: Name of the variant.
        entry: Its figures; None where it was not measured.
        is_best: Whether it is shown to be better than every other compared variant, and is not at the floor.
        is_at_floor: Whether a method is not shown to beat the constant baseline.
        why_empty: Why there are no figures; "" where there are.
    """

    head: TaskHead
    variant: str
    entry: Entry | None
    is_best: bool
    is_at_floor: bool
    why_empty: str


@dataclass(frozen=True, slots=True)
class Grid:
    """The table.

    Attributes:
        heads: Tasks.
        variants: Names of variants.
        lines: Cells of each task, in the order of `variants`.
        by_variant: Whether variants are lines and tasks columns, because there are many variants.
    """

    heads: list[TaskHead]
    variants: list[str]
    lines: list[list[HeadlineCell]]
    by_variant: bool


def headline_grid(found: Findings) -> Grid:
    """Bring all primary figures together."""
    names = [variant.name for variant in found.variants]
    heads = [head for head in (_head(found, task) for task in found.tasks) if head is not None]
    lines = [[_cell(found, head, name) for name in names] for head in heads]
    return Grid(heads, names, lines, len(names) > max(_MANY_COLUMNS, len(heads)))


def summary_of(metric: str) -> str:
    """What a metric is, in the registry's words; "" for one that is not registered here."""
    return registries.metrics.summary(metric) if metric in registries.metrics else ""


def _head(found: Findings, task: str) -> TaskHead | None:
    """A task that has figures."""
    entries = [entry for entry in found.entries if entry.task == task]
    if not entries:
        return None
    direction = "higher is better" if entries[0].greater_is_better else "lower is better"
    decimals = decimals_for(entry.primary for entry in entries)
    is_learnable = task not in found.not_learnable
    return TaskHead(task, entries[0].metric, direction, max(e.rows for e in entries), decimals, is_learnable)


def _cell(found: Findings, head: TaskHead, variant: str) -> HeadlineCell:
    """A variant on a task, with the marks that verdicts allow."""
    entry = found.entry(head.name, variant)
    is_at_floor = found.is_at_floor(head.name, variant)
    is_best = entry is not None and not is_at_floor and _is_best(found, head.name, variant)
    return HeadlineCell(
        head, variant, entry, is_best, is_at_floor, "" if entry else _why_empty(found, head.name, variant)
    )


def _is_best(found: Findings, task: str, variant: str) -> bool:
    """Whether a headline variant is shown to be better than all others that were measured on the task."""
    rivals = [name for name in found.headline if name != variant and found.entry(task, name) is not None]
    beaten = {
        d.second if d.verdict == "first better" else d.first
        for d in found.differences
        if d.task == task and variant == {"first better": d.first, "second better": d.second}.get(d.verdict)
    }
    return variant in found.headline and bool(rivals) and beaten.issuperset(rivals)


def _why_empty(found: Findings, task: str, variant: str) -> str:
    """How the runs of an empty cell ended."""
    origin = next((v.derived_from for v in found.variants if v.name == variant), None)
    if origin is not None:  # without numbers to take the mean of: labels, or written freely
        return "no numbers" if found.entry(task, origin) else _why_empty(found, task, origin)
    sources = {entry.source for entry in found.entries if entry.task == task}
    ends = [s.status for s in found.shortfalls if s.variant == variant and s.source in sources]
    return " and ".join(dict.fromkeys(ends)) or "not asked for"
