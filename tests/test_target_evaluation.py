"""Figures of several targets against scikit-learn and by hand, from a file to the printed table."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    cohen_kappa_score,
    f1_score,
    label_ranking_average_precision_score,
    label_ranking_loss,
    mean_absolute_error,
)

import predgen
from cli_runs import predgen as command
from predgen.data.sources import read_rows
from predgen.errors import ConfigError, DataError
from predgen.evaluation import evaluate
from predgen.metrics.joint import divergence_from, figures_of_label_sets, figures_of_levels
from predgen.target_evaluation import evaluate_targets, target_rows_to_measure
from tiny_runs import WORDS, tiny_base

MOODS, LEVELS, TAGS = ("good", "bad", ""), ("low", "mid", "high"), ("a;b", "a", ";", "")


def test_label_sets_are_measured_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(0)
    truth, told = rng.random((50, 4)) < 0.3, rng.random((50, 4))
    told[0] = 0.5
    found, chosen = figures_of_label_sets(truth, told), told >= 0.5
    assert found == pytest.approx(
        {
            "micro_f1": f1_score(truth, chosen, average="micro"),
            "macro_f1": f1_score(truth, chosen, average="macro"),
            "subset_accuracy": accuracy_score(truth, chosen),
            "average_precision_micro": average_precision_score(truth, told, average="micro"),
            "average_precision": average_precision_score(truth, told, average="macro"),
            "label_ranking_average_precision": label_ranking_average_precision_score(truth, told),
            "label_ranking_loss": label_ranking_loss(truth, told),
        }
    )
    assert math.isnan(figures_of_label_sets(np.zeros((3, 2), bool), told[:3, :2])["average_precision"])


def test_levels_and_shares_are_measured_as_others_do() -> None:
    rng = np.random.default_rng(0)
    truth, told = rng.integers(0, 4, 40), rng.integers(0, 4, 40)
    assert figures_of_levels(truth, told, 4) == pytest.approx(
        {"mae_in_levels": mean_absolute_error(truth, told), "qwk": cohen_kappa_score(truth, told, weights="quadratic")}
    )
    assert math.isnan(figures_of_levels(truth * 0, told * 0, 4)["qwk"])
    shares, probabilities = rng.dirichlet(np.ones(3), 20), rng.dirichlet(np.ones(3), 20)
    shares[0] = [1, 0, 0]
    assert divergence_from(shares, probabilities) == pytest.approx(entropy(shares, probabilities, axis=1).mean())


def write_rows(path: Path, n: int, first: int = 0) -> Path:
    lines = ["text,mood,stars,urgency,tags,p_yes,p_no"]
    for i in range(first, first + n):
        shares = "0.25,0.75" if i % 5 else ","
        lines.append(f"{WORDS[i % 6]} {i},{MOODS[i % 3]},{i % 5},{LEVELS[i % 3]},{TAGS[i % 4]},{shares}")
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the command line, its settings in a file."""
    place = tmp_path_factory.mktemp("targets")
    write_rows(place / "train.csv", 40)
    base = tiny_base(tmp_path_factory.mktemp("base"))
    (place / "run.yaml").write_text(
        f"""
data: {place / "train.csv"}
prompt: "{{text}}"
model: {base}
method: generator
max_steps: 2
targets:
- {{name: stars, kind: regression, decimals: 0}}
- {{name: mood, kind: classification}}
- {{name: urgency, kind: ordinal, labels: [low, mid, high]}}
- {{name: tags, kind: multilabel}}
- {{name: agreed, kind: classification, shares: {{"yes": p_yes, "no": p_no}}}}
"""
    )
    done = command("train", "--config", place / "run.yaml", "--out", place / "run")
    assert done.exit_code == 0, done.output
    assert "mean_score" in done.output
    return place


def test_a_file_is_predicted_and_read_back(folder: Path) -> None:
    given = write_rows(folder / "new.csv", 6, first=100)
    done = command("predict", folder / "run", given, "-o", folder / "out.csv", "--proba")
    assert done.exit_code == 0, done.output
    names = (folder / "out.csv").read_text().splitlines()[0].split(",")
    assert names[7:] == [
        "stars_prediction",
        *("mood_prediction", "p(mood=bad)", "p(mood=good)"),
        *("urgency_prediction", "p(urgency=low)", "p(urgency=mid)", "p(urgency=high)"),
        *("tags_prediction", "p(tags=a)", "p(tags=b)"),
        *("agreed_prediction", "p(agreed=yes)", "p(agreed=no)"),
    ]
    model = predgen.load_targets(folder / "run", merge_adapter=True)
    rows = list(read_rows(folder / "out.csv"))
    for row, told in zip(rows, model.predict(given), strict=True):
        assert float(row["stars_prediction"]) == told["stars"].value
        assert row["mood_prediction"] == told["mood"].value
        assert float(row["p(tags=a)"]) == pytest.approx(told["tags[a]"].probabilities[1], abs=1e-5)
        had = [label for label in "ab" if told[f"tags[{label}]"].value == "yes"]
        assert row["tags_prediction"] == (";".join(had) or ";")
    one = command(
        "predict", folder / "run", given, "-o", folder / "stars.csv", "--target", "stars", "--quantiles", "0.1,0.9"
    )
    assert one.exit_code == 0, one.output
    assert "prediction,q(0.1),q(0.9)" in (folder / "stars.csv").read_text().splitlines()[0]
    refused = command("predict", folder / "run", given, "-o", folder / "no.csv", "--quantiles", "0.1")
    assert refused.exit_code == 2
    assert "--target" in refused.output


def test_figures_are_those_of_each_question_and_of_its_answers_together(folder: Path) -> None:
    given = write_rows(folder / "test.csv", 24, first=200)
    model = predgen.load_targets(folder / "run")
    answers = target_rows_to_measure(model, data=given)
    found = evaluate_targets(model, answers, n_resamples=10)
    for name, figures in found.questions.items():
        known = [e for e in answers[name] if e.target is not None]
        alone = evaluate(model[name], known, n_resamples=10)
        assert figures.metrics == pytest.approx(alone.metrics, abs=1e-4, nan_ok=True)
        assert figures.rows == alone.rows
    assert found.missing == {"stars": 0, "mood": 8, "urgency": 0, "tags": 6, "agreed": 5}
    assert set(found.joint) == {"urgency", "tags", "agreed"}
    told = model.predict(given)
    probabilities = np.array([row["agreed"].probabilities for row in told])[[i % 5 > 0 for i in range(200, 224)]]
    shares = np.array([[0.25, 0.75]] * len(probabilities))
    assert found.joint["agreed"]["kl"] == pytest.approx(entropy(shares, probabilities, axis=1).mean(), abs=1e-5)


def test_the_command_measures_all_targets(folder: Path) -> None:
    done = command("evaluate", folder / "run", "--split", "validation", "--json", folder / "figures.json")
    assert done.exit_code == 0, done.output
    data: dict[str, Any] = json.loads((folder / "figures.json").read_text())
    assert data["rows"] == 4
    assert set(data["questions"]) == {"stars", "mood", "urgency", "tags[a]", "tags[b]", "agreed"}
    refused = command("evaluate", folder / "run", "--data", folder / "train.csv")
    assert refused.exit_code == 2
    assert "trained on" in refused.output
    assert command("evaluate", folder / "run", "--split", "validation", "--target", "mood").exit_code == 2


def test_what_cannot_be_measured_is_named(folder: Path) -> None:
    model = predgen.load_targets(folder / "run")
    with pytest.raises(ConfigError, match="either `split`"):
        target_rows_to_measure(model)
    bare = target_rows_to_measure(
        model,
        data=[{"text": "x", "mood": "bad", "stars": 1, "urgency": "low", "tags": "a"} | {"p_yes": None, "p_no": None}],
    )
    with pytest.raises(DataError, match="'agreed'"):
        evaluate_targets(model, bare, n_resamples=10)
