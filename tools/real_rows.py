"""Train the three methods on real rows under equal budgets, beside TF-IDF with a linear model, and write the table.

    .venv/bin/python tools/real_rows.py run --data-dir DIR --model MODEL --out RESULTS [--share 0/2]
    .venv/bin/python tools/real_rows.py table --out RESULTS

Each run is one JSON file with its settings, seed, metrics and intervals; runs that exist are not repeated. `--share i/n`
takes every n-th run, so that several processes share the work. Figures are on validation rows, which also select the
checkpoint; test rows are not touched.
"""

import argparse
import json
import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

TASKS = ("sick", "stsb", "wassa", "sst2")
METHODS = ("predictor", "generator", "predgen")
SEEDS = (0, 1, 2)
TRAINING_TOKENS = 40_000
SCORED_ROWS = 250
EPOCHS = 2
SETTINGS: dict[str, Any] = {"batch_size": 8, "learning_rate": 7e-4, "peft": "full", "epochs": EPOCHS}
SHOWN = {
    "sick": ("pearson", "mse"),
    "stsb": ("pearson", "mse"),
    "wassa": ("pearson", "mse"),
    "sst2": ("accuracy", "log_loss"),
}


def run(data_dir: str, model: str, out: Path, share: tuple[int, int]) -> None:
    """Make all runs of a share that are still missing."""
    out.mkdir(parents=True, exist_ok=True)
    grid = [(task, method, seed) for seed in SEEDS for task in TASKS for method in ("tf-idf", *METHODS)]
    for task, method, seed in grid[share[0] :: share[1]]:
        path = out / f"{task}-{method}-{seed}.json"
        if not path.exists():
            result = _one(task, method, seed, data_dir, model)
            draft = path.with_suffix(".new")
            draft.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            os.replace(draft, path)
            print(path.stem, {k: round(v, 3) for k, v in result["metrics"].items()}, flush=True)


def _one(task: str, method: str, seed: int, data_dir: str, model: str) -> dict[str, Any]:
    """One run: the same rows for every method of a task and seed."""
    from predgen.config import RunConfig
    from predgen.data.splits import limit_rows
    from predgen.models.base_model import load_tokenizer
    from predgen.training.prepare import TrainingData, load_data

    config = RunConfig(
        task=task,
        data_dir=data_dir,
        model=model,
        method="predgen" if method == "tf-idf" else method,
        seed=seed,
        **SETTINGS,
    )
    data = load_data(config)
    # The budget counts prompt and answer of the methods that write; the Predictor gets the same rows.
    rows = TRAINING_TOKENS // (EPOCHS * _tokens_per_row(config, data, load_tokenizer(model)))
    small = TrainingData(
        data.task, limit_rows(data.train, int(rows), seed), limit_rows(data.validation, SCORED_ROWS, seed)
    )
    record = {
        "task": task,
        "method": method,
        "seed": seed,
        "train_rows": len(small.train),
        "scored_rows": len(small.validation),
    }
    if method == "tf-idf":
        return {**record, **_tf_idf(small)}
    return {**record, **_train(replace(config, limit=None), small)}


def _tokens_per_row(config: Any, data: Any, tokenizer: Any) -> float:  # noqa: ANN401
    """Mean length of prompt and answer over the first 500 training rows."""
    from predgen.training.prepare import make_codec, make_encoder, make_setup

    setup = make_setup(config, data.task, data.train)
    codec = make_codec(config, data.task, setup.labels, data.train, tokenizer)
    encoder = make_encoder(config, data.task, codec, setup.labels, tokenizer, None)
    rows = [encoder.encode(example) for example in data.train[:500]]
    return statistics.fmean(len(r.prompt_ids) + len(r.answer_ids) for r in rows)


def _train(config: Any, data: Any) -> dict[str, Any]:  # noqa: ANN401
    """Train and measure a model."""
    from predgen.evaluation import evaluate
    from predgen.training.run import train

    trained = train(config, data=data)
    found = evaluate(trained, data.validation)
    tokens = trained.report["train_tokens_per_epoch"] * EPOCHS
    return {**found.to_dict(), "training_tokens": tokens, "report": trained.report, "config": config.to_dict()}


def _tf_idf(data: Any) -> dict[str, Any]:  # noqa: ANN401
    """TF-IDF of words and word pairs, ridge or logistic regression; strength by cross-validation in the training rows."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegressionCV, RidgeCV
    from sklearn.pipeline import make_pipeline

    from predgen.metrics.base import evaluate_metrics
    from predgen.metrics.intervals import bootstrap_interval

    texts = [[" / ".join(e.fields.values()) for e in part] for part in (data.train, data.validation)]
    targets = [[e.target.value for e in part] for part in (data.train, data.validation)]
    strengths = np.logspace(-2, 3, 11)
    is_labels = data.task.kind == "classification"
    linear: Any = (
        LogisticRegressionCV(
            Cs=strengths, max_iter=5000, l1_ratios=(0.0,), scoring="accuracy", use_legacy_attributes=False
        )
        if is_labels
        else RidgeCV(strengths)
    )
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), linear).fit(texts[0], targets[0])
    values = list(model.predict(texts[1]))
    labels = tuple(model.classes_) if is_labels else None
    probabilities = model.predict_proba(texts[1]) if is_labels else None
    names = data.task.metrics
    return {
        "rows": len(values),
        "metrics": evaluate_metrics(names, targets[1], values, probabilities, labels),
        "intervals": {n: bootstrap_interval(n, targets[1], values, probabilities, labels) for n in names},
        "training_tokens": None,
    }


def table(out: Path) -> str:
    """Markdown table: mean over seeds, lowest and highest seed, and the seed-0 interval over rows."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("*.json"))]
    lines = ["| task | metric | " + " | ".join(("tf-idf", *METHODS)) + " |", "|---|---|" + "---|" * (1 + len(METHODS))]
    for task in TASKS:
        for metric in SHOWN[task]:
            cells = [
                _cell([r for r in results if (r["task"], r["method"]) == (task, m)], metric)
                for m in ("tf-idf", *METHODS)
            ]
            lines.append(f"| {task} | {metric} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(results: Sequence[dict[str, Any]], metric: str) -> str:
    """One cell of the table."""
    if not results:
        return "-"
    values = [r["metrics"][metric] for r in results]
    low, high = next((r["intervals"][metric] for r in results if r["seed"] == 0), (float("nan"), float("nan")))
    return f"{statistics.fmean(values):.3f} ({min(values):.3f}..{max(values):.3f}) [{low:.3f}, {high:.3f}]"


def main(arguments: Iterable[str] | None = None) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--data-dir", default=None)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--share", default="0/1")
    given = parser.parse_args(list(arguments) if arguments is not None else None)
    if given.what == "table":
        print(table(given.out))
    else:
        first, of = (int(part) for part in given.share.split("/"))
        run(given.data_dir, given.model, given.out, (first, of))


if __name__ == "__main__":
    main()
