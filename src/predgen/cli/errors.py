"""Errors on the command line: one readable message, no traceback."""

import functools
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import typer

from predgen.cli.say import say
from predgen.errors import PredgenError, RenamedWarning, UnverifiedWarning

P = ParamSpec("P")
_R = TypeVar("_R")

INTERRUPTED = 130  # what shells report after Ctrl-C


def readable_errors(command: Callable[P, _R]) -> Callable[P, _R]:
    """Turn errors that a user can repair into `error: ...` and exit status 2, and Ctrl-C and SIGTERM into 130."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> _R:
        try:
            with warnings.catch_warnings(), _ended_by_sigterm():
                warnings.showwarning = functools.partial(_show_warning, warnings.showwarning)
                return command(*args, **kwargs)
        except PredgenError as error:
            message = str(error)
        except BrokenPipeError:
            raise  # the reader of a pipe has seen enough; typer ends quietly
        except OSError as error:
            name = f" {error.filename!r}" if error.filename else ""
            message = f"cannot read or write{name}: {error.strerror or error}."
        except KeyboardInterrupt as interrupt:
            say(f"interrupted: {str(interrupt) or 'stopped at once; finished parts are kept'}.", err=True)
            raise typer.Exit(INTERRUPTED) from None
        say("error: " + message.replace("\n", "\n  "), err=True)  # a further line is seen to belong to the first
        raise typer.Exit(2)

    return run


def _show_warning(others: Callable[..., None], message: Warning | str, category: type[Warning], *place: Any) -> None:  # noqa: ANN401
    """Say on one line, without a place in the code, what the user should know of a saved model, or of settings that have other names now."""
    if issubclass(category, UnverifiedWarning | RenamedWarning):
        say(f"warning: {message}", err=True)
    else:
        others(message, category, *place)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Have SIGTERM, with which schedulers and `kill` end a command, do what Ctrl-C does: finished parts are kept.

    It is also the one way to end a command that a shell runs in the background, where Ctrl-C is ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals do not arrive here
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
