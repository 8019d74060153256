"""Lines of plain text on standard output or standard error."""

import typer

from predgen.escaping import for_terminal


def say(text: str, *, err: bool = False, end: str = "\n") -> None:
    """Print text in which users' words may stand; what a reader would not see is written out.

    Args:
        text: One or more lines, or JSON, which stays the same data.
        err: Print on standard error.
        end: What follows the text.
    """
    typer.echo(for_terminal(text) + end, err=err, nl=False)
