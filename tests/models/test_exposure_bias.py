"""docs/methods.md, scheduled sampling: under teacher forcing the director sees the gold answer in its input, learns to copy it, and adds nothing.

The writer is a frozen random model, whose answers say next to nothing about the class. The director that was trained on
gold answers is then confidently wrong on the writer's own. The one that was trained on own answers reads in their states
what they carry over from the prompt.
"""

import functools
import math
import random

import pytest
import torch
from torch.nn import functional

from method_cases import fed_in
from predgen.codecs.label import LabelCodec
from predgen.core import Example, Target
from predgen.data.collate import Batch, collate
from predgen.data.encode import Encoder
from predgen.directors.base import DirectorInput
from predgen.models.base import ModelSetup
from predgen.models.predgen import PredGen
from predgen.sampling.draws import SamplingPlan
from tiny_models import tiny_model
from tokenizers_for_tests import char_level

LABELS = ("no", "maybe", "yes")
LOG_K = math.log(len(LABELS))
N_TRAIN, N_HELD_OUT, STEPS = 384, 192, 150
OWN_ONLY = SamplingPlan(1.0, 0, 0)


def batch_of(n: int, is_learnable: bool, seed: int) -> Batch:
    """Rows of four random letters and a fifth that tells the class, where it can be learned."""
    rng, codec = random.Random(seed), LabelCodec.fit(LABELS, char_level())
    encoder = Encoder(char_level(), "{text}?", codec, labels=LABELS)
    rows = []
    for index in range(n):
        label = rng.randrange(len(LABELS))
        sign = "abcdef"[2 * label + rng.randrange(2)] if is_learnable else rng.choice("abcdef")
        text = "".join(rng.choices("ghijklmnop", k=4)) + sign
        rows.append(encoder.encode(Example(index, {"text": text}, Target(LABELS[label]))))
    return collate(rows, char_level().pad_token_id)


@functools.cache
def held_out_nll(sampling: str, is_learnable: bool, seed: int) -> tuple[float, float]:
    """Train the director alone; its NLL in training, as it was fed there, and on held-out rows, as users predict."""
    setup = ModelSetup(
        "predgen",
        "classification",
        LABELS,
        0.0,
        1.0,
        {"director": "linear", "loss": "director_only", "sampling": sampling, "head_norm": "none"},
    )
    torch.manual_seed(seed)
    model = PredGen(setup, tiny_model("llama", len(char_level()), seed), LabelCodec.fit(LABELS, char_level()))
    model.lm.requires_grad_(False)
    train, held_out = batch_of(N_TRAIN, is_learnable, 2 * seed), batch_of(N_HELD_OUT, is_learnable, 2 * seed + 1)
    with torch.no_grad():  # the writer is frozen: what the director reads never changes
        reading = model.read(train, fed_in(model, train, OWN_ONLY))
    seen = DirectorInput(reading.states, reading.content, reading.nll, reading.scored, train.weighed, train.target)
    optimizer = torch.optim.Adam(model.director.parameters(), lr=0.05)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = model.director.loss(seen).mean()
        loss.backward()
        optimizer.step()
    probabilities = torch.tensor([prediction.probabilities for prediction in model.predict(held_out)])
    return loss.item(), functional.nll_loss(probabilities.log(), held_out.target.long()).item()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("is_learnable", [True, False], ids=["learnable", "not learnable"])
def test_a_teacher_forced_director_is_worse_than_guessing_on_generated_answers(is_learnable: bool, seed: int) -> None:
    trained, held_out = held_out_nll("off", is_learnable, seed)
    assert trained < 0.1 * LOG_K  # it copies the gold answer that it is fed
    assert held_out > LOG_K


@pytest.mark.parametrize("seed", [0, 1])
def test_a_director_trained_on_generated_answers_is_better_than_guessing(seed: int) -> None:
    _, held_out = held_out_nll("sequence", True, seed)
    assert held_out < LOG_K


@pytest.mark.parametrize("seed", [0, 1])
def test_a_director_trained_on_generated_answers_is_not_fooled_where_nothing_can_be_learned(seed: int) -> None:
    # Even fitting noise costs something on held-out rows, so this is not below log K, but nothing like copying.
    _, held_out = held_out_nll("sequence", False, seed)
    assert held_out < held_out_nll("off", False, seed)[1] / 2
