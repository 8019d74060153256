"""Trained models around tiny random ones, and measured runs made of drawn numbers, for tests of `analysis`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from method_cases import Case, codec_of, make
from predgen.analysis.runs import RANDOM, TRAINED, RunStates
from predgen.codecs.base import Codec
from predgen.config import RunConfig
from predgen.core import Example, TaskSpec
from predgen.data.encode import Encoded, Encoder
from predgen.engine.base_model import BaseModel
from predgen.inference.trained import TrainedModel
from predgen.models.base import PredictionModel
from tokenizers_for_tests import char_level

PROMPT = "R: {text}\nA:"


def trained_model(case: Case, family: str = "llama", **settings: Any) -> TrainedModel:
    """A model with random weights as if it had been trained."""
    codec = codec_of(case.kind)
    model = make(case, family)
    task = TaskSpec("custom", model.setup.kind, PROMPT, "answer", ("accuracy",))
    config = RunConfig(prompt=PROMPT, target="answer", kind=case.kind, **settings)
    encoder = Encoder(char_level(), PROMPT, model.codec, labels=getattr(codec, "labels", ()))
    return TrainedModel(model.eval(), BaseModel(model.lm, char_level(), "tiny", Path("tiny")), encoder, task, config)


def encoded_rows(trained: TrainedModel, rows: Sequence[Example]) -> list[Encoded]:
    """Rows without answers."""
    return [trained.encoder.encode(row, with_answer=False) for row in rows]


@torch.no_grad()
def written_plainly(model: PredictionModel, codec: Codec, prompt: Sequence[int]) -> tuple[list[int], Tensor]:
    """Greedy content tokens and the states at them, by whole sequences without cache, one token after the other."""
    ids, state = list(prompt), codec.space.start
    while True:
        output = model.lm(input_ids=torch.tensor([ids]), use_cache=False, output_hidden_states=True)
        legal = codec.space.legal(state)
        if legal is None:
            legal = tuple(i for i in range(output.logits.shape[-1]) if i != codec.space.stop)
        token = max(legal, key=lambda i: float(output.logits[0, -1, i]))
        if token == codec.space.stop:
            return ids[len(prompt) :], output.hidden_states[-1][0, len(prompt) :]
        ids.append(token)
        state = codec.space.advance(state, token)


@torch.no_grad()
def prompt_states_plainly(model: PredictionModel, prompt: Sequence[int]) -> Tensor:
    """States of a prompt's tokens, run alone."""
    return model.lm(input_ids=torch.tensor([list(prompt)]), output_hidden_states=True).hidden_states[-1][0]


def measured_run(label: str, method: str, rho: float, n: int = 400, task: str = "task", seed: int = 0) -> RunStates:
    """A run whose first component is Gaussian with correlation rho to y; four others, and the random weights', are noise."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(n, 1))
    noise = np.random.default_rng([seed, sum(map(ord, label))])
    z = noise.normal(size=(n, 5))
    z[:, :1] = rho * y + np.sqrt(1 - rho**2) * z[:, :1]
    arrays = {TRAINED: z, f"{RANDOM} 0": noise.normal(size=(n, 5)), f"{RANDOM} 1": noise.normal(size=(n, 5))}
    facts = {
        "run": label,
        "task": task,
        "method": method,
        "base": "tiny",
        "training_rows": n,
        "fit_rows": n,
        "rows": n,
        "answer_tokens": None if method == "predictor" else 5,
        "pooling": "last" if method == "predictor" else None,
        "trained_on": "same",
    }
    return RunStates(label, task, method, y, arrays, {"run": label, "rows": "r", "answer_tokens": None}, facts)


def discrete(run: RunStates) -> RunStates:
    """The same run with the sign of y as its class."""
    return replace(run, outcomes=(run.outcomes[:, 0] > 0).astype(np.int64))
