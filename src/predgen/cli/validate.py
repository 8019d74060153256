"""`predgen validate`."""

import json
from typing import Annotated, Any

import typer

from predgen.cli.early import check_rows
from predgen.cli.errors import readable_errors
from predgen.cli.options import ConfigFile, settings, with_settings
from predgen.cli.say import say
from predgen.figures import number

_ITEMS_SHOWN = 20
_DIGITS = 4
_SETTINGS = (
    "task data_dir data validation_data prompt target kind weight_column label_texts normalise_labels decimals minimum maximum"
    " target_transform stratify limit bad_rows truncate_field truncate max_length rationale model method trust_remote_code seed split_seed"
).split()


@with_settings(*_SETTINGS)
@readable_errors
def validate_command(
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    *,
    given: dict[str, Any],
) -> None:
    r"""Check data before training on it: rows, targets, lengths, duplicates. No weights are loaded.

    `predgen validate --data my.csv --prompt 'Review: {text}\nScore:' --target score --kind regression`
    """
    run_config, _ = settings(config, given)
    check_rows(run_config)
    from predgen.training.validation import validate_data

    facts = validate_data(run_config)
    if as_json:
        say(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    from rich.table import Table

    from predgen.terminal import PlainConsole

    remarks = facts.pop("remarks", [])
    of_targets: dict[str, dict[str, Any]] = facts.pop("of_targets", {})
    for name, own in of_targets.items():
        facts |= {f"{name}: {fact}": value for fact, value in own.items()}
    table = Table(show_header=False)
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), _shown(value))
    PlainConsole().print(table)
    for remark in remarks:
        say(f"Note: {remark}")


def _shown(value: Any) -> str:  # noqa: ANN401  (plain JSON data)
    """A fact as a person reads it: numbers that are not whole by significant digits, long lists by their beginning and length."""
    if isinstance(value, float):
        return f"{value:.15g}" if value.is_integer() else number(value, _DIGITS)
    if not isinstance(value, dict | list):
        return str(value)
    named = isinstance(value, dict)
    parts = [f"{key}: {_shown(value[key])}" if named else _shown(key) for key in value]
    more = f", and {len(parts) - _ITEMS_SHOWN} more" if len(parts) > _ITEMS_SHOWN else ""
    return ", ".join(parts[:_ITEMS_SHOWN]) + more or "none"
