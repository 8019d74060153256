"""Word problems end to end: training with and without rationale, measuring on other sets, what is counted."""

import json
from pathlib import Path
from typing import Any

import pytest

from predgen.codecs.answer import AnswerCodec
from predgen.config import RunConfig
from predgen.core import Decoding
from predgen.evaluation import evaluate, rows_to_measure
from predgen.inference.trained import TrainedModel
from predgen.metrics.exact_match import EXACT_MATCH
from predgen.training.run import train
from task_files import target_of
from tiny_models import save_tiny
from tokenizers_for_tests import char_level


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("base"), char_level())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GSM8K and math_10k files for training, an AddSub file for measuring."""
    folder = tmp_path_factory.mktemp("data")
    worked = [{"question": f"What is {i} and 1?", "answer": f"{i}+1={i + 1}\n#### {i + 1}"} for i in range(12)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in worked))
    four = [
        {"instruction": f"What is {i} and 2?", "input": "", "output": f"\nA: It is {i + 2}.", "answer": f"{i + 2}.0"}
        for i in range(20)
    ]
    four.append({"instruction": "Which?", "input": "", "output": "", "answer": "B"})
    (folder / "math_10k.json").write_text(json.dumps(four))
    other = [{"sQuestion": f" What is {i} and 3 ? ", "lSolutions": [str(i + 3)]} for i in range(5)]
    (folder / "AddSub.json").write_text(json.dumps(other))
    return folder


def run(base: Path, folder: Path, **settings: Any) -> TrainedModel:
    given = {"task": "gsm8k", "batch_size": 4, "max_steps": 1, "rank": 2, "max_length": 128, **settings}
    return train(RunConfig(model=str(base), data_dir=str(folder), **given))


def exact(trained: TrainedModel, rows: list[Any]) -> float:
    """Exact match by a plain loop."""
    predictions = trained.predict_examples(rows)
    return sum(
        p.value is not None and abs(p.value - target_of(r)) < 1e-4 for p, r in zip(predictions, rows, strict=True)
    ) / len(rows)


@pytest.mark.parametrize(
    ("method", "rationale"),
    [("predictor", True), ("generator", True), ("generator", False), ("predgen", True), ("predgen", False)],
)
def test_rationale_is_written_or_left_out(base: Path, folder: Path, method: str, rationale: bool) -> None:
    trained = run(base, folder, method=method, rationale=rationale)
    rows = rows_to_measure(trained, split="test", task="addsub")
    found = evaluate(trained, rows, n_resamples=10)
    assert found.metrics == {"exact_match": exact(trained, rows)}
    answers = [prediction.answer for prediction in trained.predict_examples(rows)]
    if method == "predictor":  # a regression head, as in the paper's Table 5
        assert (answers, found.counts) == ([None] * 5, {})
        return
    assert None not in answers
    codec = trained.encoder.codec
    assert isinstance(codec, AnswerCodec)
    assert codec.with_rationale == rationale
    # A random model never writes the cue by itself: the budget runs out, the cue is forced, and the row is counted.
    assert found.counts == ({"out_of_budget": 5} if rationale else {})


def test_free_decoding_counts_what_cannot_be_read(base: Path, folder: Path) -> None:
    trained = run(base, folder, method="generator")
    rows = rows_to_measure(trained, split="test", task="addsub")
    found = evaluate(trained, rows, n_resamples=10, decoding=Decoding("free"))
    predictions = trained.predict_examples(rows, decoding=Decoding("free"))
    assert found.counts["parse_failure"] == sum(p.value is None for p in predictions) > 0
    assert found.metrics["exact_match"] == EXACT_MATCH([target_of(r) for r in rows], [p.value for p in predictions])


def test_math_10k_file_trains_without_its_letters(base: Path, folder: Path) -> None:
    trained = run(base, folder, task="math_10k", bad_rows="skip", rationale=False)
    assert trained.report["train_rows"] + trained.report["validation_rows"] + trained.report["skipped_rows"] in (16, 17)
    rows = rows_to_measure(trained, split="test", task="addsub")
    assert evaluate(trained, rows, n_resamples=10).rows == 5
    assert rows_to_measure(trained, split="validation")
