"""`predgen mi`."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from predgen.cli.errors import readable_errors
from predgen.errors import ConfigError

if TYPE_CHECKING:
    from predgen.analysis.self_check import CheckRow


@readable_errors
def mi(
    self_check: Annotated[
        bool, typer.Option("--self-check", help="Run the estimators where the truth is known; a few minutes.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure mutual information, in nats.

    `predgen mi --self-check --json`
    """
    if not self_check:
        raise ConfigError("`predgen mi` needs to be told what to measure; give --self-check.")
    _check_estimators(as_json)


def _check_estimators(as_json: bool) -> None:
    """Run the estimators on channels of known mutual information."""
    from rich.console import Console

    from predgen.analysis.self_check import n_estimates
    from predgen.analysis.self_check import self_check as check
    from predgen.cli.progress import row_progress

    with row_progress(Console(stderr=True), "self-check", n_estimates()) as advance:
        rows = check(on_done=advance)
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=1, allow_nan=False))
    else:
        _show(rows)


def _show(rows: "list[CheckRow]") -> None:
    """Print the check as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="nats, mean and standard deviation over 5 seeds", title_justify="left")
    for column in ("channel", "dim", "n", "estimator", "true", "estimate", "std", "error", "close"):
        table.add_column(column, justify="left" if column in ("channel", "estimator") else "right")
    for row in rows:
        figures = (row.true_nats, row.estimate_nats, row.std_nats, row.error_nats)
        close = "yes" if row.is_close else "no"
        cells = (f"{figure:.3f}" for figure in figures)
        table.add_row(row.channel, str(row.dim), str(row.n), row.estimator, *cells, close)
    console = Console()
    console.print(table)
    console.print("close: the error is within 5 % of the truth, or within 0.05 nats", highlight=False)
