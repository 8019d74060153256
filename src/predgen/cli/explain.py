"""`predgen explain`."""

import json
from itertools import islice
from pathlib import Path
from typing import Annotated, Optional

import typer

from predgen import __version__
from predgen.cli.early import check_folder_of, check_readable, check_saved
from predgen.cli.errors import readable_errors
from predgen.cli.options import TrustRemoteCode
from predgen.data.sources import read_rows
from predgen.errors import ConfigError
from predgen.escaping import in_line

DEFAULT_LIMIT = 100
"""Rows on a page where nothing else is said: each is predicted once for every word."""


@readable_errors
def explain_command(
    run: Annotated[Path, typer.Argument(help="Folder of a trained model.")],
    source: Annotated[Path, typer.Argument(help="File with the prompt's columns.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Page to write, .html; replaced where it is there.")],
    json_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--json", help="Write the same as JSON, too, .json; replaced where it is there."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most rows to explain, from the first.")] = DEFAULT_LIMIT,
    label: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Label to explain in every row; default: the predicted one."),
    ] = None,
    base: Annotated[Optional[str], typer.Option(help="Where the base model lies now, if it was moved.")] = None,  # noqa: UP045
    trust_remote_code: TrustRemoteCode = False,
    batch_size: Annotated[Optional[int], typer.Option(min=1, help="Rows per batch; default: the run's.")] = None,  # noqa: UP045
) -> None:
    """Show which words a prediction rests on: each is left out once, and the model asked again.

    `predgen explain RUN new.csv -o page.html --json page.json`

    `predgen explain RUN new.csv -o page.html --label good --limit 20`
    """
    for flag, file, suffixes in (("--out", out, (".html", ".htm")), ("--json", json_file, (".json",))):
        _check_target(flag, file, suffixes, source)
    check_saved(run)
    check_readable(str(source))
    from predgen.data.examples import iter_examples
    from predgen.explanation.explain import check_explainable, explain_examples
    from predgen.files import write_text
    from predgen.inference.trained import load
    from predgen.progress import row_progress
    from predgen.report.explained import write_explanations
    from predgen.terminal import PlainConsole
    from predgen.threads import use_available_threads

    use_available_threads()
    console = PlainConsole(stderr=True)
    trained = load(run, base=base, merge_adapter=True, trust_remote_code=trust_remote_code)
    check_explainable(trained, label)
    examples = list(islice(iter_examples(read_rows(source), trained.task), limit + 1))
    rest, examples = len(examples) > limit, examples[:limit]
    with row_progress(console, "explain", len(examples)) as advance:
        found = explain_examples(trained, examples, label=label, batch_size=batch_size, on_rows=advance)
    write_explanations(found, run.resolve().name, out)
    if json_file is not None:
        data = {"predgen": __version__, "model": run.resolve().name, "rows": [one.to_dict() for one in found]}
        write_text(json_file, json.dumps(data, indent=1) + "\n")
    left = f"; the file has more: --limit {limit}" if rest else ""
    console.print(f"{len(found)} rows in {in_line(str(out))}{left}", soft_wrap=True)


def _check_target(flag: str, file: Path | None, suffixes: tuple[str, ...], source: Path) -> None:
    """Refuse a file to write that is something else, so that no data is overwritten by mistake."""
    if file is None:
        return
    if file.suffix.lower() not in suffixes or file.is_dir():
        raise ConfigError(f"{flag} is {str(file)!r}, but must be a file that ends in {suffixes[0]}. Give another name.")
    if file.exists() and source.exists() and file.samefile(source):
        raise ConfigError(f"{flag} {str(file)!r} is the file with the rows, which it would replace. Give another name.")
    check_folder_of(file, flag)
