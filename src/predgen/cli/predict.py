"""`predgen predict`."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from predgen.cli.errors import readable_errors


@readable_errors
def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a trained model.")],
    source: Annotated[
        Path, typer.Argument(help="File with the prompt's columns: .csv, .tsv, .jsonl, .json or .parquet.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .csv, .tsv or .jsonl.")],
    proba: Annotated[bool, typer.Option("--proba", help="Write a probability for each label.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output file.")] = False,
    base: Annotated[Optional[str], typer.Option(help="Where the base model lies now, if it was moved.")] = None,  # noqa: UP045
    batch_size: Annotated[Optional[int], typer.Option(min=1, help="Rows per batch; default: the run's.")] = None,  # noqa: UP045
    decode: Annotated[str, typer.Option(help="constrained, or free (Generator).")] = "constrained",
) -> None:
    """Predict every row of a file, in constant memory and in the file's order.

    After a kill, the same command goes on where it stopped.

    `predgen predict RUN in.csv -o out.csv --proba`
    """
    from rich.console import Console

    from predgen.cli.progress import row_progress
    from predgen.data.sources import read_rows
    from predgen.inference.saved import load
    from predgen.inference.stream import check_output, predict_file

    check_output(source, out, overwrite=overwrite)
    rows = sum(1 for _ in read_rows(source))  # reading is cheap beside predicting, and gives an ETA
    trained = load(run, base=base)
    console = Console(stderr=True)
    try:
        with row_progress(console, "predict", rows) as advance:
            done = predict_file(
                trained,
                source,
                out,
                proba=proba,
                batch_size=batch_size,
                decode=decode,
                overwrite=overwrite,
                on_rows=advance,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("give the same command again to go on") from None
    resumed = f", {done.resumed_rows} of them from an earlier call" if done.resumed_rows else ""
    console.print(f"{done.rows} rows in {out}{resumed}; {done.rows_per_s:.0f} rows/s", highlight=False, soft_wrap=True)
    for flag, count in done.flags.items():
        console.print(f"{count} rows {flag.replace('_', ' ')}", highlight=False)
