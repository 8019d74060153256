"""States as representations: the plain model's own, whatever batch, padding or path they come by."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis_cases import encoded_rows, prompt_states_plainly, trained_model, written_plainly
from method_cases import TOLERANCE, Case, examples, sequential
from predgen.analysis.representations import (
    MOST_TOKENS,
    answer_slots,
    pooled_states,
    prompt_states,
    represent,
    with_random_weights,
    written_states,
)
from predgen.data.collate import Batch, collate
from predgen.errors import ConfigError, DataError, ModelError
from predgen.models.writer import WritingModel

WRITERS = (
    Case("generator", "classification"),
    Case("generator", "regression"),
    Case("generator", "regression", max_tree_nodes=40),
    Case("predgen", "classification", "linear", "token"),
    Case("predgen", "regression", "value", "marginal", max_tree_nodes=1000),
    Case("predgen", "math", "ordered", "token"),
)
POOLED = [Case("predictor", "classification", pooling=how) for how in ("last", "mean", "first")]


@pytest.mark.parametrize("family", ["llama", "gemma3"])
@pytest.mark.parametrize("case", WRITERS, ids=str)
def test_answers_states_are_those_of_whole_sequences(case: Case, family: str) -> None:
    trained = trained_model(case, family)
    rows = encoded_rows(trained, examples(case.kind)[:4])
    codec = trained.encoder.codec
    assert codec is not None
    slots = answer_slots(trained)
    assert slots == min(MOST_TOKENS, codec.max_tokens - 1)
    found = written_states(trained, rows, slots)
    assert found.states.shape == (4, slots, 32)
    for row, states, mask in zip(rows, found.states, found.mask, strict=True):
        tokens, plain = written_plainly(trained.model, codec, row.prompt_ids)
        kept = min(len(tokens), slots)
        assert mask.tolist() == [True] * kept + [False] * (slots - kept)
        np.testing.assert_allclose(states[:kept], plain[:kept].numpy(), atol=TOLERANCE * 10)
        assert not states[kept:].any()
    np.testing.assert_array_equal(represent(trained, rows), found.states.reshape(4, -1))


@pytest.mark.parametrize("family", ["llama", "gemma3"])
@pytest.mark.parametrize("case", POOLED, ids=str)
def test_pooled_states_are_those_of_prompts_run_alone(case: Case, family: str) -> None:
    trained = trained_model(case, family)
    rows = encoded_rows(trained, examples(case.kind))
    found = represent(trained, rows)
    for row, vector in zip(rows, found, strict=True):
        plain = prompt_states_plainly(trained.model, row.prompt_ids)
        wanted = {"last": plain[-1], "mean": plain.mean(dim=0), "first": plain[0]}[case.pooling]
        np.testing.assert_allclose(vector, wanted.numpy(), atol=TOLERANCE * 10)
    assert (found[0] == found).all() == (case.pooling == "first")  # one token of the template was seen there


@pytest.mark.parametrize("case", [WRITERS[0], WRITERS[2], POOLED[1]], ids=str)
def test_batch_neighbours_and_order_change_nothing(case: Case) -> None:
    trained = trained_model(case, eval_batch_size=3)
    rows = encoded_rows(trained, examples(case.kind))
    seen: list[int] = []
    together = represent(trained, rows, on_batch=seen.append)
    assert seen == [3, 3, 2]
    alone = np.concatenate([represent(trained, [row]) for row in rows])
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)
    np.testing.assert_allclose(represent(trained, rows[::-1])[::-1], together, atol=TOLERANCE)


def right_padded(batch: Batch) -> Batch:
    """The same rows with their prompts on the left."""
    order = (~batch.prompt_mask).long().argsort(dim=1, stable=True)
    return replace(batch, prompt_ids=batch.prompt_ids.gather(1, order), prompt_mask=batch.prompt_mask.gather(1, order))


@pytest.mark.parametrize("case", [WRITERS[0], WRITERS[2], WRITERS[3]], ids=str)
def test_padding_side_changes_no_written_state(case: Case) -> None:
    trained = trained_model(case)
    model = trained.model
    assert isinstance(model, WritingModel)
    left = collate(encoded_rows(trained, examples(case.kind)), 0)
    right = right_padded(left)
    assert not torch.equal(left.prompt_mask, right.prompt_mask)
    states, mask = model.own_states(left)
    others, other_mask = model.own_states(right)
    assert torch.equal(mask, other_mask)
    torch.testing.assert_close(states[mask], others[mask], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("case", [WRITERS[0], WRITERS[3]], ids=str)
def test_tree_pass_and_sequential_path_give_the_same_states(case: Case) -> None:
    rows = encoded_rows(trained_model(case), examples(case.kind))
    by_tree = represent(trained_model(case), rows)
    step_by_step = trained_model(case)
    sequential(step_by_step.model)
    np.testing.assert_allclose(represent(step_by_step, rows), by_tree, atol=TOLERANCE)


def test_few_answer_tokens_are_the_first_ones() -> None:
    trained = trained_model(WRITERS[1])
    rows = encoded_rows(trained, examples("regression"))
    whole = represent(trained, rows)
    np.testing.assert_array_equal(represent(trained, rows, 2), whole[:, : 2 * 32])
    np.testing.assert_array_equal(represent(trained, rows, 1000), whole)  # no more than the answer has


@pytest.mark.parametrize("slots", [3, 100])
def test_prompt_slots_end_with_the_last_token(slots: int) -> None:
    trained = trained_model(POOLED[0])
    rows = encoded_rows(trained, examples("classification"))
    found = prompt_states(trained, rows, slots)
    for row, states, mask in zip(rows, found.states, found.mask, strict=True):
        kept = min(slots, len(row.prompt_ids))
        assert mask.tolist() == [False] * (slots - kept) + [True] * kept
        plain = prompt_states_plainly(trained.model, row.prompt_ids)[-kept:]
        np.testing.assert_allclose(states[slots - kept :], plain.numpy(), atol=TOLERANCE)
        assert not states[: slots - kept].any()


def test_any_pooling_reads_any_model() -> None:
    trained = trained_model(WRITERS[3])
    rows = encoded_rows(trained, examples("classification")[:3])
    for row, vector in zip(rows, pooled_states(trained, rows, "mean"), strict=True):
        plain = prompt_states_plainly(trained.model, row.prompt_ids).mean(dim=0)
        np.testing.assert_allclose(vector, plain.numpy(), atol=TOLERANCE)
    with pytest.raises(ConfigError, match=r"`pooling` is 'max'\. Allowed: last, mean, first"):
        pooled_states(trained, rows, "max")


# --- the control with random weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [WRITERS[3], POOLED[0]], ids=str)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_random_weights_depend_on_the_seed_alone(case: Case, family: str) -> None:
    trained = trained_model(case, family)
    before = torch.random.get_rng_state()
    first, again, other = (with_random_weights(trained, seed) for seed in (5, 5, 6))
    assert torch.equal(torch.random.get_rng_state(), before)
    states = [model.model.state_dict() for model in (trained, first, again, other)]
    assert all(s.keys() == states[0].keys() for s in states)
    for name, value in states[1].items():
        assert torch.equal(value, states[2][name])
        if value.ndim == 2 and "bias" not in name:
            assert not torch.equal(value, states[3][name])
            assert not torch.equal(value, states[0][name])
    rows = encoded_rows(trained, examples(case.kind))
    assert first.encoder is trained.encoder
    assert first.model.codec is trained.model.codec
    assert represent(first, rows).shape == represent(trained, rows).shape


def test_random_weights_leave_the_adapter_out() -> None:
    trained = trained_model(Case("generator", "classification", peft="lora"))
    fresh = with_random_weights(trained, 0)
    assert not any("lora" in name for name in fresh.model.state_dict())
    assert any("lora" in name for name in trained.model.state_dict())


# --- what cannot be used ----------------------------------------------------------------------------------------------


def test_no_content_token_is_no_representation() -> None:
    trained = trained_model(WRITERS[0])
    with pytest.raises(ConfigError, match=r"`answer_tokens` \(m_max\) is 0, but a representation needs"):
        represent(trained, encoded_rows(trained, examples("classification")), 0)


def test_no_rows_are_said() -> None:
    with pytest.raises(DataError, match="there are no rows to analyse"):
        represent(trained_model(POOLED[0]), [])


def test_runs_that_only_score_have_no_states(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = trained_model(WRITERS[0])
    monkeypatch.setattr(trained.model, "writes_own", False)
    with pytest.raises(ConfigError, match="scores the answers that it is given"):
        represent(trained, encoded_rows(trained, examples("classification")))


@pytest.mark.parametrize("case", [WRITERS[0], POOLED[1]], ids=str)
def test_states_that_are_no_numbers_name_the_row(case: Case) -> None:
    trained = trained_model(case)
    rows = encoded_rows(trained, examples(case.kind))
    with torch.no_grad():  # the third row alone has this character
        trained.model.lm.get_input_embeddings().weight[rows[5].prompt_ids[3]] = torch.nan
    assert sum(rows[5].prompt_ids[3] in row.prompt_ids for row in rows) < len(rows)
    with pytest.raises(ModelError, match=r"the states of \d of 8 rows are not finite numbers, first in row \d+"):
        represent(trained, rows)
