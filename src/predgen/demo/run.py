"""`predgen demo`: get a real base model, train it on two targets, measure it beside a baseline, save, predict, draw.

generated opinions -> CSV files -> `train` per target -> test rows -> table, results.json, picture -> `predict_file`
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from predgen.baselines.linear import Tfidf
from predgen.bases.fetch import get_base
from predgen.bases.find import EMBEDDED
from predgen.config import RunConfig
from predgen.core import Example, Kind, Target
from predgen.demo.measured import Measured
from predgen.demo.opinions import make_opinions
from predgen.demo.picture import draw_results
from predgen.errors import ModelError
from predgen.escaping import in_line
from predgen.figures import number
from predgen.inference.stream import predict_file
from predgen.inference.trained import TrainedModel
from predgen.metrics.measure import measure, measure_intervals
from predgen.terminal import PlainConsole
from predgen.training.run import train

BASELINE = "tf-idf"
METHOD = "predgen"
SETTINGS: dict[str, dict[str, Any]] = {
    "smollm2": {"epochs": 1.0, "dtype": "auto"},  # all else as shipped
    EMBEDDED: {"peft": "full", "batch_size": 8, "learning_rate": 7e-4, "epochs": 2.0},
}
"""Settings by base model; chosen on the validation rows."""
N_ROWS = {"n_train": 640, "n_validation": 100, "n_test": 300}


@dataclass(frozen=True, slots=True)
class DemoTask:
    """One of the two targets.

    Attributes:
        name: Column of the target.
        kind: Kind of task.
        prompt: Prompt template.
        metrics: Metrics of the table.
        settings: What this target needs beside `SETTINGS`.
    """

    name: str
    kind: Kind
    prompt: str
    metrics: tuple[str, ...]
    settings: Mapping[str, Any]


TASKS = (
    DemoTask("label", "classification", "{text}\nVerdict:", ("accuracy", "macro_f1"), {"class_weight": "balanced"}),
    # Whole numbers are written, and their exact mean is predicted: eleven answers cost less than a hundred.
    DemoTask("score", "regression", "{text}\nScore:", ("r2", "mae"), {"decimals": 0}),
)
NEW_TEXTS = (
    "The play was not very good, but the actors were splendid.",
    "The waiter was charming, but the supper was dreadful.",
    "The journey was anything but dull, and the landlord was excellent.",
)


def run_demo(out: Path, console: PlainConsole) -> list[Measured]:
    """Run the demonstration.

    Args:
        out: Folder for data, models, predictions, figures (`results.json`, `results.png`); replaced run by run.
        console: Where to show it.

    Returns:
        All figures of the table.
    """
    base = _base(console)
    splits = make_opinions(**N_ROWS, seed=0)
    files = {name: _write_csv(rows, out / "data" / f"{name}.csv") for name, rows in splits.items()}
    console.print(
        f"Data: {', '.join(f'{len(rows)} {name}' for name, rows in splits.items())} rows in {in_line(str(out / 'data'))}."
    )
    console.print("Validation and test rows have nouns, and 10 % adjectives, that no training row has.")
    console.print(
        "Scores are written as whole numbers; what is predicted is a mean over them, so decimals are not lost."
    )
    results: list[Measured] = []
    predicted: dict[str, dict[str, list[Any]]] = {}
    models: dict[str, TrainedModel] = {}
    for task in TASKS:
        folder = out / f"{task.name}-{METHOD}"
        models[task.name] = train(_config(task, base, files), folder, overwrite=folder.exists(), console=console)
        predicted[task.name] = {
            BASELINE: _baseline(task, splits),
            METHOD: [prediction.value for prediction in models[task.name].predict(splits["test"])],
        }
        for method, values in predicted[task.name].items():
            results += _measure(task, method, values, splits["test"])
    _show(results, base, console)
    (out / "results.json").write_text(json.dumps([_as_dict(m) for m in results], indent=1) + "\n", encoding="utf-8")
    scores = [float(row["score"]) for row in splits["test"]]
    draw_results(results, scores, predicted["score"], out / "results.png")
    _predict(out, models, console)
    return results


def _base(console: PlainConsole) -> str:
    """The real base, or the embedded one where it cannot be had."""
    name = next(iter(SETTINGS))
    try:
        get_base(name, say=console.print)
    except ModelError as error:
        console.print(f"{error}\nThe demonstration runs on the small embedded model instead, which knows much less.")
        return EMBEDDED
    return name


def _write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Write one split."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _config(task: DemoTask, base: str, files: Mapping[str, Path]) -> RunConfig:
    """Settings of one target's run."""
    return RunConfig(
        data=str(files["train"]),
        validation_data=str(files["validation"]),
        prompt=task.prompt,
        target=task.name,
        kind=task.kind,
        model=base,
        method=METHOD,
        **SETTINGS[base],
        **task.settings,
    )


def _baseline(task: DemoTask, splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Any]:
    """TF-IDF of words and word pairs with ridge or logistic regression."""
    train, validation, test = (
        [Example(i, {"text": row["text"]}, Target(row[task.name])) for i, row in enumerate(splits[name])]
        for name in ("train", "validation", "test")
    )
    return [prediction.value for prediction in Tfidf().fit_rows(train, validation, task.kind).predict(test)]


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


def _show(results: Sequence[Measured], base: str, console: PlainConsole) -> None:
    """Print the table."""
    table = Table(title=f"Test rows, 95 % bootstrap intervals over rows; base {base}", title_justify="left")
    for column in ("target", "method", "first metric", "second metric"):
        table.add_column(column)
    for task in TASKS:
        table.add_section()
        for method in (BASELINE, METHOD):
            cells = [m for m in results if m.task == task.name and m.method == method]
            table.add_row(
                task.name, method, *(f"{m.metric} {number(m.value)} [{number(m.low)}, {number(m.high)}]" for m in cells)
            )
    console.print(table)


def _predict(out: Path, models: Mapping[str, TrainedModel], console: PlainConsole) -> None:
    """Predict new texts as `predgen predict` does, and say what to do next."""
    sample = _write_csv([{"text": text} for text in NEW_TEXTS], out / "data" / "new-opinions.csv")
    target = out / "predictions.csv"
    predict_file(models["label"], sample, target, proba=True, overwrite=True)
    with target.open(encoding="utf-8", newline="") as file:
        labels = list(csv.DictReader(file))
    scores = models["score"].predict(sample)
    console.print(f"\nNew texts ({in_line(str(target))}):")
    for row, score in zip(labels, scores, strict=True):
        probability = max(float(value) for name, value in row.items() if name.startswith("p("))
        console.print(f"  {row['text']}\n    {row['prediction']} ({probability:.0%}), score {score.value:.1f} of 10")
    console.print(f"Table: {in_line(str(out / 'results.json'))}   picture: {in_line(str(out / 'results.png'))}")
    console.print(
        "Next, your own file:\n"
        "  predgen train --data my.csv --prompt 'Review: {text}\\nScore:' --target score --kind regression --out RUN\n"
        "  predgen evaluate RUN --data test.csv\n"
        "  predgen predict RUN new.csv -o predictions.csv",
        soft_wrap=True,
    )
