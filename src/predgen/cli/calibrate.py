"""`predgen calibrate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from predgen.cli.early import check_readable, check_saved
from predgen.cli.errors import readable_errors
from predgen.cli.options import TrustRemoteCode
from predgen.escaping import in_line

if TYPE_CHECKING:
    from predgen.terminal import PlainConsole


@readable_errors
def calibrate_command(
    run: Annotated[Path, typer.Argument(help="Folder of a trained model.")],
    data: Annotated[str, typer.Option(help="File with the run's columns: rows that neither trained it nor chose it.")],
    target: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Column of --data with the answers; default: the run's. Of a model with several targets, the one to calibrate;"
            " default: all."
        ),
    ] = None,
    by: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Column whose groups `predict --by` is to cover one by one."),
    ] = None,
    base: Annotated[Optional[str], typer.Option(help="Where the base model lies now, if it was moved.")] = None,  # noqa: UP045
    trust_remote_code: TrustRemoteCode = False,
    with_trained_rows: Annotated[
        bool, typer.Option("--with-trained-rows", help="Calibrate on rows that the run was trained on, too.")
    ] = False,
) -> None:
    """Calibrate a trained model anew: its temperature, and what sets, intervals and abstention are made from.

    `predgen calibrate RUN --data more.csv`

    `predgen calibrate RUN --data more.csv --by language`
    """
    check_saved(run)
    check_readable(data)
    from predgen.evaluation import calibrate_folder
    from predgen.progress import row_progress
    from predgen.saved.manifest import has_targets
    from predgen.target_evaluation import calibrate_targets_folder
    from predgen.terminal import PlainConsole
    from predgen.threads import use_available_threads

    use_available_threads()
    console = PlainConsole(stderr=True)
    how: dict[str, Any] = {
        "by": by,
        "base": base,
        "trust_remote_code": trust_remote_code,
        "with_trained_rows": with_trained_rows,
    }
    with row_progress(console, "calibrate", None) as advance:
        if has_targets(run):
            of_targets = () if target is None else (target,)
            told = calibrate_targets_folder(run, data, targets=of_targets, on_batch=advance, **how)
        else:
            told = {"": calibrate_folder(run, data, target=target, on_batch=advance, **how)}
    for name, found in told.items():
        _show(console, in_line(f"{run}, target {name}" if name else str(run)), found)


def _show(console: "PlainConsole", what: str, found: dict[str, Any]) -> None:
    """Say what a calibration did."""
    from predgen.figures import number

    console.print(f"Calibrated {what} on {found['rows']} rows, temperature {number(found['temperature'], 4)}.")
    for name, before in found["before"].items():
        if isinstance(before, float) and found["after"].get(name) is not None:
            console.print(f"  {name} {number(before, 4)} -> {number(found['after'][name], 4)}")
