"""A loaded model in many threads gives the answers it gives alone."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import predgen
from inference.many_threads import PROMPT, differing, texts
from predgen.core import Example
from predgen.data.encode import Encoder
from predgen.engine.backbone import Backbone
from predgen.engine.base_model import load_base
from predgen.inference import prefixes
from predgen.inference.prefixes import KeptPrefix
from predgen.inference.trained import TrainedModel
from predgen.training.run import train
from tiny_models import save_tiny
from tiny_runs import tiny_config, tiny_data
from tokenizers_for_tests import gpt2_like


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    folder = tmp_path_factory.mktemp("threads")
    base = save_tiny("llama", folder / "base", gpt2_like())
    data = tiny_data("classification", 8)
    data = replace(data, task=replace(data.task, prompt=PROMPT))
    train(replace(tiny_config(base, "classification", epochs=1.0), prompt=PROMPT), folder / "run", data=data)
    return predgen.load(folder / "run")


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Let threads take turns as often as Python can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_a_few_threads_answer_as_one_does(trained: TrainedModel, hasty_threads: None) -> None:
    assert differing(trained, n_threads=4, n_calls=12) == []


@pytest.mark.slow
def test_64_threads_answer_64000_calls_as_one_does(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(predgen.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).with_name("many_threads.py")), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"calls": 64_000, "differing": []}


def test_reading_a_row_never_touches_the_switch_that_others_use(trained: TrainedModel) -> None:
    """Deterministic: while any row is encoded, the shared tokenizer reads special tokens as it always does."""
    backend = trained.base.tokenizer.backend_tokenizer
    seen: list[bool] = []

    def look(frame: Any, event: str, argument: object) -> Any:
        seen.append(backend.encode_special_tokens)
        return look

    sys.settrace(look)
    try:
        for text in texts(6):
            trained.encoder.encode(Example(0, {"text": text}))
    finally:
        sys.settrace(None)
    assert len(seen) > 50
    assert not any(seen)


def test_a_prefix_is_the_calls_own_whatever_others_keep_meanwhile(tmp_path: Path) -> None:
    """Deterministic: before every line of a call, another call with other prompts replaces what is kept."""
    base = load_base(str(save_tiny("llama", tmp_path, gpt2_like())))
    encoder, backbone, kept = Encoder(base.tokenizer, PROMPT, None), Backbone(base.lm), KeptPrefix()
    own = [encoder.encode(Example(0, {"text": text})).prompt_ids for text in ("a warm room", "a cold road")]
    other = [(*reversed(own[0]), *ids[-3:]) for ids in own]
    lines: list[int] = []

    def interrupt(frame: Any, event: str, argument: object) -> Any:
        # By file and name: what stands in the class is the type checker's, with the method inside.
        if (Path(frame.f_code.co_filename), frame.f_code.co_name) != (Path(prefixes.__file__), "of"):
            return interrupt if event == "call" and frame.f_code.co_name == "of" else None
        if event == "line":
            lines.append(frame.f_lineno)
            sys.settrace(None)
            kept.of(backbone, other)
            sys.settrace(interrupt)
        return interrupt

    for _ in range(2):
        sys.settrace(interrupt)
        try:
            prefix = kept.of(backbone, own)
        finally:
            sys.settrace(None)
        assert prefix is not None
        assert all(ids[: len(prefix.ids)] == prefix.ids for ids in own)
    assert len(lines) > 5
