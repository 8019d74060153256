"""`predgen mi`."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from predgen.cli.errors import readable_errors
from predgen.errors import ConfigError


@readable_errors
def mi(
    runs: Annotated[list[Path], typer.Argument(help="Folders of trained models, of one task or several.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write to; the same call goes on where it was stopped.")],
    split: Annotated[Optional[str], typer.Option(help="Split of each run's task to measure on, e.g. test.")] = None,  # noqa: UP045
    data: Annotated[Optional[str], typer.Option(help="A file with the runs' columns instead.")] = None,  # noqa: UP045
    data_dir: Annotated[Optional[str], typer.Option(help="Folder of the tasks' files; default: each run's.")] = None,  # noqa: UP045
    estimators: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Estimators, comma separated (`predgen ls mi_estimators`); default: all."),
    ] = None,
    components: Annotated[int, typer.Option(min=1, help="Principal components of every representation.")] = 10,
    sweep: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Measure at these numbers of components, too, e.g. 1,2,4,8,16,32: draws figure7."),
    ] = None,
    seeds: Annotated[
        str,
        typer.Option(help="Seeds of estimators, shuffles and random weights, comma separated; each adds estimates."),
    ] = "0",
    answer_tokens: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="m_max: most written tokens whose states are read; default: the whole answer, 16 at most."),
    ] = None,
    processing: Annotated[
        bool,
        typer.Option("--processing", help="Measure what pooling and head leave of Z (data processing inequality)."),
    ] = False,
    heatmap: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Draw input tokens against answer tokens for these rows, by number from 1, e.g. 1,5,9."),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare/--no-compare", help="Whether to estimate anything besides the heatmaps.")
    ] = True,
    base: Annotated[Optional[str], typer.Option(help="Where the base model lies now, if it was moved.")] = None,  # noqa: UP045
) -> None:
    """Measure how much the representations of trained models know of the answer: mutual information, in nats.

    Writes `mi.md`, `mi.json` and `figure2`; with `--sweep` also `figure7`; with `--heatmap` a picture per run and row.

    `predgen mi RUN-1 RUN-2 RUN-3 --split test --data-dir DIR --out MI --sweep 1,2,4,8,16,32`

    `predgen mi RUN --data my.csv --out MI --estimators ksg,classifier --processing`

    `predgen mi RUN --split test --data-dir DIR --out MI --heatmap 1,5,9 --no-compare`
    """
    from rich.console import Console

    from predgen import registries
    from predgen.analysis.analyse import compare_runs, draw_heat_maps
    from predgen.analysis.rows import Source
    from predgen.analysis.runs import Settings
    from predgen.cli.progress import step_progress

    rows = _numbers("heatmap", heatmap)
    names = [part.strip() for part in (estimators or "").split(",") if part.strip()] or list(registries.mi_estimators)
    settings = Settings(
        tuple(registries.mi_estimators.canonical(name) for name in names),
        components,
        _numbers("sweep", sweep),
        _numbers("seeds", seeds),
        answer_tokens,
        processing,
    )
    if not compare and not rows:
        raise ConfigError("--no-compare leaves nothing to do without --heatmap; give row numbers, or leave it out.")
    source, console = Source(split, data, data_dir), Console(stderr=True)
    progress = step_progress(console)
    if rows:
        drawn = draw_heat_maps(runs, source, rows, out, base=base, progress=progress)
        console.print(f"{len(drawn)} heatmaps in {out}", highlight=False, soft_wrap=True)
    if compare:
        try:
            compare_runs(runs, source, settings, out, base=base, progress=progress)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("give the same command again to go on") from None
        typer.echo((out / "mi.md").read_text(encoding="utf-8"))


def _numbers(name: str, text: str | None) -> tuple[int, ...]:
    """Whole numbers from "1,2,4"."""
    try:
        return tuple(int(part) for part in (text or "").split(",") if part.strip())
    except ValueError:
        raise ConfigError(f"--{name} is {text!r}; give whole numbers separated by commas, e.g. 1,2,4.") from None
