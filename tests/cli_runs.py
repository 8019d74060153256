"""Running the command line in tests: tables of rows, calls, messages, and two tiny runs."""

import csv
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from predgen.cli.main import app
from tiny_models import save_tiny
from tokenizers_for_tests import char_level

GOOD, BAD = ("fine", "warm", "kind"), ("dull", "cold", "rude")
PROMPT = r"Review: {text}\nVerdict:"


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as an ordinary .csv file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def reviews(n: int, seed: int = 0, start: int = 0) -> list[dict[str, str]]:
    """Rows with a text, a label and a score of 1 to 9; the texts are numbered from `start`."""
    rng = random.Random(seed)
    rows = []
    for i in range(start, start + n):
        good = i % 2 == 0
        text = f"number {i} was {rng.choice(GOOD if good else BAD)}"
        rows.append(
            {
                "text": text,
                "label": "good" if good else "bad",
                "score": str(rng.randint(6, 9) if good else rng.randint(1, 4)),
            }
        )
    return rows


def predgen(*arguments: str | Path) -> Result:
    """Run `predgen` in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def flat(text: str) -> str:
    """Text without the line breaks that a narrow terminal adds."""
    return " ".join(text.split())


def refused(result: Result) -> str:
    """The message of a command that ended with exit status 2 and one line, no traceback."""
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stderr.count("error: ") == 1
    return flat(result.stderr[result.stderr.index("error: ") :])


@dataclass(frozen=True)
class Runs:
    """Folders and files of the tests.

    Attributes:
        base: A tiny random base model.
        data: Rows with text, label and score.
        label: Saved classification run.
        score: Saved regression run.
        train: Calls `predgen train` with the tiny base and two steps; further arguments are appended.
    """

    base: Path
    data: Path
    label: Path
    score: Path
    train: Callable[..., Result]


def make_runs(folder: Path) -> Runs:
    """Train a classification and a regression run."""
    base = save_tiny("llama", folder / "base", char_level())
    data = write_csv(folder / "reviews.csv", reviews(40))

    def train(*arguments: str | Path) -> Result:
        rank = () if "--peft" in arguments else ("--rank", "2")
        given = ("--model", base, "--max-steps", "2", "--batch-size", "4", *rank, *arguments)
        return predgen("train", *given)

    made = Runs(base, data, folder / "label-run", folder / "score-run", train)
    for target, kind, out in (("label", "classification", made.label), ("score", "regression", made.score)):
        result = train("--data", data, "--prompt", PROMPT, "--target", target, "--kind", kind, "--out", out)
        assert result.exit_code == 0, result.output
    return made
