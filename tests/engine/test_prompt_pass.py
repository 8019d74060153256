from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from one_by_one import ARCHITECTURES, backbone_of, padded, prompts
from predgen.engine.backbone import Backbone
from predgen.engine.prompt_pass import CachedPrompts, run_prompts, share_prefix
from tiny_models import SLIDING_WINDOW, tiny_model

TOLERANCE = 1e-5
HEAD = (7, 70)
SLIDING = tuple(name for name in ARCHITECTURES if backbone_of(name).window is not None)


@torch.no_grad()
def full(backbone: Backbone, row: Sequence[int]) -> Tensor:
    """States of a row alone."""
    output = backbone.lm(input_ids=torch.tensor([list(row)]), output_hidden_states=True, use_cache=False)
    return output.hidden_states[-1][0]


def keys_of(cached: CachedPrompts) -> list[Tensor]:
    return [tensor.clone() for keys, values, *_ in cached.cache for tensor in (keys, values)]


@pytest.mark.parametrize(
    ("side", "extra", "head"), [("left", 0, HEAD), ("left", 3, ()), ("right", 0, HEAD), ("right", 2, ())]
)
@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_prompts_and_head_equal_a_full_forward(name: str, side: str, extra: int, head: tuple[int, ...]) -> None:
    backbone = backbone_of(name)
    rows = prompts(lengths=(4, SLIDING_WINDOW + 5, 1))
    found = run_prompts(backbone, *padded(rows, side, extra), head)
    assert found.mask.shape[1] == max(map(len, rows)) + extra + len(head)
    for i, row in enumerate(rows):
        expected = full(backbone, [*row, *head])
        torch.testing.assert_close(found.states[i][found.mask[i]], expected, atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(found.tail[i], expected[len(row) - 1 :], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(("side", "head"), [("left", HEAD), ("right", HEAD), ("left", ())])
@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_a_shared_prefix_changes_nothing(name: str, side: str, head: tuple[int, ...]) -> None:
    backbone, start = backbone_of(name), prompts(seed=5, lengths=(6,))[0]
    assert backbone.can_continue
    rows = prompts(lengths=(4, SLIDING_WINDOW + 5, 1))
    prefix = share_prefix(backbone, start)
    found = run_prompts(backbone, *padded(rows, side, 2), head, prefix)
    whole = run_prompts(backbone, *padded([[*start, *row] for row in rows], side, 2), head)
    assert torch.equal(found.mask.sum(dim=1), whole.mask.sum(dim=1))
    assert (
        torch.equal(found.mask[:, len(start) :], padded([[*row, *head] for row in rows], side, 2)[1]) or side == "right"
    )
    assert found.mask[:, : len(start)].all()
    for i in range(len(rows)):
        ours, expected = found.states[i][found.mask[i]], whole.states[i][whole.mask[i]]
        torch.testing.assert_close(ours, expected, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(found.tail, whole.tail, atol=TOLERANCE, rtol=0)
    # Guard: another prefix is another prompt.
    other = run_prompts(backbone, *padded(rows, side, 2), head, share_prefix(backbone, start[::-1]))
    assert (other.tail - whole.tail).abs().amax(dim=(1, 2)).min() > 1e-2


@torch.no_grad()
def test_a_shared_prefix_is_left_as_it_is() -> None:
    backbone = backbone_of("llama")
    prefix = share_prefix(backbone, (9, 8, 7))
    first = run_prompts(backbone, *padded(prompts()), HEAD, prefix).tail
    second = run_prompts(backbone, *padded(prompts()), HEAD, prefix).tail
    assert torch.equal(first, second)
    assert prefix.cache.get_seq_length() == 3
    assert prefix.ids == (9, 8, 7)


@pytest.mark.parametrize("training", [True, False])
def test_a_shared_prefix_has_no_graph_and_no_dropout(training: bool) -> None:
    model = tiny_model("gpt2")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    expected = full(Backbone(model), (9, 8, 7))
    prefix = share_prefix(Backbone(model.train(training)), (9, 8, 7))
    assert not prefix.states.requires_grad
    torch.testing.assert_close(prefix.states[0], expected, atol=TOLERANCE, rtol=0)
    assert all(module.training is training for module in model.modules())


@pytest.mark.parametrize("name", SLIDING)
@torch.no_grad()
def test_windows_behind_a_shared_prefix_count_positions(name: str) -> None:
    # The window ends within the prefix, at its edge, and behind it; against rows that are run alone.
    backbone, start = backbone_of(name), prompts(seed=5, lengths=(SLIDING_WINDOW + 4,))[0]
    rows = prompts(lengths=(3, SLIDING_WINDOW - 1, SLIDING_WINDOW + 6))
    prefix = share_prefix(backbone, start)
    for side in ("left", "right"):
        found = run_prompts(backbone, *padded(rows, side, 2), HEAD, prefix)
        for i, row in enumerate(rows):
            expected = full(backbone, [*start, *row, *HEAD])
            torch.testing.assert_close(found.states[i][found.mask[i]], expected, atol=TOLERANCE, rtol=0)
    # Guard: the model's own masks, which count columns, are wrong there.
    columns = Backbone(backbone.lm)
    columns.window = None
    shifted = run_prompts(columns, *padded(rows), HEAD, prefix)
    assert (shifted.tail[0, 0] - full(backbone, [*start, *rows[0]])[-1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", SLIDING)
def test_gradients_through_windows_behind_padding_equal_those_of_rows_alone(name: str) -> None:
    backbone, rows = backbone_of(name), prompts(lengths=(4, SLIDING_WINDOW + 5))
    weight, along = next(backbone.lm.parameters()), torch.linspace(-1, 1, backbone.hidden_size)

    def gradient(*tails: Tensor) -> Tensor:
        return torch.autograd.grad(sum((tail @ along).sum() for tail in tails), weight)[0]

    together = gradient(run_prompts(backbone, *padded(rows, "right"), HEAD).tail)
    alone = gradient(*(run_prompts(backbone, *padded([row]), HEAD).tail for row in rows))
    torch.testing.assert_close(together, alone, atol=TOLERANCE * float(alone.abs().max()), rtol=0)


# --- copies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_growing_a_fork_leaves_its_source_unchanged(name: str) -> None:
    backbone = backbone_of(name)
    source = run_prompts(backbone, *padded(prompts()), HEAD)
    before = keys_of(source)
    fork = source.fork()
    ids = torch.tensor([[5, 6]] * 3)
    mask = torch.cat([fork.mask, torch.ones_like(ids, dtype=torch.bool)], dim=1)
    first, _ = backbone.states(ids, mask, cache=fork.cache)
    assert fork.cache.get_seq_length() == source.mask.shape[1] + 2
    assert source.cache.get_seq_length() == source.mask.shape[1]
    assert all(torch.equal(ours, was) for ours, was in zip(keys_of(source), before, strict=True))
    again, _ = backbone.states(ids, mask, cache=source.fork().cache)
    assert torch.equal(first, again)


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_a_fork_of_some_rows_holds_these_rows(name: str) -> None:
    backbone, rows = backbone_of(name), prompts()
    chosen = torch.tensor([2, 0])
    fork = run_prompts(backbone, *padded(rows), HEAD).fork(chosen)
    ids = torch.tensor([[5, 6]] * 2)
    mask = torch.cat([fork.mask, torch.ones_like(ids, dtype=torch.bool)], dim=1)
    states, _ = backbone.states(ids, mask, cache=fork.cache)
    for i, row in enumerate(chosen.tolist()):
        expected = full(backbone, [*rows[row], *HEAD, 5, 6])
        torch.testing.assert_close(states[i], expected[-2:], atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(fork.tail[i], expected[-5:-2], atol=TOLERANCE, rtol=0)


def test_a_detached_fork_is_cut_off_from_the_graph_and_a_plain_one_is_not() -> None:
    backbone = Backbone(tiny_model("llama"))
    source = run_prompts(backbone, *padded(prompts()), HEAD)
    assert source.tail.requires_grad
    for detach in (True, False):
        for rows in (None, torch.tensor([1])):
            fork = source.fork(rows, detach=detach)
            parts = [fork.states, fork.tail, *(t for k, v, *_ in fork.cache for t in (k, v))]
            assert len(parts) == 2 + 2 * 2  # two layers
            assert all(part.requires_grad is not detach for part in parts)
