"""The fine-tuned encoder: what transformers says, after as many steps on as many rows as the methods have."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from predgen.baselines.encoder import FineTunedEncoder
from predgen.baselines.settings import EncoderSettings
from predgen.errors import ModelError
from predgen.training.rows import TrainingData
from tiny_models import save_bert
from tiny_runs import tiny_base, tiny_config, tiny_data, tiny_rows, tiny_run
from tokenizers_for_tests import char_level


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny encoder, and a tiny causal model."""
    folder = tmp_path_factory.mktemp("bases")
    return {"bert": save_bert(folder / "bert", char_level()), "llama": tiny_base(folder / "llama")}


def fitted(base: Path, kind: str, data: TrainingData | None = None, **settings: object) -> FineTunedEncoder:
    """A baseline after a few steps, at a high rate, so that its outputs differ from row to row."""
    baseline = FineTunedEncoder(EncoderSettings(encoder_model=str(base), encoder_learning_rate=0.01))
    config = tiny_config(base, kind, optimizer="adamw", **settings)
    baseline.fit(config, data or tiny_data(kind, n_validation=6))
    return baseline


@pytest.mark.parametrize("base", ["bert", "llama"])
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_predictions_are_those_of_a_plain_forward_of_each_row(
    bases: dict[str, Path], base: str, kind: str, tmp_path: Path
) -> None:
    baseline, rows = fitted(bases[base], kind, max_steps=2), tiny_rows(7, kind, seed=5)
    found = baseline.predict(rows)
    baseline._trainer.model.save_pretrained(tmp_path)
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval(), char_level()
    targets = np.array([float(str(r.target.value)) for r in tiny_rows(16, kind) if r.target and kind == "regression"])
    for row, prediction in zip(rows, found, strict=True):
        with torch.no_grad():
            logits = model(**tokenizer(f"{row.fields['text']} =", return_tensors="pt")).logits[0].double()
        if kind == "classification":
            assert prediction.probabilities == pytest.approx(logits.softmax(0).tolist(), abs=1e-5)
            assert prediction.value == baseline.labels[int(logits.argmax())]
        else:
            expected = max(0.0, targets.mean() + targets.std() * float(logits[0]))  # no target is below 0
            assert prediction.value == pytest.approx(expected, abs=1e-5)
    assert len({p.value if kind == "regression" else p.probabilities for p in found}) > 1


@pytest.mark.parametrize("length", [{"epochs": 1.5, "batch_size": 3, "gradient_accumulation": 2}, {"max_steps": 2}])
def test_it_takes_as_many_steps_on_as_many_rows_as_a_method(bases: dict[str, Path], length: dict[str, object]) -> None:
    data = tiny_data("classification", n_train=9)
    method = tiny_run(bases["llama"], "classification", data, method="predictor", **length).report
    peer = fitted(bases["bert"], "classification", data, **length).facts
    assert (peer["optimizer_steps"], peer["train_rows"]) == (method["optimizer_steps"], method["train_rows"])
    assert peer["trainable_parameters"] == peer["parameters"] > 0


def test_the_seed_decides_and_repeats(bases: dict[str, Path]) -> None:
    rows = tiny_rows(5, "regression", seed=3)
    first, again, other = (
        [p.value for p in fitted(bases["bert"], "regression", seed=seed, max_steps=1).predict(rows)]
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_the_best_checkpoint_on_validation_rows_is_kept(bases: dict[str, Path]) -> None:
    baseline = fitted(bases["bert"], "regression", eval_steps=1, max_steps=4)
    state = baseline._trainer.state
    values = {entry["step"]: entry["eval_mse"] for entry in state.log_history if "eval_mse" in entry}
    assert baseline.facts["best_step"] == min(values, key=values.__getitem__)
    validation = tiny_data("regression", n_validation=6).validation
    errors = [
        p.value - r.target.value for p, r in zip(baseline.predict(validation), validation, strict=True) if r.target
    ]
    assert np.mean(np.square(errors)) == pytest.approx(min(values.values()), rel=1e-5)


def test_a_model_with_holes_or_without_files_is_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    for path in bases["bert"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    weights.pop(next(name for name in weights if "attention" in name))
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="lacks 1 tensors"):
        fitted(tmp_path, "classification")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="encoder_model"):
        fitted(tmp_path, "classification")


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_a_row_of_weight_three_is_a_row_three_times(bases: dict[str, Path], kind: str, accumulation: int) -> None:
    # Each step takes all rows; the causal base has no dropout.
    rows = [replace(row, weight=float(1 + 2 * (i % 2))) for i, row in enumerate(tiny_rows(6, kind))]
    repeated = [replace(row, weight=1.0) for row in rows for _ in range(int(row.weight))]
    found = []
    for train in (rows, repeated):
        data = replace(tiny_data(kind, n_validation=0), train=train)
        size = {"batch_size": len(train) // accumulation, "gradient_accumulation": accumulation}
        scale = {"minimum": 0.0, "maximum": 100.0} if kind == "regression" else {}
        baseline = fitted(bases["llama"], kind, data, max_steps=3, **size, **scale)
        found.append([p.probabilities or p.value for p in baseline.predict(tiny_rows(5, kind, seed=3))])
    assert np.array(found[0]) == pytest.approx(np.array(found[1]), abs=1e-4)
    alike = replace(tiny_data(kind, n_validation=0), train=[replace(row, weight=1.0) for row in rows])
    other = fitted(bases["llama"], kind, alike, max_steps=3, batch_size=6)
    assert (
        np.abs(
            np.array([p.probabilities or p.value for p in other.predict(tiny_rows(5, kind, seed=3))]) - found[0]
        ).max()
        > 1e-3
    )
