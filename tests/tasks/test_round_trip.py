"""First rows of every split of every task: encode -> constrained decode -> value, and the Predictor's forward and metric."""

import functools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from predgen import registries
from predgen.codecs.base import Codec
from predgen.codecs.number import NumberCodec
from predgen.codecs.scientific_space import ScientificSpace
from predgen.config import RunConfig
from predgen.core import Example, Target, TaskSpec
from predgen.data.encode import Encoded, Encoder
from predgen.data.examples import to_examples
from predgen.data.tables import available_splits, load_task
from predgen.inference.batching import predict_encoded
from predgen.metrics.measure import measure
from predgen.models.base import PredictionModel
from predgen.training.prepare import make_codec, make_encoder, make_setup
from task_files import REAL, needs_real_rows, publish, target_of, task_of
from tiny_models import tiny_model
from tokenizers_for_tests import embedded, gpt2_like

ROWS = 64
NAMES = list(registries.tasks)
LARGE = ("sst2", "siqa", "humicroedit")  # tens of thousands of rows are read and split first


def settings_of(name: str) -> RunConfig:
    return RunConfig(task=name, max_length=1024, bad_rows="skip")


@functools.lru_cache(maxsize=2)
def load(name: str, split: str, folder: Path) -> Any:
    return load_task(task_of(name), split, data_dir=folder)


def read(name: str, split: str, folder: Path, scratch: Path, n: int | None) -> list[Example]:
    """Rows of a split; bad ones (choice letters of math_10k) are left out."""
    rows = load(name, split, folder)[:n]
    return to_examples(rows, task_of(name), bad_rows="skip", side_file=scratch / "bad.jsonl")


def varied(examples: list[Example], task: TaskSpec) -> list[Example]:
    """Training rows with at least two different targets: those invented for tests may all say the same."""
    known = {target_of(e) for e in examples}
    values = list(task.labels.values()) if task.labels else [task.scale[0] if task.scale else 0.0, 1.0]
    other = next(value for value in values if value not in known or len(known) > 1)
    return [*examples, replace(examples[0], target=Target(other))]


def codec_of(task: TaskSpec, train: list[Example]) -> Codec:
    config = settings_of(task.name)
    return make_codec(config, task, make_setup(config, task, train), train, tokenizer())


@functools.cache
def tokenizer() -> Any:
    return embedded() or gpt2_like()


@functools.cache
def language_model() -> Any:
    return tiny_model("llama", len(tokenizer()))


def decoded(codec: Codec, answer: tuple[int, ...]) -> Any:
    """Decode under the constraint, choosing the gold token wherever there is a choice."""
    state, content = codec.space.start, []
    for token in answer:
        legal = codec.space.legal(state)
        assert (token != codec.space.stop) if legal is None else token in legal
        if token == codec.space.stop:
            return codec.decode(content).value
        content.append(token)
        state = codec.space.advance(state, token)
    raise AssertionError("no stop")


def half_step(codec: NumberCodec, value: float) -> float:
    """Half the distance of the numbers that can be written near a value; few rows of a task may suit either format."""
    if codec.step is not None:
        return codec.step / 2
    assert isinstance(codec.space, ScientificSpace)
    decade = max(codec.space.exponent, math.floor(math.log10(abs(value)))) if value else codec.space.exponent
    return 10.0 ** (decade - codec.space.digits + 1) / 2


def check_round_trip(codec: Codec, rows: list[Encoded], examples: list[Example]) -> None:
    for row, example in zip(rows, examples, strict=True):
        value, wanted = decoded(codec, row.answer_ids), target_of(example)
        if isinstance(wanted, str):
            assert value == wanted
        else:  # numbers are rounded to the codec's grid, math answers to 1e-4
            bound = half_step(codec, wanted) if isinstance(codec, NumberCodec) else 1e-4
            assert abs(value - wanted) <= bound * (1 + 1e-9)


def check_predictor(encoder: Encoder, examples: list[Example], train: list[Example], task: TaskSpec) -> None:
    setup = make_setup(RunConfig(task=task.name, method="predictor"), task, train)
    model: PredictionModel = registries.methods.get("predictor")(setup, language_model(), None)
    encoded = [encoder.encode(example, with_answer=False) for example in examples]
    predictions = predict_encoded(model, encoded, pad_id=0, batch_tokens=4096)
    values = [prediction.value for prediction in predictions]
    assert all(v in setup.labels if setup.labels else math.isfinite(v) for v in values)
    probabilities = [p.probabilities for p in predictions] if setup.labels else None
    found = measure(task.metrics, [target_of(e) for e in examples], values, probabilities, setup.labels)
    assert set(found) == set(task.metrics)
    assert math.isfinite(found[task.metrics[0]])


def check_split(name: str, split: str, folder: Path, scratch: Path) -> None:
    task = task_of(name)
    examples = read(name, split, folder, scratch, ROWS)
    if task.kind == "regression":  # the range belongs to all training rows
        train = read(name, "train", folder, scratch, None)
    elif task.kind == "math":  # so do the limits of answers; sets for measuring only have no training rows
        train = examples
    else:
        train = read(name, "train", folder, scratch, 4 * ROWS)
    train = varied(train, task)
    codec = codec_of(task, train)
    encoder = make_encoder(
        settings_of(name), task, codec, make_setup(settings_of(name), task, train).labels, tokenizer(), None
    )
    rows = [encoder.encode(example) for example in examples]
    assert rows
    check_round_trip(codec, rows, examples)
    check_predictor(encoder, examples[:8], train, task)


@pytest.mark.parametrize("name", NAMES)
def test_fixture_rows(name: str, tmp_path: Path) -> None:
    folder = publish(name, tmp_path)
    splits = available_splits(task_of(name), folder)
    assert splits
    for split in splits:
        check_split(name, split, folder, tmp_path)


@needs_real_rows
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in NAMES]
)
def test_real_rows(name: str, tmp_path: Path) -> None:
    splits = available_splits(task_of(name), REAL)
    assert splits
    for split in splits:
        check_split(name, split, REAL, tmp_path)
