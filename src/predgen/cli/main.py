"""The command `predgen`. Torch is imported by the commands that need it, not by `--help`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from predgen import __version__, registries
from predgen.cli.calibrate import calibrate_command
from predgen.cli.compare import compare_command
from predgen.cli.demo import demo_command
from predgen.cli.estimate import estimate_command
from predgen.cli.evaluate import evaluate_command
from predgen.cli.explain import explain_command
from predgen.cli.export import export_command
from predgen.cli.ls import ls_command
from predgen.cli.mi import mi_command
from predgen.cli.models import models_app
from predgen.cli.options import LATER, import_named, later_settings, with_imports
from predgen.cli.predict import predict_command
from predgen.cli.report import report_command
from predgen.cli.say import say
from predgen.cli.serve import serve_command
from predgen.cli.train import train_command
from predgen.cli.validate import validate_command
from predgen.escaping import in_line
from predgen.lookup import load_entry_points
from predgen.near_names import close_names

_USAGE_ERROR: Any = typer.BadParameter.__base__  # click's UsageError, which typer bundles without naming it


class Commands(TyperGroup):
    """The commands; what was typed, or a shell put in its place (`*.csv`), is shown in one line in errors of usage."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        with _usage_in_line():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        with _usage_in_line():
            return super().invoke(ctx)


@contextmanager
def _usage_in_line() -> Iterator[None]:
    """Write out what a reader would not see of an error that typer prints."""
    try:
        yield
    except Exception as error:  # raised again: typer's copy of click has no public name for its errors
        if isinstance(error, _USAGE_ERROR) and error.message:
            error.message = in_line(error.message)
        raise


app = typer.Typer(
    cls=Commands,
    name="predgen",
    help="Fine-tune causal language models to predict labels, numbers and math answers by writing them.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


class Command(TyperCommand):
    """A command with the settings of users' own components, which answers an option that it has not with those meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401  (typer's own copy of click's context)
        """Read what was typed, after the modules that it says to import."""
        import_named(args)
        made_with, later = self.params, self._later_settings(args)
        self.params = [*made_with, *later]
        try:
            rest = super().parse_args(ctx, args)
            LATER.set({option.name: ctx.params.pop(option.name) for option in later})
            return rest
        except Exception as error:  # raised again
            if hasattr(error, "option_name") and hasattr(
                error, "possibilities"
            ):  # click's NoSuchOption, wherever it lives
                flags = [flag for parameter in self.params for flag in parameter.opts if flag.startswith("--")]
                names = {flag.removeprefix("--").replace("-", "_"): flag for flag in flags}
                error.possibilities = [names[name] for name in close_names(error.option_name, names)]
            raise
        finally:
            self.params = made_with

    def _later_settings(self, args: list[str]) -> list[Any]:
        """Options for settings of components that were registered since the command was made, where they may be meant."""
        flags = {flag for parameter in self.params for flag in [*parameter.opts, *parameter.secondary_opts]}
        unknown = [word for word in args if word.startswith("--") and word.partition("=")[0] not in flags]
        listed = getattr(self.callback, "settings_then", None)
        if listed is None or not (unknown or registries.added()):
            return []
        load_entry_points()
        return later_settings(listed(), {str(known.name) for known in self.params})


def _version(show: bool) -> bool:
    """Print the version and stop."""
    if show:
        say(f"predgen {__version__}")
        raise typer.Exit
    return show


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Fine-tune causal language models to predict labels, numbers and math answers by writing them."""


_COMMANDS: dict[str, Callable[..., None]] = {
    "train": train_command,
    "estimate": estimate_command,
    "evaluate": evaluate_command,
    "predict": predict_command,
    "explain": explain_command,
    "serve": serve_command,
    "export": export_command,
    "calibrate": calibrate_command,
    "compare": compare_command,
    "report": report_command,
    "mi": mi_command,
    "validate": validate_command,
    "ls": ls_command,
    "demo": demo_command,
}
for name, command in _COMMANDS.items():
    app.command(name, cls=Command)(with_imports(command))
app.add_typer(models_app)
