"""`predgen demo`."""

from pathlib import Path
from typing import Annotated

import typer

from predgen.cli.errors import readable_errors


@readable_errors
def demo_command(
    out: Annotated[Path, typer.Option("--out", help="Folder for data, models, table and picture.")] = Path("demo-runs"),
) -> None:
    """Get a real base model, train it on two targets of generated opinions, and compare it with TF-IDF.

    `predgen demo --out demo-runs`
    """
    from predgen.demo.run import run_demo
    from predgen.terminal import PlainConsole

    run_demo(out, PlainConsole())
