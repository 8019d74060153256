"""`predgen export`."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from predgen.cli.early import check_saved
from predgen.cli.errors import readable_errors
from predgen.cli.options import TrustRemoteCode
from predgen.cli.predict import levels_from
from predgen.cli.say import say
from predgen.errors import ConfigError
from predgen.escaping import in_line
from predgen.near_names import near_matches

EXPORTS = {
    "merged": "a plain Hugging Face folder, adapters merged; heads stay behind",
    "decision": 'a model of transformers\' pipeline("decision"), for labels of one token',
    "mlflow": "a model of MLflow, with signature and input example; extra mlflow",
}
"""What a model can be exported to."""


@readable_errors
def export_command(
    run: Annotated[Path, typer.Argument(help="Folder of a trained model.")],
    to: Annotated[str, typer.Option("--to", help=" | ".join(f"{name}: {what}" for name, what in EXPORTS.items()))],
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("-o", "--output", help="New folder to write.", show_default="RUN-TO, beside the run"),
    ] = None,
    decode: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="decision: greedy for what the writer says, where a director predicts."),
    ] = None,
    proba: Annotated[bool, typer.Option("--proba", help="mlflow: answer with the probability of every label.")] = False,
    quantiles: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="mlflow: answer with quantiles of numbers, e.g. 0.05,0.5,0.95."),
    ] = None,
    target: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Of a model with several targets, the one to export."),
    ] = None,
    base: Annotated[Optional[str], typer.Option(help="Where the base model lies now, if it was moved.")] = None,  # noqa: UP045
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Write a trained model in the format of others.

    `predgen export RUN --to decision`

    `predgen export RUN --to mlflow --proba -o my-mlflow-model`
    """
    _check(to, decode, proba, quantiles)
    check_saved(run)
    from predgen.exporting.place import check_place, new_folder

    out = output or run.resolve().with_name(f"{run.resolve().name}-{to}")
    check_place(out)
    if to == "mlflow":
        from predgen.exporting.mlflow_model import check_mlflow

        check_mlflow()
    from predgen.inference.targets import load_targets
    from predgen.inference.trained import load
    from predgen.saved.manifest import has_targets

    if to == "mlflow" and target is None and has_targets(run):
        from predgen.exporting.mlflow_model import write_mlflow

        targets = load_targets(run, base=base, trust_remote_code=trust_remote_code)
        with new_folder(out) as folder:
            write_mlflow(targets, folder, proba=proba)
    else:
        trained = load(run, target=target, base=base, trust_remote_code=trust_remote_code)
        with new_folder(out) as folder:
            if to == "merged":
                trained.merge(folder)
            elif to == "decision":
                from predgen.exporting.decision import write_decision

                write_decision(trained, folder, decode=decode)
            else:
                from predgen.exporting.mlflow_model import write_mlflow

                write_mlflow(trained, folder, proba=proba, quantiles=levels_from(quantiles))
    say(f"Model: {in_line(str(out))}")


def _check(to: str, decode: str | None, proba: bool, quantiles: str | None) -> None:
    """Refuse an unknown format, and options of another one.

    Raises:
        ConfigError: Naming what is wrong.
    """
    if to not in EXPORTS:
        raise ConfigError(f"--to is {to!r}.{near_matches(to, EXPORTS)} Allowed: {', '.join(EXPORTS)}.")
    for flag, given, owner in (
        ("--decode", decode, "decision"),
        ("--proba", proba or None, "mlflow"),
        ("--quantiles", quantiles, "mlflow"),
    ):
        if given is not None and to != owner:
            raise ConfigError(f"{flag} is for --to {owner}, but --to is {to!r}. Leave it out.")
    levels_from(quantiles)
