"""`predgen mi`."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from predgen import registries
from predgen.cli.errors import readable_errors
from predgen.cli.options import TrustRemoteCode, with_options
from predgen.cli.say import say
from predgen.components import owned
from predgen.errors import ConfigError
from predgen.escaping import in_line

if TYPE_CHECKING:
    from predgen.analysis.rows import Source
    from predgen.analysis.runs import MiSettings
    from predgen.analysis.self_check import CheckRow


@dataclass(frozen=True, slots=True)
class _Loading:
    """How runs are loaded."""

    base: str | None
    trust_remote_code: bool


@with_options(lambda: owned([registries.mi_estimators]))
@readable_errors
def mi_command(
    runs: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Argument(help="Folders of trained models, of one task or several."),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", help="Folder to write to; the same call goes on where it was stopped."),
    ] = None,
    split: Annotated[Optional[str], typer.Option(help="Split of each run's task to measure on, e.g. test.")] = None,  # noqa: UP045
    data: Annotated[Optional[str], typer.Option(help="A file with the runs' columns instead.")] = None,  # noqa: UP045
    data_dir: Annotated[Optional[str], typer.Option(help="Folder of the tasks' files; default: each run's.")] = None,  # noqa: UP045
    target: Annotated[str | None, typer.Option(help="Column of --data with the answers; default: the runs'.")] = None,
    training_data: Annotated[
        str | None,
        typer.Option(help="File that holds the runs' training rows, where they came from memory or have moved."),
    ] = None,
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
    trust_remote_code: TrustRemoteCode = False,
    self_check: Annotated[
        bool,
        typer.Option(
            "--self-check",
            help="Run the estimators where the truth is known, instead of on runs; about ten minutes on two cores.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    *,
    given: dict[str, Any],
) -> None:
    """Measure how much the representations of trained models know of the answer: mutual information, in nats.

    Writes `mi.md`, `mi.json` and `figure2`; with `--sweep` also `figure7`; with `--heatmap` a picture per run and row.

    `predgen mi RUN-1 RUN-2 RUN-3 --split test --data-dir DIR --out MI --sweep 1,2,4,8,16,32`

    `predgen mi RUN --data my.csv --out MI --estimators ksg,classifier --processing`

    `predgen mi RUN --split test --data-dir DIR --out MI --heatmap 1,5,9 --no-compare`

    `predgen mi --self-check --json`
    """
    if self_check:
        if runs or out is not None:
            raise ConfigError(
                "--self-check measures no runs and writes no folder; leave out RUN and --out, or --self-check."
            )
        _check_estimators(as_json)
        return
    if not runs or out is None:
        raise ConfigError(
            "`predgen mi` needs to be told what to measure: give the folders of trained models and --out, or --self-check."
        )
    from predgen.analysis.rows import Source
    from predgen.analysis.runs import MiSettings

    names = [part.strip() for part in (estimators or "").split(",") if part.strip()] or list(registries.mi_estimators)
    settings = MiSettings(
        tuple(registries.mi_estimators.canonical(name) for name in names),
        components,
        _numbers("sweep", sweep),
        _numbers("seeds", seeds),
        answer_tokens,
        processing,
        given,
    )
    rows = _numbers("heatmap", heatmap)
    if not compare and not rows:
        raise ConfigError("--no-compare leaves nothing to do without --heatmap; give row numbers, or leave it out.")
    source = Source(split, data, data_dir, target, training_data)
    loading = _Loading(base, trust_remote_code)
    if rows:
        _draw(runs, source, rows, out, loading)
    if compare:
        _compare(runs, source, settings, out, loading, as_json=as_json)


def _draw(runs: list[Path], source: "Source", rows: tuple[int, ...], out: Path, loading: _Loading) -> None:
    """Draw heatmaps."""
    from predgen.analysis.analyse import draw_heat_maps
    from predgen.progress import step_progress
    from predgen.terminal import PlainConsole

    console = PlainConsole(stderr=True)
    drawn = draw_heat_maps(
        runs,
        source,
        rows,
        out,
        base=loading.base,
        trust_remote_code=loading.trust_remote_code,
        progress=step_progress(console),
    )
    console.print(f"{len(drawn)} heatmaps in {in_line(str(out))}", soft_wrap=True)


def _compare(
    runs: list[Path], source: "Source", settings: "MiSettings", out: Path, loading: _Loading, *, as_json: bool
) -> None:
    """Measure runs, and print what was written."""
    from predgen.analysis.analyse import compare_runs
    from predgen.progress import step_progress
    from predgen.terminal import PlainConsole

    try:
        compare_runs(
            runs,
            source,
            settings,
            out,
            base=loading.base,
            trust_remote_code=loading.trust_remote_code,
            progress=step_progress(PlainConsole(stderr=True)),
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("give the same command again to go on") from None
    say((out / ("mi.json" if as_json else "mi.md")).read_text(encoding="utf-8"), end="")


def _numbers(name: str, text: str | None) -> tuple[int, ...]:
    """Whole numbers from "1,2,4"."""
    try:
        return tuple(int(part) for part in (text or "").split(",") if part.strip())
    except ValueError:
        raise ConfigError(f"--{name} is {text!r}; give whole numbers separated by commas, e.g. 1,2,4.") from None


def _check_estimators(as_json: bool) -> None:
    """Run the estimators on channels of known mutual information."""
    from predgen.analysis.self_check import n_estimates
    from predgen.analysis.self_check import self_check as check
    from predgen.progress import row_progress
    from predgen.terminal import PlainConsole

    with row_progress(PlainConsole(stderr=True), "self-check", n_estimates(), unit="") as advance:
        rows = check(on_done=advance)
    if as_json:
        say(json.dumps([asdict(row) for row in rows], indent=1, allow_nan=False))
    else:
        _show(rows)


def _show(rows: "list[CheckRow]") -> None:
    """Print the check as a table."""
    from rich.table import Table

    from predgen.terminal import PlainConsole

    table = Table(title="nats, mean and standard deviation over 5 seeds", title_justify="left")
    for column in ("channel", "dim", "n", "estimator", "true", "estimate", "std", "error", "close"):
        table.add_column(column, justify="left" if column in ("channel", "estimator") else "right")
    for row in rows:
        figures = (row.true_nats, row.estimate_nats, row.std_nats, row.error_nats)
        close = "yes" if row.is_close else "no"
        cells = (f"{figure:.3f}" for figure in figures)
        table.add_row(row.channel, str(row.dim), str(row.n), row.estimator, *cells, close)
    console = PlainConsole()
    console.print(table)
    console.print("close: the error is within 5 % of the truth, or within 0.05 nats")
