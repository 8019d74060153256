"""Findings as tables of text, for terminals (rich) and documents (markdown)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table as RichTable

from predgen.escaping import for_markdown, markdown_row
from predgen.figures import number, p_value
from predgen.findings.base import Difference, Entry, Findings, MetricEstimate, VariantFacts
from predgen.metrics.base import PRIMARY

MINUS = " minus "
BY_PROPER_SCORES = "Differences of whole distributions, by log loss (labels) and CRPS (numbers)"
ABSENT = "-"
_BYTES_PER_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text.

    Attributes:
        title: What it shows.
        columns: Names of the columns; the first one names the rows.
        rows: One text per column.
        notes: Sentences that belong below it.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: tuple[str, ...] = ()

    def is_number(self, column: int) -> bool:
        """Whether a column holds numbers, which stand to the right; what is absent or failed may be among them."""
        cells = [row[column] for row in self.rows]
        return column > 0 and any(cell[:1].isdigit() or cell[1:2].isdigit() for cell in cells)

    def markdown(self) -> str:
        """Return it as a markdown table with its title and notes."""
        rule = ["---:" if self.is_number(place) else "---" for place in range(len(self.columns))]
        lines = [markdown_row(self.columns), f"| {' | '.join(rule)} |", *map(markdown_row, self.rows)]
        notes = (f"\n{for_markdown(note)}" for note in self.notes)
        return "\n".join([f"**{for_markdown(self.title)}**", "", *lines, *notes]) + "\n"

    def rich(self) -> RichTable:
        """Return it for `terminal.PlainConsole.print`."""
        caption = "\n".join(self.notes) or None
        table = RichTable(title=self.title, title_justify="left", caption=caption, caption_justify="left")
        for place, column in enumerate(self.columns):
            table.add_column(column, justify="right" if self.is_number(place) else "left")
        for row in self.rows:
            table.add_row(*row)
        return table


def tables(found: Findings) -> list[Table]:
    """Return all tables of an experiment that have rows, its study's apart (see `study_tables`)."""
    made = [
        *headline_tables(found),
        differences_table(found, found.differences, "Differences"),
        differences_table(found, found.proper_differences, BY_PROPER_SCORES),
        ordering_table(found),
        differences_table(found, found.baseline_differences, "Differences to the baselines"),
        costs_table(found),
        tuning_table(found),
        shortfalls_table(found),
    ]
    return [table for table in made if table.rows]


def with_interval(figure: MetricEstimate, *, signed: bool = False) -> str:
    """Write a figure with its interval; "not defined" where there is none.

    Example:
        >>> with_interval(MetricEstimate(0.5, 0.4, 0.61, [0.5], "rows only"), signed=True)
        '+0.500 [+0.400, +0.610]'
    """
    if figure.value is None:
        return "not defined"
    written = [
        f"{'+' if signed and value is not None and value > 0 else ''}{number(value)}"
        for value in (figure.value, figure.low, figure.high)
    ]
    return written[0] if figure.low is None else f"{written[0]} [{written[1]}, {written[2]}]"


def headline_tables(found: Findings) -> list[Table]:
    """Return tasks x variants in the primary metric, a table per kind of task."""
    made = []
    for kind, metric in PRIMARY.items():
        own = [entry for entry in found.entries if entry.kind == kind]
        tasks = [task for task in found.tasks if any(entry.task == task for entry in own)]
        variants = [
            v for v in found.variants if any(entry.variant == v.name for entry in own) or _fell_short(found, tasks, v)
        ]
        if tasks:
            direction = "higher" if own[0].greater_is_better else "lower"
            told = f"Mean over seeds [95 % interval over rows and seeds]; {direction} is better. Baselines that do not train have one run: rows only."
            rows = [[task, *(cell(found, task, variant) for variant in variants)] for task in tasks]
            not_learnable = [task for task in tasks if task in found.not_learnable]
            extra = f"Not learnable at this size (no method is shown to beat the constant baseline): {', '.join(not_learnable)}."
            notes = (told, extra) if not_learnable else (told,)
            title = f"{metric}, {found.split} rows"
            made.append(Table(title, ["task", *(v.name for v in variants)], rows, notes))
    return made


def _fell_short(found: Findings, tasks: Sequence[str], variant: VariantFacts) -> bool:
    """Whether a variant has runs on one of the tasks that are in no figure."""
    sources = {entry.source for entry in found.entries if entry.task in tasks}
    return any(s.variant == variant.name and s.source in sources for s in found.shortfalls)


def cell(found: Findings, task: str, variant: VariantFacts, metrics: Sequence[str] = ()) -> str:
    """Write what a variant reached on a task, with what is lacking.

    Args:
        found: The findings.
        task: Measured task.
        variant: The variant.
        metrics: Metrics to write one after the other; none: the primary one.

    Returns:
        For instance "0.857 [0.801, 0.912] (2 of 3 seeds)", or "failed" where no run is in a figure.
    """
    entry = found.entry(task, variant.name)
    if entry is None:
        sources = {e.source for e in found.entries if e.task == task}
        reasons = [s.status for s in found.shortfalls if s.variant == variant.name and s.source in sources]
        return ", ".join(dict.fromkeys(reasons)) or ABSENT
    figures = [entry.metrics[name] for name in metrics if name in entry.metrics] or [entry.primary]
    return " / ".join(map(with_interval, figures)) + _seeds(entry, variant)


def _seeds(entry: Entry, variant: VariantFacts) -> str:
    """How many seeds are in a figure, where that is not what a reader expects."""
    if entry.lacking:
        return f" ({len(entry.seeds)} of {len(entry.seeds) + len(entry.lacking)} seeds)"
    return " (1 seed)" if len(entry.seeds) == 1 and variant.is_seeded else ""


def differences_table(found: Findings, differences: Sequence[Difference], title: str) -> Table:
    """Return comparisons with interval, p-values and verdict."""
    rows = [
        [
            d.task,
            f"{d.first}{MINUS}{d.second}",
            d.metric,
            with_interval(d.estimate, signed=True),
            p_value(d.p),
            p_value(d.p_corrected),
            verdict(d) + ("; neither is above constant" if _says_little(found, d) else ""),
        ]
        for d in differences
    ]
    families: dict[str, int] = {}
    for difference in differences:
        families[difference.family] = families.get(difference.family, 0) + 1
    told = ", ".join(f"{count} ({family})" for family, count in families.items())
    notes = (
        "p: other rows and other seeds (the greater of a sign-flip test and min F'; rows only with one seed).",
        f"Corrected by Holm's method over the comparisons of a family: {told}. The interval is that of one comparison.",
        "'No difference shown' does not mean equal: the interval says how great a difference can still be.",
    )
    columns = ["task", "comparison", "metric", "difference [95 % interval]", "p", "p corrected", "shown"]
    return Table(title, columns, rows, notes)


def _says_little(found: Findings, difference: Difference) -> bool:
    """Whether a difference is shown between methods of which neither beats the constant baseline."""
    return difference.verdict != "no difference shown" and found.is_among_losers(difference)


def verdict(difference: Difference) -> str:
    """Name the better variant."""
    better = {"first better": difference.first, "second better": difference.second}
    return f"{better[difference.verdict]} better" if difference.verdict in better else difference.verdict


def ordering_table(found: Findings) -> Table:
    """Return pairs of variants across tasks."""
    rows = [
        [
            f"{o.first}{MINUS}{o.second}",
            str(len(o.tasks)),
            str(o.first_better),
            str(o.second_better),
            str(o.no_difference),
            with_interval(MetricEstimate(o.standardised, o.low, o.high, [], "nothing"), signed=True),
        ]
        for o in found.ordering
        if o.tasks
    ]
    columns = [
        "comparison",
        "tasks",
        "first better",
        "second better",
        "no difference shown",
        "mean standardised difference",
    ]
    notes = (
        "Standardised: in standard deviations of a row's score, positive where the first is better; mean over tasks [95 %"
        " interval, Student's t with the tasks as the sample].",
    )
    return Table("Across tasks", columns, rows, notes)


def costs_table(found: Findings) -> Table:
    """Return what runs cost."""
    rows = [
        [
            cost.source,
            cost.variant,
            str(cost.runs),
            number(cost.train_s, absent=ABSENT),
            number(cost.predict_rows_per_s, absent=ABSENT),
            number(None if cost.peak_memory_bytes is None else cost.peak_memory_bytes / _BYTES_PER_MB, absent=ABSENT),
            ABSENT if cost.trainable_parameters is None else f"{cost.trainable_parameters:,.0f}",
            number(cost.optimizer_steps, absent=ABSENT),
        ]
        for cost in found.costs
    ]
    columns = ["trained on", "variant", "runs", "training s", "rows/s", "peak MB", "trained numbers", "steps"]
    return Table("Cost, mean over runs", columns, rows, ("Training time includes evaluations on validation rows.",))


def tuning_table(found: Findings) -> Table:
    """Return how often each variant was tuned, and what was chosen."""
    rows = [
        [
            tuned.source,
            tuned.variant,
            str(tuned.trials),
            str(tuned.failed),
            ", ".join(f"{name}={value}" for name, value in tuned.choice.items()) or ABSENT,
        ]
        for tuned in found.tuning
    ]
    equal = (
        "Every variant of a task had the same number of trials." if found.has_equal_tuning else "Trials are not equal."
    )
    return Table("Tuning on validation rows", ["task", "variant", "trials", "failed", "chosen"], rows, (equal,))


def shortfalls_table(found: Findings) -> Table:
    """Return runs that are in no figure."""
    rows = [[s.record, s.source, s.variant, str(s.seed), s.status, s.reason] for s in found.shortfalls]
    return Table("Runs that are in no figure", ["run", "task", "variant", "seed", "status", "reason"], rows)


def markdown(made: Sequence[Table], notes: Mapping[str, Sequence[str]] | None = None) -> str:
    """Return tables one below the other, then lists of notes by heading."""
    parts: list[str] = [table.markdown() for table in made]
    for heading, sentences in (notes or {}).items():
        parts.append(
            "\n".join([f"**{for_markdown(heading)}**", "", *(f"- {for_markdown(sentence)}" for sentence in sentences)])
            + "\n"
        )
    return "\n".join(parts)
