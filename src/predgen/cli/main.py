"""The command `predgen`. Torch is imported by the commands that need it, not by `--help`."""

from typing import Annotated

import typer

from predgen import __version__
from predgen.cli.demo import demo
from predgen.cli.evaluate import evaluate
from predgen.cli.ls import ls
from predgen.cli.mi import mi
from predgen.cli.predict import predict
from predgen.cli.train import train
from predgen.cli.validate import validate

app = typer.Typer(
    name="predgen",
    help="Fine-tune causal language models to predict labels, numbers and math answers by writing them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _version(show: bool) -> bool:
    """Print the version and stop."""
    if show:
        typer.echo(f"predgen {__version__}")
        raise typer.Exit
    return show


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Fine-tune causal language models to predict labels, numbers and math answers by writing them."""


for command in (train, evaluate, predict, validate, mi, ls, demo):
    app.command()(command)
