"""`predgen train`."""

import json
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from predgen.cli.early import check_rows
from predgen.cli.errors import readable_errors
from predgen.cli.options import ConfigFile, PresetName, settings, with_settings
from predgen.errors import ConfigError
from predgen.escaping import in_line
from predgen.ranks import is_first_rank, require_whole_weights, world_size


@with_settings()
@readable_errors
def train_command(
    cases: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Argument(
            help="File of decisions (.jsonl: state, questions, answers with probabilities) to train on, instead of rows with a target."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the run: log, checkpoints, saved model.", rich_help_panel="Run"),
    ] = None,
    config: ConfigFile = None,
    preset: PresetName = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with an interrupted run, with the same settings.", rich_help_panel="Run"),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run that is in the folder.", rich_help_panel="Run")
    ] = False,
    ask_format: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="How questions of CASES are put: plain, or chat for an instruct model's own template. [default: plain]",
            rich_help_panel="Run",
        ),
    ] = None,
    *,
    given: dict[str, Any],
) -> None:
    r"""Fine-tune a model and save it.

    A task that predgen knows, then a file of your own:

    `predgen train --task sick --data-dir DIR --method predgen --loss wdal_shifted --epochs 3 --out RUN`

    `predgen train --preset paper --task sick --data-dir DIR --out RUN`

    `predgen train --data my.csv --prompt 'Review: {text}\nScore:' --target score --kind regression --out RUN`

    `predgen train --data my.csv --prompt 'Review: {text}' --target mood:classification --target stars:regression --out RUN`

    `predgen train cases.jsonl --model smollm2 --out RUN`
    """
    if cases is not None:
        if config or preset or resume:
            raise ConfigError(
                "a file of decisions is trained on by flags alone: leave out --config, --preset and --resume."
            )
        _train_decisions(cases, out, ask_format, overwrite, given)
        return
    if ask_format is not None:
        raise ConfigError(
            "--ask-format says how questions of a file of decisions are put: give the file, or leave it out."
        )
    run_config, out_of_file = settings(config, given, preset)
    folder = out or (Path(out_of_file) if out_of_file else None)
    if folder is None:
        raise ConfigError("`out` is missing: give --out FOLDER, or `out: FOLDER` in the config file.")
    if resume and overwrite:
        raise ConfigError("--resume goes on with the run in the folder, --overwrite replaces it: give one of them.")
    from predgen.figures import number
    from predgen.files import locked_folder
    from predgen.terminal import PlainConsole
    from predgen.training.folder import look_at

    check_rows(run_config)
    require_whole_weights()
    if is_first_rank():
        with locked_folder(folder):  # a first look, before anything heavy is loaded
            look_at(folder, run_config, resume=resume, overwrite=overwrite, processes=world_size())
    from predgen.threads import use_available_threads
    from predgen.training.run import train as run_training
    from predgen.training.run import train_targets

    use_available_threads()

    console = PlainConsole(stderr=True, quiet=not is_first_rank())
    try:
        run_it = run_training if run_config.targets is None else train_targets
        trained = run_it(run_config, folder, resume=resume, overwrite=overwrite, console=console)
    except KeyboardInterrupt as interrupt:
        has_begun = (folder / "config.yaml").is_file()
        how = "go on with --resume" if has_begun else "nothing was trained yet; give the same command again"
        raise KeyboardInterrupt(str(interrupt) or how) from None
    report = trained.report
    console.print(
        f"Trained on {report['train_rows']} rows in {report['optimizer_steps']} optimizer steps"
        f" ({report['trainable_parameters']:,} of {report['parameters']:,} parameters); checkpoint of step"
        f" {report['best_step'] or report['optimizer_steps']} kept, {report['selection']['choice']}.",
    )
    console.print(f"Answers: {report['engine']}.")
    if remark := report.get("numbers_written", {}).get("remark"):
        console.print(f"Warning: {remark}", soft_wrap=True)
    for name, what in (("truncated_rows", "had a prompt field shortened"), ("skipped_rows", "were skipped as bad")):
        if report[name]:
            console.print(f"{report[name]} rows {what}.")
    for name, value in report["validation"].items():
        console.print(f"  validation {name} {number(value, 4)}")
    shown = in_line(str(folder))
    console.print(
        f"Saved in {shown}. Next:\n  predgen evaluate {shown} --split validation\n"
        f"  predgen predict {shown} new.csv -o predictions.csv",
        soft_wrap=True,
    )


def _train_decisions(
    cases: Path, out: Path | None, ask_format: str | None, overwrite: bool, given: dict[str, Any]
) -> None:
    """Train on a file of decisions."""
    from predgen.questions.decisions import read_decisions

    if out is None:
        raise ConfigError("`out` is missing: give --out FOLDER.")
    decisions = read_decisions(cases)
    other = given.pop("validation_data", None)
    validation = None if other is None else read_decisions(other)
    from predgen.asking.learning import REPORT, decisions_config, train_decisions
    from predgen.figures import number
    from predgen.terminal import PlainConsole
    from predgen.threads import use_available_threads

    use_available_threads()
    console = PlainConsole(stderr=True)
    train_decisions(
        decisions_config(given),
        decisions,
        out,
        validation=validation,
        format=ask_format,
        overwrite=overwrite,
        console=console,
    )
    report = json.loads((out / REPORT).read_text(encoding="utf-8"))
    console.print(
        f"Trained on {report['questions']} questions of {report['cases']} cases in {report['optimizer_steps']} optimizer steps."
    )
    for name, value in report["validation"].items():
        console.print(f"  validation {name} {number(value, 4)} ({report['validation_cases']} cases)")
    shown, how = in_line(str(out)), "" if ask_format is None else f" --ask-format {ask_format}"
    console.print(f"Saved in {shown}, as a base. Next:\n  predgen evaluate {shown} cases.jsonl{how}", soft_wrap=True)
