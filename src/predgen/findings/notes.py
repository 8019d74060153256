"""What a reader of the findings has to know, in sentences."""

from collections.abc import Iterator, Sequence

from predgen.findings.base import Difference, Entry, Tuning
from predgen.findings.runs import Runs

_FEW_SEEDS = {
    1: "one seed, so intervals and tests cover rows only and say nothing about other seeds.",
    2: "two seeds, which say little about how much seeds differ.",
}


def notes(
    runs: Runs, entries: Sequence[Entry], differences: Sequence[Difference], tuning: Sequence[Tuning]
) -> list[str]:
    """Say what limits the findings: rows, seeds, comparisons, unread rows, unequal tuning, missing runs."""
    return [*_scope(runs, differences), *_seeds(runs, entries), *_rows(entries), *_tuned(tuning), *_shortfalls(runs)]


def _scope(runs: Runs, differences: Sequence[Difference]) -> Iterator[str]:
    """Which rows, how many comparisons, which models are shared."""
    if runs.split == "validation":
        yield "All figures are on validation rows, which also selected checkpoints: they choose between settings, no more."
    if differences:
        yield f"p-values are corrected (Holm) for {len(differences)} comparisons."
    shared: dict[str, list[str]] = {}
    for task, source in runs.sources.items():
        shared.setdefault(source, []).append(task)
    for source, tasks in shared.items():
        if len(tasks) > 1:
            yield f"{', '.join(tasks)} measure the same models, trained on {source}: they do not confirm each other independently."


def _seeds(runs: Runs, entries: Sequence[Entry]) -> Iterator[str]:
    """Where intervals say nothing, or little, about other seeds."""
    for number, said in _FEW_SEEDS.items():
        sources = [source for source, seeds in runs.seeds_of.items() if len(seeds) == number]
        if sources:
            yield f"{', '.join(sources)}: {said}"
    for entry in entries:
        if entry.lacking:
            lacking = ", ".join(map(str, entry.lacking))
            yield f"{entry.task}, {entry.variant}: {len(entry.seeds)} of {len(entry.seeds) + len(entry.lacking)} seeds; seed {lacking} is lacking."


def _rows(entries: Sequence[Entry]) -> Iterator[str]:
    """Rows that count as wrong or are left out, and rows that were trained on."""
    for task in dict.fromkeys(entry.task for entry in entries):
        own = [entry for entry in entries if entry.task == task]
        effect = "are left out" if own[0].kind == "regression" else "count as wrong"
        told = {
            "unread": f"answers could not be read and {effect}",
            "trained_on": "measured rows are training rows, too",
        }
        for flag, what in told.items():
            numbers = {entry.variant: max(entry.counts.get(flag, [0])) for entry in own}
            if any(numbers.values()):
                by_variant = ", ".join(f"{variant} {number}" for variant, number in numbers.items() if number)
                yield f"{task}: of {own[0].rows} rows a run, up to so many {what}: {by_variant}."


def _tuned(tuning: Sequence[Tuning]) -> Iterator[str]:
    """Where tuning was not equal."""
    for source in dict.fromkeys(tuned.source for tuned in tuning):
        trials = {tuned.variant: tuned.trials for tuned in tuning if tuned.source == source}
        if len(set(trials.values())) > 1:
            told = ", ".join(f"{variant} {number}" for variant, number in trials.items())
            yield f"{source}: variants had unequal numbers of tuning trials ({told})."


def _shortfalls(runs: Runs) -> Iterator[str]:
    """How many runs are in no figure."""
    for status in ("failed", "refused", "missing"):
        number = sum(shortfall.status == status for shortfall in runs.shortfalls)
        if number:
            yield f"{number} {'run' if number == 1 else 'runs'} {status}."
