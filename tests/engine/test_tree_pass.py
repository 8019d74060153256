import copy
import re
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from one_by_one import ARCHITECTURES, PASSES, backbone_of, padded, prompts, start_pass
from other_models import INCAPABLE, other_model
from predgen.engine import tree_pass
from predgen.engine.backbone import Backbone, positions_of
from predgen.engine.prompt_pass import run_prompts, share_prefix
from predgen.engine.tree_pass import FusedPass, JointPass, TreePass, find_obstacle
from tiny_models import FAMILIES, SLIDING_WINDOW, tiny_model

TOLERANCE = 1e-5
SLIDING = tuple(name for name in ARCHITECTURES if backbone_of(name).window is not None)
# Two rows with different trees. Node 0 is the root; 1 hangs on it, and so on: by hand 0-1-(3-4, 5) and 0-2.
TOKENS = torch.tensor([[5, 6, 7, 8, 9, 5], [70, 71, 72, 73, 74, 75], [11, 12, 13, 14, 15, 16]])
PARENTS = torch.tensor([[0, 0, 1, 3, 1, 4], [0, 1, 2, 3, 4, 5], [0, 0, 0, 0, 2, 5]])


@torch.no_grad()
def state_of(backbone: Backbone, row: Sequence[int]) -> Tensor:
    """State at the last token of a row, from a plain forward."""
    output = backbone.lm(input_ids=torch.tensor([list(row)]), output_hidden_states=True, use_cache=False)
    return output.hidden_states[-1][0, -1]


def way(tokens: Sequence[int], parents: Sequence[int], node: int) -> list[int]:
    """Tokens from the root to a node."""
    found: list[int] = []
    while node:
        found.insert(0, tokens[node - 1])
        node = parents[node - 1]
    return found


def assert_states(
    backbone: Backbone, found: Tensor, rows: Sequence[list[int]], tokens: Tensor, parents: Tensor
) -> None:
    """Every node's state is that of a plain forward over its way behind its prompt."""
    for b, row in enumerate(rows):
        for node in range(1, tokens.shape[1] + 1):
            path = way(tokens[b].tolist(), parents[b].tolist(), node)
            expected = state_of(backbone, [*row, *path])
            torch.testing.assert_close(found[b, node - 1], expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("kind", PASSES)
@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_every_node_equals_a_plain_forward_over_its_way(name: str, kind: str) -> None:
    # One prompt is longer than the sliding windows, two are shorter; two head tokens.
    backbone, rows, head = backbone_of(name), prompts(), (30, 31)
    nodes = start_pass(kind, backbone, *padded(rows, extra=2), head)
    found = nodes.grow(TOKENS, PARENTS)
    assert_states(backbone, found, [[*row, *head] for row in rows], TOKENS, PARENTS)
    for b, row in enumerate(rows):
        expected = torch.stack([state_of(backbone, [*row, *head[:n]]) for n in range(3)])
        torch.testing.assert_close(nodes.tail[b], expected, atol=TOLERANCE, rtol=0)
    assert torch.equal(nodes.parents[:, 1:], PARENTS)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_prompts_that_are_run_with_their_nodes_go_on_behind_a_prefix(name: str, side: str) -> None:
    # Nodes in two steps: with the prompts, then on their cache; and the prompts alone, where their states are asked for first.
    backbone, rows, head = backbone_of(name), prompts(), (30, 31)
    start = prompts(seed=5, lengths=(SLIDING_WINDOW + 3,))[0]
    prefix = share_prefix(backbone, start)
    for asks_first in (False, True):
        nodes = FusedPass(backbone, *padded(rows, side, 2), head, prefix)
        if asks_first:
            assert nodes.tail.shape[1] == 3
        found = torch.cat([nodes.grow(TOKENS[:, part], PARENTS[:, part]) for part in (slice(2), slice(2, None))], dim=1)
        assert_states(backbone, found, [[*start, *row, *head] for row in rows], TOKENS, PARENTS)
        for b, row in enumerate(rows):
            expected = torch.stack([state_of(backbone, [*start, *row, *head[:n]]) for n in range(3)])
            torch.testing.assert_close(nodes.tail[b], expected, atol=TOLERANCE, rtol=0)
            assert nodes.prompts.states[b][nodes.prompts.mask[b]].shape[0] == len(start) + len(row) + len(head)
    assert prefix.cache.get_seq_length() == len(start), "the prefix is left as it is"


@pytest.mark.parametrize(
    ("limit", "least"), [("MOST_FUSED", TOKENS.numel()), ("LONGEST_FUSED", max(map(len, prompts())))]
)
@torch.no_grad()
def test_many_nodes_and_long_prompts_are_forwards_of_their_own(
    limit: str, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, batch = backbone_of("llama"), padded(prompts())
    widths: list[int] = []
    hook = backbone.decoder.register_forward_pre_hook(
        lambda _, args, given: widths.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    fused = FusedPass(backbone, *batch).grow(TOKENS, PARENTS)
    monkeypatch.setattr(tree_pass, limit, least - 1)
    apart = FusedPass(backbone, *batch).grow(TOKENS, PARENTS)
    hook.remove()
    prompt, nodes = batch[0].shape[1], TOKENS.shape[1]
    assert widths == [prompt + nodes, prompt, nodes]
    torch.testing.assert_close(fused, apart, atol=TOLERANCE, rtol=0)


trees = st.integers(1, 7).flatmap(
    lambda n: st.tuples(
        st.lists(st.lists(st.integers(2, 9), min_size=n, max_size=n), min_size=3, max_size=3),
        st.lists(st.tuples(*(st.integers(0, i) for i in range(n))), min_size=3, max_size=3),
    )
)
layouts = st.tuples(st.sampled_from(["left", "right"]), st.integers(0, 3))


@given(
    trees, st.sampled_from(ARCHITECTURES), st.sampled_from(PASSES), layouts, st.integers(0, 7), st.integers(0, 10**6)
)
@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@torch.no_grad()
def test_any_tree_behind_any_padding(
    tree: tuple[list[list[int]], list[tuple[int, ...]]],
    name: str,
    kind: str,
    layout: tuple[str, int],
    cut: int,
    seed: int,
) -> None:
    backbone, (side, extra) = backbone_of(name), layout
    rows = prompts(seed, (5, SLIDING_WINDOW + 3, 1))
    tokens, parents = torch.tensor(tree[0]), torch.tensor([list(row) for row in tree[1]])
    if kind == "paths" and backbone.window is not None:
        side = "left"  # plain sequences behind padding: windows would count it
    nodes = start_pass(kind, backbone, *padded(rows, side, extra))
    cut = min(cut, tokens.shape[1])  # in two steps: what hangs on what was grown before, and what not
    parts = [slice(start, end) for start, end in ((0, cut), (cut, tokens.shape[1])) if start < end]
    found = torch.cat([nodes.grow(tokens[:, part], parents[:, part]) for part in parts], dim=1)
    assert_states(backbone, found, rows, tokens, parents)


@pytest.mark.parametrize("kind", PASSES)
@torch.no_grad()
def test_nodes_see_their_own_ancestors_only(kind: str) -> None:
    # Guard: the passes would agree for a model that ignores its past.
    backbone = backbone_of("llama")
    first = start_pass(kind, backbone, *padded(prompts())).grow(TOKENS, PARENTS)
    changed = TOKENS.clone()
    changed[0, 2] = 99  # node 3 of row 0, parent of node 4, grandparent of node 6
    second = start_pass(kind, backbone, *padded(prompts())).grow(changed, PARENTS)
    differs = (first - second).abs().amax(dim=2) > 1e-3
    assert differs.int().tolist() == [[0, 0, 1, 1, 0, 1], [0] * 6, [0] * 6]


@pytest.mark.parametrize("kind", PASSES)
@pytest.mark.parametrize("name", ["gpt2", "gemma3"])
@torch.no_grad()
def test_growing_twice_is_growing_once(name: str, kind: str) -> None:
    backbone = backbone_of(name)
    once = start_pass(kind, backbone, *padded(prompts()), (30,))
    whole = once.grow(TOKENS, PARENTS)
    twice = start_pass(kind, backbone, *padded(prompts()), (30,))
    parts = [twice.grow(TOKENS[:, part], PARENTS[:, part]) for part in (slice(0, 2), slice(2, 3), slice(3, 6))]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(twice.tail, once.tail, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_passes_on_the_same_prompts_do_not_disturb_each_other() -> None:
    backbone = backbone_of("llama")
    cached = run_prompts(backbone, *padded(prompts()))
    first, second = TreePass(backbone, cached), TreePass(backbone, cached)
    one = first.grow(TOKENS[:, :3], PARENTS[:, :3])
    second.grow(TOKENS[:, 3:], torch.zeros_like(PARENTS[:, 3:]))
    rest = first.grow(TOKENS[:, 3:], PARENTS[:, 3:])
    assert_states(backbone, torch.cat([one, rest], dim=1), prompts(), TOKENS, PARENTS)
    assert cached.cache.get_seq_length() == cached.mask.shape[1]


# --- windows, precisions, attention implementations -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tree", "fused", "joint"])
@pytest.mark.parametrize("name", SLIDING)
@torch.no_grad()
def test_windows_slide_along_a_branch(name: str, kind: str) -> None:
    # A chain longer than the window behind a prompt of one token, and behind one that is longer than the window itself.
    backbone, length = backbone_of(name), SLIDING_WINDOW + 4
    rows = prompts(lengths=(1, SLIDING_WINDOW + 9, SLIDING_WINDOW - 1))
    tokens = torch.arange(2, 2 + length).repeat(3, 1)
    parents = torch.arange(length).repeat(3, 1)
    found = start_pass(kind, backbone, *padded(rows)).grow(tokens, parents)
    assert_states(backbone, found, rows, tokens, parents)
    # Guard: without a window the numbers are others.
    unlimited = copy.copy(backbone)
    unlimited.window = None
    seen = start_pass(kind, unlimited, *padded(rows)).grow(tokens, parents)
    assert (seen - found)[1].abs().max() > 1e-2


@pytest.mark.parametrize("kind", ["tree", "fused", "joint"])
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "gemma2"])
@torch.no_grad()
def test_eager_attention_gives_the_same_as_sdpa(name: str, kind: str) -> None:
    # Gemma 2 caps its attention logits in eager attention only.
    fused = backbone_of(name)
    eager = Backbone(copy.deepcopy(fused.lm))
    eager.lm.set_attn_implementation("eager")
    assert fused.lm.config._attn_implementation == "sdpa"
    found = [start_pass(kind, b, *padded(prompts()), (30,)).grow(TOKENS, PARENTS) for b in (fused, eager)]
    torch.testing.assert_close(found[0], found[1], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_bfloat16_runs_within_its_precision(name: str, implementation: str) -> None:
    exact = backbone_of(name)
    backbone = Backbone(copy.deepcopy(exact.lm).to(torch.bfloat16))
    backbone.lm.set_attn_implementation(implementation)
    assert find_obstacle(backbone) is None
    expected = start_pass("paths", exact, *padded(prompts())).grow(TOKENS, PARENTS)
    for kind in PASSES:
        found = start_pass(kind, backbone, *padded(prompts())).grow(TOKENS, PARENTS)
        assert found.dtype == torch.bfloat16
        # 8 bits: 2^-8 = 0.4 % a rounding, some tens of roundings.
        error = (found.float() - expected).norm(dim=-1) / expected.norm(dim=-1)
        assert 0 < error.max() < 0.1


@torch.no_grad()
def test_attention_that_takes_no_masks_is_swapped_during_the_pass_only() -> None:
    backbone = Backbone(tiny_model("llama"))
    expected = start_pass("joint", backbone, *padded(prompts())).grow(TOKENS, PARENTS)
    config = backbone.lm.config
    config._attn_implementation = "flash_attention_2"
    assert not backbone.takes_any_mask
    assert not backbone.can_continue
    seen = []
    hook = backbone.lm.model.layers[0].register_forward_pre_hook(lambda *_: seen.append(config._attn_implementation))
    found = start_pass("joint", backbone, *padded(prompts())).grow(TOKENS, PARENTS)
    hook.remove()
    assert (seen, config._attn_implementation) == (["sdpa"], "flash_attention_2")
    assert torch.equal(found, expected)


@pytest.mark.parametrize("implementation", ["flash_attention_2", "eager", "sdpa"])
def test_the_attention_setting_is_restored_after_an_error(implementation: str) -> None:
    backbone = Backbone(tiny_model("llama"))
    backbone.lm.config._attn_implementation = implementation
    ids, mask = padded(prompts())
    visible = mask[:, None].expand(-1, ids.shape[1], -1)
    with pytest.raises(IndexError):
        backbone.masked_states(ids + 10_000, positions_of(mask), visible, positions_of(mask))
    assert backbone.lm.config._attn_implementation == implementation


# --- gradients --------------------------------------------------------------------------------------------------------


def functional(nodes: TreePass | JointPass, seed: int) -> Tensor:
    """A random linear function of all states."""
    states = torch.cat([nodes.grow(TOKENS[:, :4], PARENTS[:, :4]), nodes.grow(TOKENS[:, 4:], PARENTS[:, 4:])], dim=1)
    states = torch.cat([nodes.tail, states], dim=1)
    weights = torch.randn(states.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (weights.to(states.dtype) * states).sum()


def gradients(kind: str, backbone: Backbone) -> dict[str, Tensor]:
    backbone.lm.zero_grad(set_to_none=True)
    functional(start_pass(kind, backbone, *padded(prompts()), (30,)), 0).backward()
    return {name: p.grad.clone() for name, p in backbone.lm.named_parameters() if p.grad is not None}


def assert_same_gradients(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Within 1e-5 of each parameter's largest gradient (or of 1 % of the largest of all)."""
    assert found.keys() == expected.keys()
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    assert largest > 0.1
    for name, gradient in expected.items():
        scale = max(float(gradient.abs().max()), 0.01 * largest)
        assert float((found[name] - gradient).abs().max()) <= 1e-5 * scale, name


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_all_passes_have_the_same_gradients(name: str) -> None:
    backbone = Backbone(copy.deepcopy(backbone_of(name).lm))
    expected = gradients("paths", backbone)
    zero = {name for name, gradient in expected.items() if not gradient.any()}
    assert not any("attn" in name and name.endswith("q_proj.weight") for name in zero)
    for kind in ("tree", "fused", "joint"):
        assert_same_gradients(gradients(kind, backbone), expected)


@pytest.mark.parametrize("kind", PASSES)
@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "opt"])
def test_gradients_agree_with_finite_differences(name: str, kind: str) -> None:
    # Models with RMS norms compute these in float32 whatever their weights are.
    backbone = Backbone(copy.deepcopy(backbone_of(name).lm).double())
    found, step = gradients(kind, backbone), 1e-5
    matrices = [(name, weight) for name, weight in backbone.lm.named_parameters() if weight.ndim == 2 and name in found]
    for weight_name, weight in matrices[2::3]:
        place = tuple(torch.unravel_index(found[weight_name].abs().argmax(), weight.shape))
        values = []
        with torch.no_grad():
            for move in (step, -2 * step):
                weight[place] += move
                values.append(float(functional(start_pass(kind, backbone, *padded(prompts()), (30,)), 0)))
            weight[place] += step
        # Central difference: the error is step^2 = 1e-10 times a third derivative, and 1e-16 * 100 / step = 1e-9.
        by_hand = (values[0] - values[1]) / (2 * step)
        assert abs(by_hand) > 1e-2
        assert float(found[weight_name][place]) == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_activation_checkpointing_changes_no_gradient_of_the_joint_pass(name: str) -> None:
    backbone = Backbone(copy.deepcopy(backbone_of(name).lm))
    expected = gradients("joint", backbone)
    assert not backbone.drops_caches
    backbone.lm.activation_checkpointing_enable()
    assert not backbone.drops_caches  # nothing is checkpointed in eval state
    backbone.lm.train()
    assert backbone.drops_caches
    assert_same_gradients(gradients("joint", backbone), expected)


# --- the check --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_capable_models_have_no_obstacle(name: str, training: bool) -> None:
    backbone = Backbone(copy.deepcopy(backbone_of(name).lm).train(training))
    next(iter(backbone.lm.children())).train(not training)
    before = [module.training for module in backbone.lm.modules()]
    setting = backbone.lm.config._attn_implementation
    assert find_obstacle(backbone) is None
    assert [module.training for module in backbone.lm.modules()] == before
    assert backbone.lm.config._attn_implementation == setting


@pytest.mark.parametrize("name", INCAPABLE)
def test_incapable_models_have_one(name: str) -> None:
    reasons = {
        "bloom": "the model takes no position_ids",
        "mamba": "the model takes no position_ids",
        "gpt_neo_local": "its local attention counts columns, not positions",
        "falcon_alibi": r"\w+: .+",
        "lfm2_convolutions": "it has layers of kind conv",
    }
    backbone = Backbone(other_model(name).train())
    reason = find_obstacle(backbone)
    assert reason is not None
    assert re.fullmatch(reasons[name], reason)
    assert all(module.training for module in backbone.lm.modules())


DIFFERENCE = r"a tree's states differ from those of its paths by \d\.\de[+-]\d+ of their norm"


def see_everything(self: Backbone, visible: Tensor, positions: Tensor, key_positions: Tensor) -> object:
    """Masks that hide nothing."""
    return OWN_MASKS(self, torch.ones_like(visible), positions, key_positions)


def see_all_nodes_before(self: Backbone, visible: Tensor, positions: Tensor, key_positions: Tensor) -> object:
    """Plain causal masks: siblings are seen."""
    first = visible.shape[2] - visible.shape[1]
    causal = torch.ones(visible.shape[1:], dtype=torch.bool).tril(first)
    return OWN_MASKS(self, visible | causal, positions, key_positions)


def shift_positions(self: Backbone, visible: Tensor, positions: Tensor, key_positions: Tensor) -> object:
    """Positions that the model gets are off by one."""
    positions += 1
    return OWN_MASKS(self, visible, positions, key_positions)


OWN_MASKS = Backbone._masks


@pytest.mark.parametrize("broken", [see_everything, see_all_nodes_before, shift_positions])
@pytest.mark.parametrize("name", FAMILIES)
def test_broken_masks_and_positions_are_found_out(
    name: str, broken: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backbone, "_masks", broken)
    assert re.fullmatch(DIFFERENCE, find_obstacle(backbone_of(name)) or "")


@pytest.mark.parametrize("name", SLIDING)
def test_a_forgotten_window_is_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(self: Backbone, visible: Tensor, positions: Tensor, key_positions: Tensor) -> object:
        return OWN_MASKS(self, visible, torch.zeros_like(positions), torch.zeros_like(key_positions))

    monkeypatch.setattr(Backbone, "_masks", forget)
    assert re.fullmatch(DIFFERENCE, find_obstacle(backbone_of(name)) or "")


def test_a_model_that_gives_nan_is_found_out() -> None:
    backbone = Backbone(tiny_model("llama"))
    with torch.no_grad():
        backbone.lm.model.norm.weight.fill_(float("nan"))
    assert find_obstacle(backbone) == "a tree's states differ from those of its paths by inf of their norm"


def test_a_refusal_is_passed_on_and_the_state_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = Backbone(tiny_model("gpt2").train())

    def refuse(*_: object, **__: object) -> object:
        raise NotImplementedError("4-D masks are not for me.\nReally not.")

    monkeypatch.setattr(Backbone, "_masks", refuse)
    assert find_obstacle(backbone) == "NotImplementedError: 4-D masks are not for me."
    assert all(module.training for module in backbone.lm.modules())


def test_a_short_context_is_an_obstacle() -> None:
    backbone = copy.copy(backbone_of("llama"))
    backbone.context = 8
    assert find_obstacle(backbone) == "its context of 8 tokens is too short for the check"
