"""One short run per known task and method, beside predicting the majority label or the mean, and the table of them.

    .venv/bin/python tools/every_task.py run --data-dir DIR --out RESULTS [--share 0/2]
    .venv/bin/python tools/every_task.py table --out RESULTS

DIR holds one folder per task with its publisher's files. Each run is one JSON file; runs that exist are not repeated.
Figures are on validation rows, which also select the checkpoint. Tasks that are only measured on (math) take a model
that was trained on GSM8K, and their test rows. A method is better than the baseline where the 95 % bootstrap interval of
the paired difference over rows leaves out 0.
"""

import argparse
import json
import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

METHODS = ("predictor", "generator", "predgen")
METRICS = {"classification": "accuracy", "regression": "mse", "math": "exact_match"}
SETTINGS: dict[str, Any] = {
    "batch_size": 8,
    "learning_rate": 7e-4,
    "peft": "full",
    "epochs": 2.0,
    "rationale": False,
    "bad_rows": "skip",
}


def run(
    data_dir: str,
    model: str,
    out: Path,
    methods: Sequence[str],
    share: tuple[int, int],
    tokens: int,
    scored_rows: int,
) -> None:
    """Make all runs of a share that are still missing."""
    from predgen import registries

    out.mkdir(parents=True, exist_ok=True)
    grid = [(task, method) for task in registries.tasks for method in methods]
    for task, method in grid[share[0] :: share[1]]:
        path = out / f"{task}-{method}.json"
        if not path.exists():
            draft = path.with_suffix(".new")
            draft.write_text(json.dumps(_one(task, method, data_dir, model, tokens, scored_rows), indent=1) + "\n")
            os.replace(draft, path)
            print(path.stem, flush=True)


def _one(name: str, method: str, data_dir: str, model: str, tokens: int, scored_rows: int) -> dict[str, Any]:
    """Train on a task's rows, or on GSM8K's where it has none, and compare with the baseline on the same rows."""
    from predgen import registries
    from predgen.config import RunConfig
    from predgen.data.splits import limit_rows
    from predgen.evaluation import rows_to_measure
    from predgen.metrics.base import evaluate_metrics
    from predgen.metrics.intervals import paired_difference
    from predgen.training.prepare import TrainingData, load_data
    from predgen.training.run import train

    task = registries.tasks.get(name)
    source = name if "train" in task.files else "gsm8k"
    config = RunConfig(task=source, data_dir=str(data_dir), model=model, method=method, **SETTINGS)
    with tempfile.TemporaryDirectory() as skipped:  # rows whose target is no number (math_10k)
        data = load_data(config, Path(skipped))
    small = TrainingData(data.task, _within(config, data, tokens), limit_rows(data.validation, scored_rows, 0))
    trained = train(config, data=small)
    rows = small.validation
    if source != name:
        rows = limit_rows(rows_to_measure(trained, split="test", task=name), scored_rows, 0)
    targets = [row.target.value for row in rows if row.target is not None]
    predictions = trained.predict_examples(rows)
    values = [p.value for p in predictions]
    constant = _constant([row.target.value for row in small.train if row.target is not None], task.kind)
    metric = METRICS[task.kind]
    found = [evaluate_metrics([metric], targets, v, None, None)[metric] for v in (values, [constant] * len(rows))]
    gap = paired_difference(metric, targets, values, [constant] * len(rows))
    return {
        "task": name,
        "method": method,
        "metric": metric,
        "value": found[0],
        "baseline": found[1],
        "difference": [gap.difference, gap.low, gap.high],
        "greater_is_better": registries.metrics.get(metric).greater_is_better,
        "trained_on": source,
        "train_rows": len(small.train),
        "training_tokens": trained.report["train_tokens_per_epoch"] * SETTINGS["epochs"],
        "scored_rows": len(rows),
        "config": config.to_dict(),
    }


def _within(config: Any, data: Any, tokens: int) -> list[Any]:  # noqa: ANN401
    """As many training rows as a budget of tokens allows, all passes counted."""
    from predgen.data.encode import Encoder
    from predgen.data.splits import limit_rows
    from predgen.models.base_model import load_tokenizer

    encoder = Encoder(load_tokenizer(config.model), data.task.prompt, None, max_length=config.max_length)
    lengths = [len(encoder.encode(replace(row, target=None)).prompt_ids) for row in data.train[:300]]
    answer_tokens = 8  # a label or a number with its stop, rounded up
    budget = int(tokens / (config.epochs * (statistics.fmean(lengths) + answer_tokens)))
    return limit_rows(data.train, min(budget, len(data.train)), config.seed)


def _constant(targets: Sequence[Any], kind: str) -> Any:  # noqa: ANN401
    """The best constant of the training rows: their mean, or what is most frequent."""
    return statistics.fmean(targets) if kind == "regression" else Counter(targets).most_common(1)[0][0]


def table(out: Path) -> str:
    """Markdown table: each method's figure, with the interval of its difference from the baseline."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("*.json"))]
    methods = [method for method in METHODS if any(result["method"] == method for result in results)]
    lines = [
        "| task | train rows | scored rows | metric | baseline | "
        + " | ".join(methods)
        + " | better than the baseline |",
        "|---|---|---|---|---|" + "---|" * (len(methods) + 1),
    ]
    for task in dict.fromkeys(result["task"] for result in results):
        of = {result["method"]: result for result in results if result["task"] == task}
        first = next(iter(of.values()))
        cells = [_cell(of[method]) if method in of else "-" for method in methods]
        better = [method for method in methods if method in of and _is_better(of[method])]
        rows = f"{first['train_rows']}" + (f" ({first['trained_on']})" if first["trained_on"] != task else "")
        lines.append(
            f"| {task} | {rows} | {first['scored_rows']} | {first['metric']} | {first['baseline']:.3f} | "
            + " | ".join(cells)
            + f" | {', '.join(better) or 'none: not learnable at this size'} |"
        )
    return "\n".join(lines)


def _cell(result: dict[str, Any]) -> str:
    """A figure and the interval of its difference."""
    _, low, high = result["difference"]
    return f"{result['value']:.3f} [{low:+.3f}, {high:+.3f}]"


def _is_better(result: dict[str, Any]) -> bool:
    """Whether the interval of the difference lies on the good side of 0."""
    _, low, high = result["difference"]
    return bool(low > 0 if result["greater_is_better"] else high < 0)


def main(arguments: Iterable[str] | None = None) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--data-dir")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--share", default="0/1")
    parser.add_argument("--tokens", type=int, default=24_000, help="training tokens of a run, all passes counted")
    parser.add_argument("--scored-rows", type=int, default=200)
    given = parser.parse_args(list(arguments) if arguments is not None else None)
    if given.what == "table":
        print(table(given.out))
    else:
        first, of = (int(part) for part in given.share.split("/"))
        run(given.data_dir, given.model, given.out, given.methods, (first, of), given.tokens, given.scored_rows)


if __name__ == "__main__":
    main()
