"""`predgen mi`: everything that is measured on saved runs, written into one folder."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from predgen.analysis.comparison import cells_of, checks_of, differences, measure_information
from predgen.analysis.heatmaps import HeatMap, heat_map
from predgen.analysis.pictures import draw_comparison, draw_heat_map, draw_sweep
from predgen.analysis.representations import writes
from predgen.analysis.rows import Source, entropy
from predgen.analysis.runs import MiSettings, ShowProgress, read_runs, run_labels, silent, task_name
from predgen.analysis.store import Store, write_json
from predgen.analysis.tables import as_data, as_markdown
from predgen.errors import ConfigError
from predgen.inference.trained import load


def compare_runs(
    folders: Sequence[Path],
    source: Source,
    settings: MiSettings,
    out: Path,
    *,
    base: str | None = None,
    trust_remote_code: bool = False,
    progress: ShowProgress = silent,
) -> dict[str, Any]:
    """Measure I(Y; Z) of saved runs; write `mi.json`, `mi.md`, `figure2` and, with a sweep, `figure7` (PNG and SVG).

    A call that was stopped goes on where it was when it is given again; further estimators, components, seeds or runs add to
    what is there.

    Args:
        folders: Saved runs of one task or several.
        source: Rows to measure on.
        settings: What to measure.
        out: Folder to write to.
        base: Where the base model lies now, if it was moved.
        trust_remote_code: Let models run Python code of their base that they were trained with.
        progress: How to show it.

    Returns:
        What `mi.json` holds.

    Raises:
        ConfigError: If settings do not fit the runs, the runs do not fit each other, or the folder holds results of other
            settings.
        DataError: If rows cannot be used.
        ModelError: If states are not finite.
    """
    store = Store(out)
    runs = read_runs(
        folders, source, settings, store, base=base, trust_remote_code=trust_remote_code, progress=progress
    )
    found = measure_information(runs, settings, store, progress)
    cells = cells_of(runs, settings, found)
    contrasts = differences(cells)
    checks = checks_of(runs, settings, found) if settings.processing else []
    entropies = {run.task: entropy(run.outcomes) for run in runs if run.outcomes.ndim == 1}
    data = as_data(runs, settings, found, cells, contrasts, checks, entropies)
    page = as_markdown(runs, settings, cells, contrasts, checks, entropies)
    (out / "mi.md").write_text(page, encoding="utf-8")
    draw_comparison(cells, entropies, settings.components, out / "figure2")
    if settings.sweep:
        draw_sweep(cells, out / "figure7")
    write_json(out / "mi.json", data)
    return data


def draw_heat_maps(
    folders: Sequence[Path],
    source: Source,
    rows: Sequence[int],
    out: Path,
    *,
    base: str | None = None,
    trust_remote_code: bool = False,
    progress: ShowProgress = silent,
) -> list[Path]:
    """Draw heatmaps of some rows for every run that writes: `heatmap-RUN-ROW` as PNG, SVG and JSON.

    Args:
        folders: Saved runs; Predictors, which write nothing, are passed over.
        source: Where the rows are.
        rows: Their numbers, from 1.
        out: Folder to write to.
        base: Where the base model lies now, if it was moved.
        trust_remote_code: Let models run Python code of their base that they were trained with.
        progress: How to show it.

    Returns:
        The PNG files.

    Raises:
        ConfigError: If a row does not exist, or no run writes.
    """
    out.mkdir(parents=True, exist_ok=True)
    drawn = []
    for folder, label in zip(folders, run_labels(folders), strict=True):
        trained = load(folder, base=base, merge_adapter=True, trust_remote_code=trust_remote_code)
        if not writes(trained):
            continue
        examples = source.measured(trained)
        for row in rows:
            if not 1 <= row <= len(examples):
                raise ConfigError(f"`heatmap` asks for row {row}, but there are rows 1 to {len(examples)}.")
        with progress(f"heatmaps of {label}", len(rows)) as advance:
            for row in rows:
                found = heat_map(trained, examples[row - 1], row)
                path = out / f"heatmap-{label}-{row}"
                draw_heat_map(found, f"{task_name(trained)}, {trained.model.setup.method}", path)
                write_json(path.with_name(path.name + ".json"), _plain(found))
                drawn.append(path.with_name(path.name + ".png"))
                advance(1)
    if not drawn:
        raise ConfigError(
            "a heatmap shows input tokens against written answer tokens, but none of these runs writes; give a generator or"
            " predgen run."
        )
    return drawn


def _plain(found: HeatMap) -> dict[str, Any]:
    """A heatmap as plain data."""
    data = {**asdict(found), "noise": found.noise}
    for answer in data["answers"]:
        for kind in ("hidden", "occlusion", "shuffled"):
            values = answer[kind]
            answer[kind] = np.round(values, 6).tolist() if values is not None else None
    return data
