"""The analysis in words and figures: `mi.md` for readers, the same as plain data for `mi.json`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from predgen import __version__
from predgen.analysis.comparison import InformationDifference, MeanInformation, ordered_methods
from predgen.analysis.processing import OF_Z, Check
from predgen.analysis.runs import RANDOM, SHUFFLED, TRAINED, MiSettings, RunStates
from predgen.escaping import for_markdown, markdown_row

_INTERVALS = (
    "95 % intervals: chance among the rows, as each estimator states it, and the spread over runs and seeds where there are"
    " several. They do not hold an estimator's bias, which is the same for all methods only where their Z have like shapes:"
    " compare within one estimator and one k, and see the tables of bias in docs/mutual_information.md."
)
_DIFFERENCES = (
    "The intervals of differences take the two errors as independent; on the same rows they rise and fall together in part,"
    " so that the intervals are, if anything, too wide. A method keeps more than another only where it is above its own controls"
    " too. At 95 %, one comparison in twenty errs by chance alone."
)
_PROCESSING = (
    "g is applied to what Z's components stand for (of Z: the inequality holds for the true values, so an estimate that breaks"
    " it is the estimator's failure), or to all states with components of its own (own PCA: no inequality holds, because PCA"
    " has dropped from Z what it kept of g)."
)


def as_data(
    runs: Sequence[RunStates],
    settings: MiSettings,
    found: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]],
    cells: Sequence[MeanInformation],
    contrasts: Sequence[InformationDifference],
    checks: Sequence[Check],
    entropies: Mapping[str, float],
) -> dict[str, Any]:
    """Return everything as plain data."""
    return {
        "predgen_version": __version__,
        "settings": asdict(settings),
        "runs": [run.facts for run in runs],
        "entropy_nats": dict(entropies),
        "cells": [asdict(cell) for cell in cells],
        "differences": [{**asdict(d), "verdict": d.verdict} for d in contrasts],
        "processing": [{**asdict(check), "is_broken": check.is_broken} for check in checks],
        "estimates": [
            {"run": run, "estimator": estimator, **record}
            for (run, estimator), records in found.items()
            for record in records
        ],
    }


def as_markdown(
    runs: Sequence[RunStates],
    settings: MiSettings,
    cells: Sequence[MeanInformation],
    contrasts: Sequence[InformationDifference],
    checks: Sequence[Check],
    entropies: Mapping[str, float],
) -> str:
    """Return the tables as a page."""
    k = settings.components
    parts = [
        "# Mutual information of answer and representation",
        "I(Y; Z) in nats on rows that no run was trained on. Z: the pooled prompt state (predictor), or the flattened states of"
        f" the first written tokens (generator, predgen), reduced by PCA fitted on training rows. {_INTERVALS}",
        _runs_table(runs),
        f"## {k} components",
        *(
            f"H(Y) of {for_markdown(task)}: {value:.3f} nats; I(Y; Z) cannot exceed it."
            for task, value in entropies.items()
        ),
        _cells_table([cell for cell in cells if cell.components == k]),
        f"## Differences at {k} components",
        _DIFFERENCES,
        _differences_table([d for d in contrasts if d.components == k]),
    ]
    if settings.sweep:
        parts += ["## Over the number of components", _sweep_table(cells, settings)]
    if checks:
        parts += [f"## What functions of Z leave, {k} components", _PROCESSING, _checks_table(checks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(map(markdown_row, [header, ["---"] * len(header), *rows]))


def _with_error(nats: float, error: float | None) -> str:
    """An estimate with the ends of its interval."""
    return f"{nats:.3f}" if error is None else f"{nats:.3f} [{nats - error:.3f}, {nats + error:.3f}]"


def _runs_table(runs: Sequence[RunStates]) -> str:
    """What was measured."""
    header = ("run", "task", "method", "base", "training rows", "rows for PCA", "rows measured", "Z")
    rows = []
    for run in runs:
        facts = run.facts
        z = f"{facts['answer_tokens']} written tokens" if facts["answer_tokens"] else f"pooling {facts['pooling']}"
        counts = (facts["training_rows"], facts["fit_rows"], facts["rows"])
        rows.append((run.label, run.task, run.method, facts["base"], *map(str, counts), z))
    notes = [
        f"The runs of task {for_markdown(task)} were **not** trained on the same rows: a difference between them may come from the rows."
        for task in dict.fromkeys(run.task for run in runs)
        if len({run.facts["trained_on"] for run in runs if run.task == task}) > 1
    ]
    return "\n\n".join([_table(header, rows), *notes])


def _cells_table(cells: Sequence[MeanInformation]) -> str:
    """Methods beside their controls."""
    at = {(c.task, c.estimator, c.method, c.what): c for c in cells}
    rows = []
    for task, estimator in dict.fromkeys((c.task, c.estimator) for c in cells):
        for method in ordered_methods(cell.method for cell in cells):
            if (task, estimator, method, TRAINED) in at:
                three = [at[task, estimator, method, what] for what in (TRAINED, RANDOM, SHUFFLED)]
                above = [cell.what for cell in three[1:] if three[0].is_above(cell)]
                shown = [_with_error(cell.nats, cell.error) for cell in three]
                rows.append((task, estimator, method, str(three[0].rows), *shown, " and ".join(above) or "neither"))
    return _table(("task", "estimator", "method", "rows", "I(Y; Z)", RANDOM, SHUFFLED, "above"), rows)


def _differences_table(contrasts: Sequence[InformationDifference]) -> str:
    """Pairs of methods."""
    rows = [
        (d.task, d.estimator, f"{d.first} - {d.second}", _with_error(d.nats, d.error), d.verdict) for d in contrasts
    ]
    return _table(("task", "estimator", "difference", "nats", "verdict"), rows) if rows else "One method only."


def _sweep_table(cells: Sequence[MeanInformation], settings: MiSettings) -> str:
    """I(Y; Z) by k, and the controls."""
    ks = settings.all_components
    rows = []
    for key in dict.fromkeys((c.task, c.estimator, c.method, c.what) for c in cells):
        by_k = {c.components: c.nats for c in cells if (c.task, c.estimator, c.method, c.what) == key}
        rows.append((*key, *(f"{by_k[k]:.3f}" for k in ks)))
    return _table(("task", "estimator", "method", "what", *(f"k = {k}" for k in ks)), rows)


def _checks_table(checks: Sequence[Check]) -> str:
    """I(Y; g(Z)) beside I(Y; Z)."""
    rows = []
    for c in checks:
        difference = _with_error(c.part - c.whole, c.error)
        if not c.is_broken:
            verdict = "holds within error" if c.kind == OF_Z else "not more than Z"
        else:
            verdict = "broken by the estimator" if c.kind == OF_Z else "more than Z: PCA dropped it there"
        rows.append((c.run, c.estimator, f"{c.g} {c.kind}", f"{c.whole:.3f}", f"{c.part:.3f}", difference, verdict))
    header = ("run", "estimator", "g", "I(Y; Z)", "I(Y; g(Z))", "I(Y; g(Z)) - I(Y; Z)", "verdict")
    return _table(header, rows)
