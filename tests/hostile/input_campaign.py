"""Run hostile inputs and states through the commands, each case in a process of its own, and count how they end.

python tests/hostile/input_campaign.py WORK --cases 300 --seed 0

A case ends in "refused" (exit status 2 and one sentence), "right" (what was read and said is what a second route gives),
"own state" (other weights after --resume from tensors that a hand has changed: a checkpoint has no digests), or in what must
not be: "wrong", "error TYPE" (a traceback), "hang", "died", "steers the terminal", "code".

A case depends on its seed alone, so that a campaign can be run in parts: --seed 100 --cases 50 makes cases 100 to 149.
"""

import argparse
import csv
import json
import os
import random
import shutil
import sys
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from typer.testing import Result

import predgen
from cli_runs import PROMPT, make_runs
from cli_runs import predgen as command
from hostile.forks import outcome_of, told
from hostile.inputs import KINDS, Rows
from hostile.states import EVALUATE, PREDICT, TRAIN
from predgen.inference.stream import predict_file
from predgen.training.run import _Run
from tiny_runs import RESUMABLE, tiny_base, tiny_data, tiny_run

ALL = (*KINDS, *PREDICT, *TRAIN, *EVALUATE)
GOOD = ("refused", "right", "own state")
_TARGETS = {"labels": ("label", "classification"), "numbers": ("score", "regression")}


@dataclass
class Made:
    """What all cases begin from.

    Attributes:
        base: A tiny base model.
        label: A saved classification run.
        rows: Rows to predict, and to evaluate.
        partial: Folder of a prediction that was killed in its middle.
        whole: Bytes of the same prediction, not killed.
        stopped: Folder of a run that was killed before its model was saved.
        said: What the same run's model says, not killed.
    """

    base: Path
    label: Path
    rows: Path
    partial: Path
    whole: bytes
    stopped: Path
    said: list[Any]


def prepare(work: Path) -> Made:
    """Train, predict and stop what the cases change."""
    runs = make_runs(work / "runs")
    partial = work / "partial"
    partial.mkdir()
    trained = predgen.load(runs.label)

    def stop(rows: int, done: list[int] = [0]) -> None:  # noqa: B006  (counts over the calls)
        done[0] += rows
        if done[0] >= 24:
            raise InterruptedError

    try:
        predict_file(trained, runs.data, partial / "out.csv", window_rows=8, on_rows=stop)
    except InterruptedError:
        predict_file(trained, runs.data, work / "whole.csv", window_rows=8)
    base = tiny_base(work / "tiny")
    whole = training(base, work / "trained")
    if os.fork() == 0:
        _Run._report = lambda *arguments: os._exit(0)  # type: ignore[assignment]  # after training, before saving
        training(base, work / "stopped")
    os.wait()
    return Made(
        runs.base,
        runs.label,
        runs.data,
        partial,
        (work / "whole.csv").read_bytes(),
        work / "stopped",
        whole,
    )


def training(base: Path, out: Path, *, resume: bool = False) -> list[Any]:
    """A run with checkpoints; returns what its model says."""
    data = tiny_data("classification", 8, 2)
    settings = {**RESUMABLE, "epochs": 1.0, "eval_steps": 1}
    trained = tiny_run(base, "classification", data, out, resume=resume, **settings)
    return [(p.value, p.probabilities) for p in trained.predict([{"text": "a dull book"}, {"text": "good wine"}])]


def case(made: Made, seed: int, work: Path) -> dict[str, Any]:
    """Make one case and see how it ends."""
    rng = random.Random(seed)
    kind, folder = ALL[seed % len(ALL)], work / "case"
    shutil.rmtree(folder, ignore_errors=True)
    what, act = (of_input if kind in KINDS else of_state)(made, kind, rng, folder)
    outcome = outcome_of(act, folder)
    if (folder / "canary").exists():
        outcome = "code"
    return {"seed": seed, "kind": kind, "what": what, "outcome": outcome}


def of_state(made: Made, kind: str, rng: random.Random, folder: Path) -> tuple[str, Callable[[], str]]:
    """A changed state, and the call that goes on from it."""
    if kind in PREDICT:
        shutil.copytree(made.partial, folder)
        return PREDICT[kind](folder, rng), lambda: _predicted_on(made, folder)
    if kind in TRAIN:
        shutil.copytree(made.stopped, folder)
        bad = "own state" if kind in ("trainer_state", "checkpoint_files") else "wrong"
        base = made.stopped.parent / "tiny"
        return TRAIN[kind](folder, rng), lambda: "right" if training(base, folder, resume=True) == made.said else bad
    shutil.copytree(made.label, folder)
    return EVALUATE[kind](folder, rng), lambda: ending(
        command("evaluate", folder, "--data", made.rows),
        lambda: bool(command("evaluate", made.label, "--data", made.rows).exit_code),
    )


def _predicted_on(made: Made, folder: Path) -> str:
    """Go on with a prediction; whatever stood there, all rows are there in the end, and once."""
    predict_file(predgen.load(made.label), made.rows, folder / "out.csv", window_rows=8)
    return "right" if (folder / "out.csv").read_bytes() == made.whole else "wrong"


def of_input(made: Made, kind: str, rng: random.Random, folder: Path) -> tuple[str, Callable[[], str]]:
    """A hostile input, and a command that reads it."""
    folder.mkdir()
    target, task = _TARGETS.get(kind, ("label", "classification"))
    name = rng.choice(
        ["train", "validate"]
        if kind in _TARGETS
        else ["predict", "predict", "predict", "evaluate", "validate", "train"]
    )
    path, rows = KINDS[kind](folder, rng)
    asked = ("--data", path, "--prompt", PROMPT, "--target", target, "--kind", task, "--model", made.base)
    out = folder / rng.choice(["out.jsonl", "out.csv"])
    calls: dict[str, Callable[[], str]] = {
        "predict": lambda: ending(command("predict", made.label, path, "-o", out), lambda: is_right(made, out, rows)),
        "evaluate": lambda: ending(
            command("evaluate", made.label, "--data", path, "--with-trained-rows"), lambda: True
        ),
        "validate": lambda: ending(command("validate", *asked), lambda: True),
        "train": lambda: ending(
            command("train", *asked, "--max-steps", "1", "--rank", "2", "--batch-size", "4", "--out", folder / "run"),
            lambda: len(predgen.load(folder / "run").predict([{"text": "a"}])) == 1,
        ),
    }
    return f"{name} {path.name[:40]!r}", calls[name]


def ending(result: Result, is_right: Callable[[], bool]) -> str:
    """What a command's result comes to."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return told(result.exception)
    shown = result.stdout + result.stderr
    if any(unicodedata.category(c) == "Cc" and c not in "\n\t\r" for c in shown) or "\u202e" in shown:
        return "steers the terminal"
    if result.exit_code == 0:
        return "right" if is_right() else "wrong"
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return (
        "refused" if result.exit_code == 2 and len(errors) == 1 else f"error status {result.exit_code}: {shown[-80:]!r}"
    )


def is_right(made: Made, out: Path, rows: Rows | None) -> bool:
    """Whether an output holds the rows, in their order, each with what the model says of its text alone."""
    if out.suffix == ".csv":
        csv.field_size_limit(1 << 30)
        with out.open(encoding="utf-8", newline="") as file:
            found = list(csv.DictReader(file))
    else:
        found = [json.loads(line) for line in out.read_text(encoding="utf-8").split("\n")[:-1]]
    if rows is None:
        return bool(found) and all(row["prediction"] in ("good", "bad") for row in found)
    trained = predgen.load(made.label, merge_adapter=True)
    said = [trained.predict([{"text": row["text"]}])[0].value for row in rows[:8]]
    expected = [{**row, "prediction": value} for row, value in zip(rows, said, strict=False)]
    return len(found) == len(rows) and found[:8] == expected


def main() -> None:
    """Run a campaign; the cases and counts are printed as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    given.work.mkdir(parents=True, exist_ok=True)
    made = prepare(given.work)
    found = []
    for i in range(given.cases):
        found.append(case(made, given.seed + i, given.work))
        print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    counts = {kind: dict(Counter(c["outcome"].split(":")[0] for c in found if c["kind"] == kind)) for kind in ALL}
    wrong = [c for c in found if c["outcome"] not in GOOD]
    print(json.dumps({"cases": len(found), "counts": counts, "wrong": wrong}, indent=1))


if __name__ == "__main__":
    main()
