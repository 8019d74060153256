"""Base models with recurrent states, which transformers gives other caches, or whose rows padding would change.

Whatever a batch says of a row has to be what plain forwards over that row alone say: no padding, mask or cache.
"""

import functools
from collections.abc import Sequence

import pytest
import torch

from method_cases import (
    TOLERANCE,
    Case,
    assert_same_gradients,
    batch_of,
    encoded,
    fed_in,
    fed_tokens,
    gradients_of,
    make,
    plain_log_probs,
    plan,
)
from other_models import LONG_FROM, RECURRENT, other_model
from predgen.codecs.base import AnswerSpace
from predgen.engine.sequential import sequences
from predgen.models.base import PredictionModel
from predgen.models.predgen import PredGen
from predgen.models.writer import WritingModel

ROWS = (1, 3, 4)  # of three lengths, one of them empty: neighbours, and padding for two of them
every_recurrent = pytest.mark.parametrize("family", RECURRENT)
BIG = Case("generator", "regression", max_tree_nodes=5)  # written token by token


@functools.cache
def model_of(case: Case, family: str) -> PredictionModel:
    """A model with full fine-tuning: PEFT has tests of its own."""
    return make(case, family, seed=1)


@torch.no_grad()
def plainly_written(model: PredictionModel, prompt: Sequence[int], space: AnswerSpace) -> tuple[int, ...]:
    """The best legal token, again and again, each found by a forward over everything before it."""
    state, written = space.start, []
    while True:
        logits = model.lm(input_ids=torch.tensor([[*prompt, *written]]), use_cache=False).logits[0, -1]
        legal = space.legal(state)
        if legal is None:
            legal = tuple(token for token in range(len(logits)) if token != space.stop)
        token = max(legal, key=lambda i: float(logits[i]))
        if token == space.stop:
            return tuple(written)
        written.append(token)
        state = space.advance(state, token)


@pytest.mark.parametrize("case", [BIG, Case("generator", "math")], ids=str)
@every_recurrent
def test_what_is_written_token_by_token_is_what_plain_forwards_say(family: str, case: Case) -> None:
    model = model_of(case, family)
    assert isinstance(model, WritingModel)
    assert model.tree is None
    written = model.write(batch_of(case.kind, ROWS))
    space = model.written_by.space
    assert written.sequences() == [plainly_written(model, encoded(case.kind)[row].prompt_ids, space) for row in ROWS]
    assert written.states[:, 0].std(dim=0).max() > 1e-2  # guard: the text matters


@every_recurrent
def test_probabilities_of_a_batch_are_those_of_plain_forwards(family: str) -> None:
    model = model_of(Case("generator", "classification"), family)
    assert isinstance(model, WritingModel)
    found = model.answer_log_probs(batch_of("classification", ROWS)).double()
    prompts = [encoded("classification")[row].prompt_ids for row in ROWS]
    plain = [plain_log_probs(model, prompt, model.finite_codec)[0] for prompt in prompts]
    assert found.exp().std(dim=0).max() > 1e-3  # guard
    torch.testing.assert_close(found, torch.tensor(plain, dtype=torch.float64), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("pooling", ["last", "mean"])
@every_recurrent
def test_a_predictor_pools_the_states_of_the_row_alone(family: str, pooling: str) -> None:
    model = model_of(Case("predictor", "regression", pooling=pooling), family)
    found = [p.value for p in model.predict(batch_of("regression", ROWS))]
    alone = [model.predict(batch_of("regression", [row]))[0].value for row in ROWS]
    assert torch.tensor(alone).std() > 1e-2  # guard
    assert found == pytest.approx(alone, abs=TOLERANCE)


@pytest.mark.parametrize(
    "case",
    [
        Case("predictor", "regression"),
        Case("generator", "classification"),
        Case("predgen", "regression", "value", "token", max_tree_nodes=5),
    ],
    ids=str,
)
@every_recurrent
def test_gradients_of_a_batch_are_those_of_its_rows(family: str, case: Case) -> None:
    model = make(case, family)
    together = gradients_of(model, [batch_of(case.kind, ROWS)])
    alone = gradients_of(model, [batch_of(case.kind, [row]) for row in ROWS])
    assert_same_gradients(together, alone)


@every_recurrent
def test_own_tokens_in_training_are_those_that_the_model_writes(family: str) -> None:
    model = make(Case("predgen", "regression", "value", "token", max_tree_nodes=5), family)
    assert isinstance(model, PredGen)
    fed = fed_tokens(fed_in(model, batch_of("regression", ROWS), plan(1.0)))
    space = model.written_by.space
    assert fed == [plainly_written(model, encoded("regression")[row].prompt_ids, space) for row in ROWS]


@every_recurrent
@torch.no_grad()
def test_own_states_are_those_of_plain_forwards(family: str) -> None:
    model = model_of(BIG, family)
    assert isinstance(model, WritingModel)
    states, mask = model.own_states(batch_of("regression", ROWS))
    written = model.write(batch_of("regression", ROWS))
    rows = [encoded("regression")[row] for row in ROWS]
    for i, (row, content) in enumerate(zip(rows, sequences(written.ids, written.mask), strict=True)):
        ids = torch.tensor([[*row.prompt_ids, *content]])
        expected = model.lm(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states[-1]
        wanted = expected[0, len(row.prompt_ids) :]
        torch.testing.assert_close(states[i][mask[i]], wanted, atol=TOLERANCE, rtol=TOLERANCE)  # states of up to 10


@every_recurrent
def test_the_detour_is_said(family: str) -> None:
    expected = {"rwkv": "equal length", "recurrent_gemma": "equal length"}.get(family, "level by level")
    assert expected in model_of(BIG, family).engine
    if expected == "equal length":
        engine = model_of(Case("predictor", "regression"), family).engine
        assert engine.startswith("one forward over the prompt; ")
        assert "padding" in engine


# --- rotary embeddings that change with length ------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["phi3_long", "llama_dynamic"])
def test_rows_stay_where_their_neighbours_cannot_change_them(family: str) -> None:
    model = model_of(Case("generator", "classification"), family)
    assert model.backbone.context == LONG_FROM
    lm = other_model(family)
    with torch.no_grad():
        ids = torch.arange(2, 2 + LONG_FROM + 1)[None]
        inside = [lm.base_model(input_ids=ids[:, :n]).last_hidden_state[0, 0] for n in (1, LONG_FROM)]
        beyond = lm.base_model(input_ids=ids).last_hidden_state[0, 1]
        before = lm.base_model(input_ids=ids[:, :2]).last_hidden_state[0, 1]
    torch.testing.assert_close(inside[0], inside[1], atol=TOLERANCE, rtol=0)
    assert (beyond - before).abs().max() > 1e-3  # guard: one token more changes the first ones


def test_a_limit_below_the_declared_one_is_said() -> None:
    assert f"within {LONG_FROM} of 512 tokens" in model_of(Case("predictor", "regression"), "phi3_long").engine
    assert model_of(Case("predictor", "regression"), "llama").engine == "one forward over the prompt"


def test_free_writing_ends_within_the_context() -> None:
    # Learned positions have nothing behind the last one.
    model = make(Case("generator", "math"), "gpt2")
    assert isinstance(model, WritingModel)
    batch = batch_of("math")
    model.backbone.context = batch.prompt_ids.shape[1] + 3
    written = model.write_freely(batch).sequences()
    assert max(map(len, written)) <= 3
