"""`predgen estimate`."""

import json
from typing import Annotated, Any

import typer

from predgen.cli.early import check_rows
from predgen.cli.errors import readable_errors
from predgen.cli.options import ConfigFile, PresetName, settings, with_settings
from predgen.cli.say import say


@with_settings()
@readable_errors
def estimate_command(
    config: ConfigFile = None,
    preset: PresetName = None,
    tflops: Annotated[
        float | None,
        typer.Option(
            help="Speed of other hardware, in 10^12 operations a second as they are reached. [default: this machine, measured]"
        ),
    ] = None,
    predict_rows: Annotated[
        int | None, typer.Option(min=1, help="Rows to predict later: say how long they take.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    *,
    given: dict[str, Any],
) -> None:
    r"""Time and memory of a run before it is begun, from a few probes of its own rows on its own base.

    It takes the settings of `predgen train`, and trains nothing.

    `predgen estimate --data my.csv --prompt 'Review: {text}\nScore:' --target score --kind regression`

    `predgen estimate --config run.yaml --tflops 200 --predict-rows 1000000`
    """
    run_config, _ = settings(config, given, preset)
    check_rows(run_config)
    import tempfile
    from pathlib import Path

    from predgen.threads import use_available_threads
    from predgen.training.estimate import estimate_run
    from predgen.training.rows import load_data

    use_available_threads()
    with tempfile.TemporaryDirectory() as scratch:  # where reading puts rows that it leaves out
        found = estimate_run(run_config, load_data(run_config, Path(scratch)), tflops=tflops)
    if as_json:
        say(json.dumps(found.to_dict(), indent=1))
        return
    for line in found.in_words(predict_rows):
        say(line)
