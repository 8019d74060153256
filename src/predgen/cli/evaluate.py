"""`predgen evaluate`."""

import json
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from predgen.cli.early import check_folder_of, check_readable, check_saved
from predgen.cli.errors import readable_errors
from predgen.cli.options import TrustRemoteCode, decoding_from, decoding_settings, say_engine, with_options
from predgen.core import Decoding
from predgen.errors import ConfigError
from predgen.files import write_text

_SHOWN_SHARES = (0.5, 0.8, 0.9)  # of the most confident rows, whose error is printed; all of the curve is in --json


@with_options(lambda: decoding_settings("decode"))
@readable_errors
def evaluate_command(
    run: Annotated[
        Path, typer.Argument(help="Folder of a trained model; with CASES, also a base: its name or folder.")
    ],
    cases: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Argument(
            help="File of decisions (.jsonl: state, questions, answers with probabilities) to ask the model, instead of its own rows."
        ),
    ] = None,
    split: Annotated[Optional[str], typer.Option(help="Split of the run's task: train, validation or test.")] = None,  # noqa: UP045
    task: Annotated[
        str | None, typer.Option(help="Another task of the same kind, whose split to take instead.")
    ] = None,
    data: Annotated[Optional[str], typer.Option(help="A file with the run's columns instead.")] = None,  # noqa: UP045
    target: Annotated[str | None, typer.Option(help="Column of --data with the answers; default: the run's.")] = None,
    data_dir: Annotated[Optional[str], typer.Option(help="Folder of the task's files; default: the run's.")] = None,  # noqa: UP045
    ask_format: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="How questions of CASES are put: plain, or chat for an instruct model's own template. [default: as the model was"
            " trained; plain for a base]"
        ),
    ] = None,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="Write the figures to this file.")] = None,  # noqa: UP045
    base: Annotated[Optional[str], typer.Option(help="Where the base model lies now, if it was moved.")] = None,  # noqa: UP045
    trust_remote_code: TrustRemoteCode = False,
    batch_size: Annotated[Optional[int], typer.Option(min=1, help="Rows per batch; default: the run's.")] = None,  # noqa: UP045
    with_trained_rows: Annotated[
        bool,
        typer.Option("--with-trained-rows", help="Measure on rows that the run was trained on, too; they are counted."),
    ] = False,
    permute_options: Annotated[
        bool,
        typer.Option("--permute-options", help="Tell how many answers change where options stand in another order."),
    ] = False,
    average_options: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Ask each row in so many orders of its options, and average the probabilities."),
    ] = None,
    *,
    given: dict[str, Any],
) -> None:
    """Measure a trained model, with 95 % bootstrap intervals over rows.

    `predgen evaluate RUN --split validation --data-dir DIR --json out.json`

    `predgen evaluate RUN --data my.csv --target label`

    `predgen evaluate RUN --task svamp --split test --data-dir DIR`

    `predgen evaluate smollm2 cases.jsonl --json out.json`
    """
    decoding = decoding_from(given)
    if cases is not None:
        of_rows = (split, task, data, target, data_dir, batch_size, average_options)
        if any(of_rows) or with_trained_rows or permute_options or decoding != Decoding():
            raise ConfigError(
                "a file of decisions brings its own questions: leave out what names rows, batches, options or a decoding, or"
                " leave out the file."
            )
        check_folder_of(json_file, "--json")
        _evaluate_decisions(run, cases, ask_format, json_file, base, trust_remote_code)
        return
    check_saved(run)
    check_folder_of(json_file, "--json")
    if data is not None:
        check_readable(data)
    from predgen.evaluation import evaluate, rows_to_measure
    from predgen.inference.targets import load_targets
    from predgen.inference.trained import load
    from predgen.progress import row_progress
    from predgen.saved.manifest import has_targets
    from predgen.target_evaluation import evaluate_targets, target_rows_to_measure
    from predgen.terminal import PlainConsole
    from predgen.threads import use_available_threads

    use_available_threads()

    if has_targets(run):
        if any((task, target, data_dir, permute_options, average_options, decoding.how)):
            raise ConfigError(
                f"{str(run)!r} holds a model with several targets, which are measured as they are predicted. Leave out --task, --target,"
                " --data-dir, --decode and orders of options."
            )
        targets = load_targets(run, base=base, merge_adapter=True, trust_remote_code=trust_remote_code)
        say_engine(targets)
        answers = target_rows_to_measure(targets, split=split, data=data, with_trained_rows=with_trained_rows)
        n_rows = len(next(iter(answers.values())))
        with row_progress(PlainConsole(stderr=True), "evaluate", n_rows) as advance:
            of_targets = evaluate_targets(targets, answers, batch_size=batch_size, on_batch=advance)
        told = {"run": str(run), "split": split, "data": data, **of_targets.to_dict()}
        if json_file is not None:
            write_text(json_file, json.dumps(told, indent=1, allow_nan=False) + "\n")
        _show_targets(told)
        return
    trained = load(run, base=base, merge_adapter=True, trust_remote_code=trust_remote_code)
    say_engine(trained)
    examples = rows_to_measure(
        trained,
        split=split,
        data=data,
        target=target,
        data_dir=data_dir,
        task=task,
        with_trained_rows=with_trained_rows,
    )
    with row_progress(PlainConsole(stderr=True), "evaluate", len(examples)) as advance:
        found = evaluate(
            trained,
            examples,
            decoding=decoding,
            batch_size=batch_size,
            permute_options=permute_options,
            average_options=average_options,
            on_batch=advance,
        )
    result = {"run": str(run), "split": split, "task": task, "data": data, "decode": decoding.how, **found.to_dict()}
    if json_file is not None:
        write_text(json_file, json.dumps(result, indent=1, allow_nan=False) + "\n")
    _show(result)


def _evaluate_decisions(
    run: Path, cases: Path, ask_format: str | None, json_file: Path | None, base: str | None, trust_remote_code: bool
) -> None:
    """Ask a model the questions of a file, and print how good its answers are."""
    from predgen.questions.decisions import read_decisions

    decisions = read_decisions(cases)
    from predgen.asking.asker import Asker
    from predgen.asking.judging import judge
    from predgen.progress import row_progress
    from predgen.terminal import PlainConsole
    from predgen.threads import use_available_threads

    use_available_threads()

    asker = Asker.load(str(run), format=ask_format, base=base, trust_remote_code=trust_remote_code)
    console = PlainConsole(stderr=True)
    console.print(f"Questions: {asker.engine}.", markup=False, highlight=False, soft_wrap=True)
    with row_progress(console, "evaluate", len(decisions)) as advance:
        found = judge(asker, decisions, on_batch=advance).to_dict()
    result = {"model": str(run), "cases": str(cases), "engine": asker.engine, **found}
    if json_file is not None:
        write_text(json_file, json.dumps(result, indent=1) + "\n")
    _show_decisions(result)


def _show_decisions(result: dict[str, Any]) -> None:
    """Print the figures of a file of decisions as a table."""
    from rich.table import Table

    from predgen.escaping import in_line
    from predgen.figures import number
    from predgen.terminal import PlainConsole

    table = Table(title="95 % bootstrap intervals over cases", title_justify="left")
    for column in ("question", "metric", "value", "low", "high"):
        table.add_column(column, justify="left" if column in ("question", "metric") else "right")
    parts = {"all choices": result["metrics"], **result["by_question"]}
    for name, figures in parts.items():
        for metric, figure in figures.items():
            table.add_row(in_line(name), metric, *(number(figure[key], 4) for key in ("value", "low", "high")))
    console = PlainConsole()
    console.print(table)
    for name, count in result["counts"].items():
        console.print(f"{count} {name.replace('_', ' ')}")


def _show_targets(result: dict[str, Any]) -> None:
    """Print the figures of each question, and those of several answers at once."""
    from predgen.figures import number
    from predgen.terminal import PlainConsole

    console = PlainConsole()
    for name, figures in result["questions"].items():
        console.print(f"Target {name}, {result['missing'].get(name, 0)} rows without an answer", markup=False)
        _show(figures)
    for name, joint in result["joint"].items():
        told = ", ".join(f"{metric} {number(value, 4)}" for metric, value in joint.items())
        console.print(f"Target {name}: {told}", markup=False, soft_wrap=True)
    if result["all_right"] is not None:
        console.print(f"All labels of a row are right in {result['all_right']:.1%} of the rows that have them all.")


def _show(result: dict[str, Any]) -> None:
    """Print the figures as a table."""
    from rich.table import Table

    from predgen.figures import number
    from predgen.terminal import PlainConsole

    table = Table(title=f"{result['rows']} rows, 95 % bootstrap intervals over rows", title_justify="left")
    for column in ("metric", "value", "low", "high"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for name, value in {**result["metrics"], **result.get("uncertainty", {})}.items():
        cells = (value, *result["intervals"][name])
        table.add_row(name, *(number(cell, 4) for cell in cells))
    console = PlainConsole()
    console.print(table)
    for point in result.get("abstention", ()):
        if point["answered"] in _SHOWN_SHARES:
            console.print(f"  the {point['answered']:.0%} most confident rows: {point['error']:.1%} wrong")
    if "changed_by_order" in result:
        share, low, high = result["changed_by_order"]
        console.print(f"{share:.1%} [{low:.1%}, {high:.1%}] of the answers change with the order of the options")
    for name, count in result["counts"].items():
        console.print(f"{count} rows {name.replace('_', ' ')}")
