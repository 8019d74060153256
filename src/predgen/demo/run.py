"""`predgen demo`: train three methods on generated opinions, measure them beside a baseline, save, predict, draw."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from predgen.baselines import tfidf
from predgen.config import RunConfig
from predgen.core import Example, Kind, Target
from predgen.data.sources import read_rows
from predgen.demo.measured import Measured
from predgen.demo.opinions import make_opinions
from predgen.demo.picture import draw_results
from predgen.escaping import in_line
from predgen.figures import number
from predgen.inference.stream import predict_file
from predgen.inference.trained import TrainedModel
from predgen.metrics.measure import measure, measure_intervals
from predgen.paper.published import COMPARED
from predgen.terminal import PlainConsole
from predgen.training.run import train

TRAINING_TOKENS = 40_000
"""Budget of each run: prompt and answer tokens, all passes counted."""
SETTINGS: dict[str, Any] = {"batch_size": 8, "learning_rate": 7e-4, "peft": "full"}
"""The same for every method; chosen on the validation rows."""


@dataclass(frozen=True, slots=True)
class DemoTask:
    """One of the two targets.

    Attributes:
        name: Column of the target.
        kind: Kind of task.
        prompt: Prompt template.
        metrics: Metrics of the table.
    """

    name: str
    kind: Kind
    prompt: str
    metrics: tuple[str, ...]


TASKS = (
    DemoTask("score", "regression", "{text}\nScore:", ("r2", "mae")),
    DemoTask("label", "classification", "{text}\nVerdict:", ("accuracy", "macro_f1")),
)


def run_demo(out: Path, console: PlainConsole) -> list[Measured]:
    """Run the demonstration.

    Args:
        out: Folder for data, models, predictions, figures (`results.json`, `results.png`); replaced run by run.
        console: Where to show it.

    Returns:
        All figures of the table.
    """
    splits = make_opinions(n_train=1000, n_validation=200, n_test=400, seed=0)
    files = {name: _write_csv(rows, out / "data" / f"{name}.csv") for name, rows in splits.items()}
    console.print(
        f"Data: {', '.join(f'{len(rows)} {name}' for name, rows in splits.items())} rows in {in_line(str(out / 'data'))}."
    )
    console.print("Validation and test rows have nouns, and 10 % adjectives, that no training row has.")
    results: list[Measured] = []
    for task in TASKS:
        results += _measure(task, "tf-idf", _baseline(task, splits), splits["test"])
        for method in COMPARED:
            folder = out / f"{task.name}-{method}"
            trained = train(_config(task, method, files), folder, overwrite=folder.exists(), console=console)
            results += _test(task, method, trained, splits["test"])
    _show(results, console)
    (out / "results.json").write_text(json.dumps([_as_dict(m) for m in results], indent=1) + "\n", encoding="utf-8")
    draw_results(results, out / "results.png")
    _predict(out, trained, files, console)
    return results


def _write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Write one split."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _config(task: DemoTask, method: str, files: Mapping[str, Path]) -> RunConfig:
    """Equal budgets: as many optimizer steps as fit into the training tokens."""
    text = sum(len(str(row["text"])) for row in read_rows(files["train"])) / sum(1 for _ in read_rows(files["train"]))
    tokens_per_row = (
        text + len(task.prompt)
    ) / 3.7 + 5  # the embedded tokenizer's 3.7 characters a token, and an answer
    steps = int(TRAINING_TOKENS / (SETTINGS["batch_size"] * tokens_per_row))
    return RunConfig(
        data=str(files["train"]),
        validation_data=str(files["validation"]),
        prompt=task.prompt,
        target=task.name,
        kind=task.kind,
        method=method,
        max_steps=steps,
        eval_steps=math.ceil(steps / 2),
        **SETTINGS,
    )


def _baseline(task: DemoTask, splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Any]:
    """TF-IDF of words and word pairs with ridge or logistic regression."""
    train, validation, test = (
        [Example(i, {"text": row["text"]}, Target(row[task.name])) for i, row in enumerate(splits[name])]
        for name in ("train", "validation", "test")
    )
    return tfidf(train, validation, test, task.kind, task.metrics[0]).values


def _test(task: DemoTask, method: str, trained: TrainedModel, rows: Sequence[Mapping[str, Any]]) -> list[Measured]:
    """Measure a trained model on the test rows."""
    predictions = trained.predict(rows)
    return _measure(task, method, [p.value for p in predictions], rows)


def _measure(
    task: DemoTask,
    method: str,
    values: Sequence[Any],
    rows: Sequence[Mapping[str, Any]],
) -> list[Measured]:
    """Metrics with their intervals."""
    targets = [row[task.name] for row in rows]
    points = measure(task.metrics, targets, values)
    intervals = measure_intervals(task.metrics, targets, values)
    return [Measured(task.name, method, name, points[name], *intervals[name]) for name in task.metrics]


def _as_dict(measured: Measured) -> dict[str, Any]:
    """Plain JSON data."""
    return {name: getattr(measured, name) for name in Measured.__slots__}


def _show(results: Sequence[Measured], console: PlainConsole) -> None:
    """Print the table."""
    table = Table(title="Test rows, 95 % bootstrap intervals over rows", title_justify="left")
    for column in ("target", "method", "first metric", "second metric"):
        table.add_column(column)
    for task in TASKS:
        table.add_section()
        for method in ("tf-idf", *COMPARED):
            cells = [m for m in results if m.task == task.name and m.method == method]
            table.add_row(
                task.name, method, *(f"{m.metric} {number(m.value)} [{number(m.low)}, {number(m.high)}]" for m in cells)
            )
    console.print(table)


def _predict(out: Path, trained: TrainedModel, files: Mapping[str, Path], console: PlainConsole) -> None:
    """Predict a small file as `predgen predict` does, and say what to do next."""
    sample, target = out / "data" / "new-opinions.csv", out / "predictions.csv"
    texts = [
        "At the theatre, the play was not very good, but the actors were splendid.",
        "The dinner was a dreadful bore.",
    ]
    _write_csv([{"text": text} for text in texts], sample)
    predict_file(trained, sample, target, proba=True, overwrite=True)
    console.print(f"\nPredictions for {in_line(str(sample))} (model {in_line(str(out / 'label-predgen'))}):")
    console.print(target.read_text(encoding="utf-8"))
    console.print(f"Table: {in_line(str(out / 'results.json'))}   picture: {in_line(str(out / 'results.png'))}")
    console.print(
        "Next, your own file:\n"
        "  predgen train --data my.csv --prompt 'Review: {text}\\nScore:' --target score --kind regression --out RUN\n"
        "  predgen evaluate RUN --data test.csv\n"
        "  predgen predict RUN new.csv -o predictions.csv",
        soft_wrap=True,
    )
