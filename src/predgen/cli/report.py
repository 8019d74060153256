"""`predgen report`."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from predgen.cli.errors import readable_errors


@readable_errors
def report(
    experiment: Annotated[Path, typer.Argument(help="Folder of an experiment: the `out` of `predgen compare`.")],
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("-o", "--output", help="HTML file to write.", show_default="EXPERIMENT/report.html"),
    ] = None,
) -> None:
    """Write one HTML page about an experiment: figures, drawings, errors, cost, and where it all comes from.

    `predgen report EXP -o report.html`
    """
    from predgen.report.page import write_report

    typer.echo(f"Page: {write_report(experiment, output)}")
