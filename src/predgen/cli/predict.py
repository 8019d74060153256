"""`predgen predict`."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from predgen.batch.engines import FileForm
from predgen.batch.request import PredictionRequest
from predgen.cli.early import check_saved
from predgen.cli.errors import readable_errors
from predgen.cli.options import TrustRemoteCode, decoding_from, decoding_settings, with_options
from predgen.data.sources import read_rows
from predgen.errors import ConfigError
from predgen.escaping import in_line

if TYPE_CHECKING:
    from predgen.batch.engines import FileEngine
    from predgen.terminal import PlainConsole

ENGINES = ("plain", "ray")
"""Who predicts the files of a folder: this process, or a cluster's workers."""
PROMISES = "Sets, intervals, abstention"
"""Heading of the options about what predictions promise."""


@with_options(decoding_settings)
@readable_errors
def predict_command(
    run: Annotated[
        Path, typer.Argument(help="Folder of a trained model; with --ask, also a base: its name or folder.")
    ],
    source: Annotated[
        Path,
        typer.Argument(
            help="File with the prompt's columns: .csv, .tsv, .jsonl, .json or .parquet; `-` is standard input; or a folder of such"
            " files.",
            allow_dash=True,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="File to write: .csv, .tsv, .jsonl or .parquet; `-` is standard output; for a folder, a folder.",
            allow_dash=True,
        ),
    ],
    source_format: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--from", help="Format of the input where no suffix says it. [default for `-`: jsonl]"),
    ] = None,
    out_format: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--to", help="Format of the output where no suffix says it. [default for `-`: jsonl]"),
    ] = None,
    safe_csv: Annotated[
        bool, typer.Option("--safe-csv", help="Put an apostrophe before cells that a spreadsheet takes for formulas.")
    ] = False,
    ask: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            help="Ask this yes/no question about each row, of a trained model (besides its prediction) or a base: two columns"
            " more, yes or no, and the probability of yes. Repeatable; all questions of a row run together."
        ),
    ] = None,
    ask_format: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="How --ask puts questions: plain, or chat for an instruct model's own template. [default: as the model was"
            " trained; plain for a base]"
        ),
    ] = None,
    target: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Of a model with several targets, the one to predict; default: all of them."),
    ] = None,
    proba: Annotated[bool, typer.Option("--proba", help="Write a probability for each label.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output file.")] = False,
    engine: Annotated[
        str, typer.Option(help=f"Who predicts the files of a folder: {' | '.join(ENGINES)} (a Ray cluster's workers).")
    ] = "plain",
    workers: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Workers of --engine ray, a model each. [default: the cluster's GPUs, or its CPUs]"),
    ] = None,
    base: Annotated[Optional[str], typer.Option(help="Where the base model lies now, if it was moved.")] = None,  # noqa: UP045
    trust_remote_code: TrustRemoteCode = False,
    batch_size: Annotated[Optional[int], typer.Option(min=1, help="Rows per batch; default: the run's.")] = None,  # noqa: UP045
    quantiles: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Write quantiles of the numbers: levels, comma separated, e.g. 0.05,0.5,0.95."),
    ] = None,
    coverage: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            help="Write a set of labels, or an interval of numbers, that holds the truth in this share of rows, e.g. 0.9.",
            rich_help_panel=PROMISES,
        ),
    ] = None,
    by: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Column whose groups are each to be covered so.", rich_help_panel=PROMISES),
    ] = None,
    conformal: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="How sets and intervals are made: lac, aps or ordinal (labels), cqr or cps (numbers).",
            rich_help_panel=PROMISES,
        ),
    ] = None,
    max_error: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            help="Mark rows as abstained, so that at most this share of the others is wrong, e.g. 0.05 (labels).",
            rich_help_panel=PROMISES,
        ),
    ] = None,
    min_confidence: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            help="Mark rows as abstained whose label is less probable than this, e.g. 0.8.", rich_help_panel=PROMISES
        ),
    ] = None,
    *,
    given: dict[str, Any],
) -> None:
    """Predict every row of a file, or of all files of a folder, in constant memory and in the file's order.

    After a kill, the same command goes on where it stopped.

    `predgen predict RUN in.csv -o out.csv --proba`

    `predgen predict RUN in.csv -o out.csv --decode median --quantiles 0.05,0.95`

    `predgen predict RUN in.csv -o out.csv --coverage 0.9 --max-error 0.05`

    `predgen predict smollm2 in.csv -o out.csv --ask 'Is it urgent?' --ask 'Is it a complaint?'`

    `predgen predict RUN in-folder -o out-folder --engine ray --workers 8`

    `zcat in.jsonl.gz | predgen predict RUN - -o - --to csv | head`
    """
    request = PredictionRequest(
        run,
        target=target,
        base=base,
        proba=proba,
        quantiles=levels_from(quantiles),
        decoding=decoding_from(given),
        coverage=coverage,
        conformal=conformal,
        by=by,
        max_error=max_error,
        min_confidence=min_confidence,
        ask=tuple(ask or ()),
        ask_format=ask_format,
        batch_size=batch_size,
        trust_remote_code=trust_remote_code,
    )
    form = FileForm(source_format, out_format, safe_csv)
    if source.is_dir():
        _predict_folder(request, source, out, form, (engine, workers), overwrite=overwrite)
    elif engine != "plain" or workers is not None:
        raise ConfigError(
            f"{'--workers' if engine == 'plain' else f'--engine {engine}'} shares out the files of a folder, but {str(source)!r} is"
            " none. Give a folder of files, or leave it out."
        )
    else:
        _predict_file(request, source, out, form, overwrite=overwrite)


def _predict_file(request: PredictionRequest, source: Path, out: Path, form: FileForm, *, overwrite: bool) -> None:
    """Predict a file, or what comes through a pipe."""
    from predgen.inference.output import check_output, input_of, is_stream, reader_of

    check_output(source, out, overwrite=overwrite, out_format=form.out_format)
    if not request.is_base:
        check_saved(Path(request.run))
    reader = reader_of(input_of(source), form.source_format)
    # Reading is cheap beside predicting, gives an ETA, and finds a damaged file early; a pipe can be read once only.
    rows = None if is_stream(input_of(source)) else sum(1 for _ in read_rows(source, reader=reader))
    from predgen.inference.stream import write_rows
    from predgen.progress import rate_in_words, row_progress
    from predgen.terminal import PlainConsole
    from predgen.threads import use_available_threads

    use_available_threads()
    console, maker = PlainConsole(stderr=True), request.maker()
    for line in maker.remarks():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    with _going_on(), row_progress(console, "predict", rows) as advance:
        done = write_rows(
            maker,
            source,
            out,
            source_format=form.source_format,
            out_format=form.out_format,
            safe_csv=form.safe_csv,
            overwrite=overwrite,
            on_rows=advance,
        )
    resumed = f", {done.resumed_rows} of them from an earlier call" if done.resumed_rows else ""
    where = "" if str(out) == "-" else f" in {in_line(str(out))}"
    console.print(f"{done.rows} rows{where}{resumed}; {rate_in_words(done.rows_per_s)} rows/s", soft_wrap=True)
    _say_flags(console, done.flags)


def _predict_folder(
    request: PredictionRequest, source: Path, out: Path, form: FileForm, by: tuple[str, int | None], *, overwrite: bool
) -> None:
    """Predict every file of a folder."""
    from predgen.batch.folder import predict_folder
    from predgen.progress import ProgressBar, rate_in_words
    from predgen.terminal import PlainConsole
    from predgen.threads import use_available_threads

    if not request.is_base:
        check_saved(Path(request.run))
    engine = _engine(*by)
    use_available_threads()
    console = PlainConsole(stderr=True)
    with _going_on(), ProgressBar(console, "predict", None, unit="files/s") as bar:
        done = predict_folder(
            request,
            source,
            out,
            engine,
            source_format=form.source_format,
            out_format=form.out_format,
            safe_csv=form.safe_csv,
            overwrite=overwrite,
            on_begin=bar.begin,
            on_done=lambda one: bar.advance(1, f"{one.rows} rows in {in_line(one.piece.source.name)}"),
            say=lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True),
        )
    resumed = f", {done.earlier} of them from earlier calls" if done.earlier else ""
    empty = f"; {done.without_rows} files have no rows, and no output" if done.without_rows else ""
    speed = f"; {done.rows} rows, {rate_in_words(done.rows_per_s)} rows/s" if done.rows else ""
    console.print(f"{done.files} files in {in_line(str(out))}{resumed}{empty}{speed}", soft_wrap=True)
    _say_flags(console, done.flags)


def _engine(name: str, workers: int | None) -> "FileEngine":
    """Who predicts the files of a folder."""
    if name == "ray":
        from predgen.batch.on_ray import RayWorkers

        return RayWorkers(workers)
    if name != "plain":
        raise ConfigError(f"--engine is {name!r}. Allowed: {', '.join(ENGINES)}.")
    if workers is not None:
        raise ConfigError(f"--workers is {workers}, but engine plain is this process alone. Give --engine ray, too.")
    from predgen.batch.engines import InThisProcess

    return InThisProcess()


@contextmanager
def _going_on() -> Iterator[None]:
    """Say after Ctrl-C how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt("give the same command again to go on") from None


def _say_flags(console: "PlainConsole", flags: Mapping[str, int]) -> None:
    """How many rows carry which flag."""
    for flag, count in flags.items():
        console.print(f"{count} rows {flag.replace('_', ' ')}")


def levels_from(text: str | None) -> tuple[float, ...]:
    """Return quantile levels from "0.05,0.5".

    Raises:
        ConfigError: If they are no numbers.
    """
    try:
        return tuple(float(part) for part in (text or "").split(",") if part.strip())
    except ValueError:
        raise ConfigError(f"--quantiles is {text!r}; give shares separated by commas, e.g. 0.05,0.5,0.95.") from None
