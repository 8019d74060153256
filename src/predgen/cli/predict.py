"""`predgen predict`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from predgen.cli.early import check_saved
from predgen.cli.errors import readable_errors
from predgen.cli.options import TrustRemoteCode, decoding_from, decoding_settings, say_engine, with_options
from predgen.core import Decoding
from predgen.data.sources import read_rows
from predgen.errors import ConfigError
from predgen.escaping import in_line
from predgen.saved.exchange import MANIFEST

if TYPE_CHECKING:
    from predgen.inference.guarantees import Guarantee

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
            help="File with the prompt's columns: .csv, .tsv, .jsonl, .json or .parquet; `-` is standard input.",
            allow_dash=True,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="File to write: .csv, .tsv, .jsonl or .parquet; `-` is standard output.",
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
    """Predict every row of a file, in constant memory and in the file's order.

    After a kill, the same command goes on where it stopped.

    `predgen predict RUN in.csv -o out.csv --proba`

    `predgen predict RUN in.csv -o out.csv --decode median --quantiles 0.05,0.95`

    `predgen predict RUN in.csv -o out.csv --coverage 0.9 --max-error 0.05`

    `predgen predict smollm2 in.csv -o out.csv --ask 'Is it urgent?' --ask 'Is it a complaint?'`

    `zcat in.jsonl.gz | predgen predict RUN - -o - --to csv | head`
    """
    from predgen.inference.output import check_output, input_of, is_stream, reader_of

    levels, decoding = _levels(quantiles), decoding_from(given)
    promised = (coverage, conformal, by, max_error, min_confidence)
    is_base = bool(ask) and not (run / MANIFEST).is_file()
    asks_more = bool(levels) or decoding != Decoding() or any(one is not None for one in promised)
    if is_base and (proba or batch_size or target or asks_more):
        raise ConfigError(
            f"{str(run)!r} is no trained model, and a base has answers to --ask alone. Leave out what is asked of predictions:"
            " --proba, --batch-size, --decode, distributions, quantiles, sets, intervals and abstention."
        )
    check_output(source, out, overwrite=overwrite, out_format=out_format)
    if not is_base:
        check_saved(run)
    reader = reader_of(input_of(source), source_format)
    # Reading is cheap beside predicting, gives an ETA, and finds a damaged file early; a pipe can be read once only.
    rows = None if is_stream(input_of(source)) else sum(1 for _ in read_rows(source, reader=reader))
    from predgen.asking.asker import Asker
    from predgen.asking.rows import Asking
    from predgen.inference.guarantees import Promised
    from predgen.inference.stream import Predicting, RowMaker, write_rows
    from predgen.inference.target_columns import PredictingTargets
    from predgen.inference.targets import load_targets
    from predgen.inference.trained import load
    from predgen.progress import rate_in_words, row_progress
    from predgen.saved.manifest import has_targets
    from predgen.terminal import PlainConsole
    from predgen.threads import use_available_threads

    use_available_threads()

    console = PlainConsole(stderr=True)
    maker: RowMaker
    if is_base:
        maker = Asking(
            Asker.load(str(run), format=ask_format, trust_remote_code=trust_remote_code), ask or (), name=str(run)
        )
    elif target is None and has_targets(run):
        if ask or asks_more:
            raise ConfigError(
                f"{str(run)!r} holds a model with several targets, of which all are predicted, and no more is asked. Name one of them"
                " with --target, or leave --ask, --decode, distributions, quantiles, sets, intervals and abstention out."
            )
        targets = load_targets(run, base=base, merge_adapter=True, trust_remote_code=trust_remote_code)
        say_engine(targets)
        maker = PredictingTargets(targets, proba, batch_size)
    else:
        trained = load(run, target=target, base=base, merge_adapter=True, trust_remote_code=trust_remote_code)
        say_engine(trained)
        maker = predicting = Predicting(trained, proba, levels, batch_size, decoding, Promised(*promised))
        for line in promises_in_words(predicting.guarantee):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if ask:
            maker = Asking(Asker(trained, format=ask_format), ask, predicting)
    try:
        with row_progress(console, "predict", rows) as advance:
            done = write_rows(
                maker,
                source,
                out,
                source_format=source_format,
                out_format=out_format,
                safe_csv=safe_csv,
                overwrite=overwrite,
                on_rows=advance,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("give the same command again to go on") from None
    resumed = f", {done.resumed_rows} of them from an earlier call" if done.resumed_rows else ""
    where = "" if str(out) == "-" else f" in {in_line(str(out))}"
    console.print(f"{done.rows} rows{where}{resumed}; {rate_in_words(done.rows_per_s)} rows/s", soft_wrap=True)
    for flag, count in done.flags.items():
        console.print(f"{count} rows {flag.replace('_', ' ')}")


def promises_in_words(guarantee: "Guarantee") -> list[str]:
    """What is known of promises before the first row is predicted."""
    promised, threshold, found = guarantee.promised, guarantee.threshold, []
    if small := guarantee.small_groups:
        found.append(
            f"Too few calibration rows for coverage {promised.coverage} in {len(small)} groups, such as"
            f" {in_line(small[0])!r}: their rows get everything."
        )
    if threshold is not None:
        share = (
            ""
            if threshold.error is None
            else f"; of calibration rows {threshold.answered:.0%} are, {threshold.error:.1%} of them wrong"
        )
        promise = (
            "" if threshold.max_error is None else f", at most {threshold.max_error:.1%} of them wrong (90 % sure)"
        )
        found.append(f"Rows of confidence {threshold.confidence:.4g} and above are answered{promise}{share}.")
    return found


def _levels(text: str | None) -> tuple[float, ...]:
    """Quantile levels from "0.05,0.5"."""
    try:
        return tuple(float(part) for part in (text or "").split(",") if part.strip())
    except ValueError:
        raise ConfigError(f"--quantiles is {text!r}; give shares separated by commas, e.g. 0.05,0.5,0.95.") from None
