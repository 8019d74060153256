"""Make the table of docs/uncertainty.md from an experiment whose models were kept: what calibration is worth on test rows.

    predgen compare --plan plan.yaml --keep-models --out EXP
    python tools/uncertainty_table.py EXP OUT      # one JSON file per run in OUT; those that are there are not made again
    python tools/uncertainty_table.py EXP OUT --table-only

Each calibrated run is measured on the test rows of its record: NLL, Brier score, ECE or CRPS before and after its temperature, realised
coverage and size of sets or width of intervals at 0.8, 0.9 and 0.95, and error among the most confident rows. The rows that calibrated
it and its test rows are then dealt out anew, ten times by seed, one half to calibrate and one to be covered. A Predictor is the
sequence-classification head that people would use instead; MAPIE stands beside it, on the same calibration rows at temperature 1.
"""

import argparse
import json
import math
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from predgen.compare.plan import Cell
from predgen.compare.rows import load_rows
from predgen.core import Example, Prediction
from predgen.errors import ConfigError
from predgen.figures import number
from predgen.files import write_text
from predgen.inference.facts import whole_decoding
from predgen.inference.guarantees import Promised
from predgen.inference.trained import TrainedModel, load
from predgen.metrics.probabilities import confidence
from predgen.metrics.rows import Rows
from predgen.records import Record, read_records
from predgen.training.calibrated import dealt
from predgen.training.run import LEAST_EVAL_ROWS
from predgen.uncertainty.abstention import curve
from predgen.uncertainty.calibrate import (
    CalibrationRows,
    facts_of_labels,
    facts_of_numbers,
    record_of_labels,
    record_of_numbers,
)

COVERAGES = (0.8, 0.9, 0.95)
RESPLITS = 10
ANSWERED = (1.0, 0.9, 0.8, 0.5)
_FIGURES = ("nll", "brier", "ece", "crps")
Floats = npt.NDArray[np.float64]


def main() -> None:
    """Measure what is not measured yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--table-only", action="store_true")
    given = parser.parse_args()
    if not given.table_only:
        measure_all(given.experiment, given.out)
    print(table([json.loads(path.read_text(encoding="utf-8")) for path in sorted(given.out.glob("*.json"))]))


def measure_all(experiment: Path, out: Path) -> None:
    """Measure every run that has a kept, calibrated model and no file yet."""
    out.mkdir(parents=True, exist_ok=True)
    for record in read_records(experiment):
        folder, path = experiment / "models" / record.id, out / f"{record.id}.json"
        if record.status != "done" or path.exists() or not folder.is_dir():
            continue
        trained = load(folder)
        if trained.calibration is None:
            print(f"{record.id}: not calibrated, left out")
            continue
        found = measured(trained, record)
        write_text(path, json.dumps(found, indent=1) + "\n")
        print(f"{record.id}: done")


def measured(trained: TrainedModel, record: Record) -> dict[str, Any]:
    """Figures of one run on its test rows."""
    cell = Cell.from_dict(record.cell)
    rows = load_rows(cell)
    tests = rows.tests[record.task]
    after = _predicted(trained, tests)
    before = _at_one(trained, lambda: _predicted(trained, tests))
    facts = {"before": _facts(trained, tests, before), "after": _facts(trained, tests, after)}
    found: dict[str, Any] = {"task": record.task, "variant": record.variant, "seed": record.seed, "rows": len(tests)}
    assert trained.calibration is not None
    found |= {"temperature": trained.calibration.temperature, "calibration_rows": trained.calibration.rows}
    found |= {when: {n: v for n, v in own.items() if n in _FIGURES and v is not None} for when, own in facts.items()}
    found["coverage"] = {str(c): _covered(trained, tests, after, c) for c in COVERAGES}
    if trained.labels:
        sure, right = _confidence(trained, tests, after)
        found["error"] = {str(p["answered"]): p["error"] for p in curve(sure, right, ANSWERED)}
    most = trained.config.eval_rows or max(LEAST_EVAL_ROWS, len(rows.training.train))
    spared = dealt(rows.training.validation, most, trained.config, trained.task.kind)[1]
    found["resplits"] = _resplit(trained, [*spared, *tests], [*_predicted(trained, spared), *after])
    if trained.config.method == "predictor":
        plain = _at_one(trained, lambda: _predicted(trained, spared))
        found["mapie"] = _mapie(trained, (spared, plain), (tests, before))
    return found


def _predicted(trained: TrainedModel, rows: Sequence[Example]) -> list[Prediction]:
    """Predictions with their distributions."""
    return trained.predict_examples(rows, decoding=whole_decoding(trained.model))


def _at_one(trained: TrainedModel, predict: Callable[[], list[Prediction]]) -> list[Prediction]:
    """Predictions of the model as it was trained."""
    kept, trained.model.temperature = trained.model.temperature, 1.0
    try:
        return predict()
    finally:
        trained.model.temperature = kept


def _targets(rows: Sequence[Example]) -> list[str | float]:
    """True answers."""
    return [row.target.value for row in rows if row.target is not None]


def _facts(trained: TrainedModel, rows: Sequence[Example], told: Sequence[Prediction]) -> dict[str, Any]:
    """NLL and what belongs to it."""
    known = CalibrationRows(_targets(rows))
    return facts_of_labels(known, told, trained.labels) if trained.labels else facts_of_numbers(known, told)


def _confidence(
    trained: TrainedModel, rows: Sequence[Example], told: Sequence[Prediction]
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """P(predicted label), and whether it is right."""
    columns = ([p.value for p in told], [p.probabilities for p in told], trained.labels)
    return confidence(Rows.checked("classification", _targets(rows), *columns))


def _covered(
    trained: TrainedModel, rows: Sequence[Example], told: Sequence[Prediction], coverage: float
) -> list[float] | None:
    """Realised coverage, and mean size or width; None where there are too few calibration rows."""
    targets = _targets(rows)
    try:
        guarantee = trained.guarantee(Promised(coverage=coverage))
    except ConfigError:
        return None
    bare: list[Mapping[str, Any]] = [{} for _ in rows]
    if trained.labels:
        sets = guarantee.sets(bare, told)
        place = {label: i for i, label in enumerate(trained.labels)}
        hits = [place[str(y)] in found for y, found in zip(targets, sets, strict=True)]
        return [statistics.fmean(hits), statistics.fmean(map(len, sets))]
    ends = guarantee.intervals(bare, told)
    hits = [low <= float(y) <= high for y, (low, high) in zip(targets, ends, strict=True)]
    return [statistics.fmean(hits), statistics.fmean(high - low for low, high in ends)]


def _resplit(
    trained: TrainedModel, rows: Sequence[Example], told: Sequence[Prediction]
) -> dict[str, list[float] | None]:
    """Realised coverage of each seeded half whose other half has calibrated; the temperature stays what it is."""
    kept = trained.calibration
    assert kept is not None
    found: dict[float, list[float]] = {coverage: [] for coverage in COVERAGES}
    for seed in range(RESPLITS):
        order = np.random.default_rng(seed).permutation(len(rows)).tolist()
        known, new = order[: len(order) // 2], order[len(order) // 2 :]
        targets, own = CalibrationRows(_targets([rows[i] for i in known])), [told[i] for i in known]
        trained.calibration = (
            record_of_labels(targets, own, trained.labels, kept.temperature)
            if trained.labels
            else record_of_numbers(targets, own, kept.temperature)
        )
        for coverage, shares in found.items():
            covered = _covered(trained, [rows[i] for i in new], [told[i] for i in new], coverage)
            shares.append(math.nan if covered is None else covered[0])
    trained.calibration = kept
    return {str(c): None if any(map(math.isnan, shares)) else shares for c, shares in found.items()}


_Told = tuple[Sequence[Example], Sequence[Prediction]]


def _mapie(trained: TrainedModel, calibration: _Told, tests: _Told) -> dict[str, list[float]]:
    """Coverage and size or width of MAPIE's sets and intervals: LAC, or absolute residuals."""
    told = [_features(trained, own) for _, own in (calibration, tests)]
    true = [_encoded(trained, rows) for rows, _ in (calibration, tests)]
    found = {}
    for coverage in COVERAGES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            inside = _mapie_inside(trained, told, true[0], coverage)
        hits, sizes = inside(true[1])
        found[str(coverage)] = [float(hits.mean()), float(sizes.mean())]
    return found


def _features(trained: TrainedModel, told: Sequence[Prediction]) -> Floats:
    """What MAPIE takes for features: the model's own answers."""
    return np.array([p.probabilities if trained.labels else [p.value] for p in told], dtype=np.float64)


def _encoded(trained: TrainedModel, rows: Sequence[Example]) -> npt.NDArray[Any]:
    """Places of labels, or numbers."""
    place = {label: i for i, label in enumerate(trained.labels)}
    return np.array([place[str(y)] if trained.labels else float(y) for y in _targets(rows)])


def _mapie_inside(
    trained: TrainedModel, told: Sequence[Floats], true: npt.NDArray[Any], coverage: float
) -> Callable[[npt.NDArray[Any]], tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Calibrate MAPIE; returns what says of true answers whether they are inside, and how large the sets are."""
    from mapie.classification import SplitConformalClassifier
    from mapie.regression import SplitConformalRegressor
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

    class Told(ClassifierMixin if trained.labels else RegressorMixin, BaseEstimator):  # type: ignore[misc]
        """A fitted model whose answers are its features."""

        classes_ = np.arange(len(trained.labels))

        def fit(self, X: Floats, y: Floats) -> "Told":
            """Learn nothing."""
            self.is_fitted_ = True
            return self

        def predict_proba(self, X: Floats) -> Floats:
            """Return the features."""
            return X

        def predict(self, X: Floats) -> npt.NDArray[Any]:
            """Return the most probable label, or the number."""
            return np.asarray(X.argmax(axis=1) if trained.labels else X[:, 0])

    model, rows = Told().fit(told[0], true), np.arange(len(told[1]))
    if trained.labels:
        split = SplitConformalClassifier(model, confidence_level=coverage, conformity_score="lac", prefit=True)
        sets = split.conformalize(told[0], true).predict_set(told[1])[1][:, :, 0]
        return lambda y: (sets[rows, y.astype(int)], sets.sum(axis=1))
    ends = SplitConformalRegressor(model, confidence_level=coverage, prefit=True)
    low, high = ends.conformalize(told[0], true).predict_interval(told[1])[1][:, :, 0].T
    return lambda y: ((low <= y) & (y <= high), high - low)


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return a markdown table: means over seeds, a line per task and variant."""
    heads = ["task", "method", "seeds", "T", "NLL", "ECE", "CRPS", *(f"coverage, size at {c}" for c in COVERAGES)]
    heads += [f"coverage at {c}, {RESPLITS} resplits" for c in COVERAGES]
    heads += [f"error, {share:.0%} answered" for share in ANSWERED]
    lines = [heads, ["---"] * 3 + ["---:"] * (len(heads) - 3)]
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["task"], run["variant"]), []).append(run)
    for (task, variant), own in groups.items():
        change = [
            f"{_mean([r['before'].get(n) for r in own])} -> {_mean([r['after'].get(n) for r in own])}"
            if all(n in r["after"] for r in own)
            else ""
            for n in ("nll", "ece", "crps")
        ]
        error = [_mean([r.get("error", {}).get(str(share)) for r in own]) for share in ANSWERED]
        lines.append(
            [
                task,
                variant,
                str(len(own)),
                _mean([r["temperature"] for r in own]),
                *change,
                *_sizes(own, "coverage"),
                *(_mean([_of_resplits(r, c) for r in own]) for c in COVERAGES),
                *error,
            ]
        )
        if all("mapie" in r for r in own):
            lines.append(
                [
                    task,
                    f"{variant}, MAPIE",
                    str(len(own)),
                    "",
                    "",
                    "",
                    "",
                    *_sizes(own, "mapie"),
                    *[""] * (len(COVERAGES) + len(ANSWERED)),
                ]
            )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _sizes(runs: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    """Coverage and size at each coverage that was asked for."""
    found = []
    for coverage in COVERAGES:
        pairs = [run[key][str(coverage)] for run in runs]
        known = all(pair is not None for pair in pairs)
        found.append(f"{_mean([p[0] for p in pairs])}, {_mean([p[1] for p in pairs])}" if known else "")
    return found


def _of_resplits(run: Mapping[str, Any], coverage: float) -> float | None:
    """Mean coverage over a run's resplits; None where there were too few rows."""
    shares = run["resplits"][str(coverage)]
    return None if shares is None else statistics.fmean(shares)


def _mean(values: Sequence[float | None]) -> str:
    """Mean of the runs' values; nothing where one has none."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    return number(statistics.fmean(known), 3) if known and len(known) == len(values) else ""


if __name__ == "__main__":
    main()
