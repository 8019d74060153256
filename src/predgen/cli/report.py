"""`predgen report`."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from predgen.cli.errors import readable_errors
from predgen.cli.say import say
from predgen.errors import ConfigError
from predgen.escaping import in_line


@readable_errors
def report_command(
    experiment: Annotated[Path, typer.Argument(help="Folder of an experiment: the `out` of `predgen compare`.")],
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("-o", "--output", help="HTML file to write.", show_default="EXPERIMENT/report.html"),
    ] = None,
    tables: Annotated[
        bool, typer.Option("--tables", help="Print the tables as Markdown instead, for notes and documents.")
    ] = False,
    report_to: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Hand the page to a tracker, too, as an artefact of a run of its own: mlflow or wandb."),
    ] = None,
) -> None:
    """Write one HTML page about an experiment: figures, drawings, errors, cost, and where it all comes from.

    `predgen report EXP -o report.html`

    `predgen report EXP --tables`
    """
    if tables and (output is not None or report_to is not None):
        raise ConfigError("--tables prints Markdown, --output and --report-to need a page: give one of them.")
    if tables:
        from predgen.findings.make import findings
        from predgen.findings.study_tables import study_tables
        from predgen.findings.tables import markdown
        from predgen.findings.tables import tables as tables_of

        found = findings(experiment)
        say(markdown([*tables_of(found), *study_tables(found)]))
        return
    from predgen.report.page import write_report
    from predgen.report.sharing import check_tracker, share_page

    if report_to is not None:
        check_tracker(report_to)
    page = write_report(experiment, output)
    say(f"Page: {in_line(str(page))}")
    if report_to is not None:
        share_page(page, report_to, experiment.resolve().name)
