"""Trees run level by level on copied caches: every node is what a plain forward says, gradients too, whatever the cache is made of."""

import functools

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from one_by_one import padded, prompts
from other_models import RECURRENT, other_model
from predgen.engine import abilities as checks
from predgen.engine.abilities import abilities_of
from predgen.engine.backbone import Abilities, Backbone
from predgen.engine.level_pass import LevelPass, cache_of_rows, find_copy_obstacle
from predgen.engine.node_pass import start_pass
from predgen.engine.tree_pass import PathPass

TOLERANCE = 1e-5
TOKENS = torch.tensor([[5, 6, 7, 8, 9, 5], [70, 71, 72, 73, 74, 75], [11, 12, 13, 14, 15, 16]])
PARENTS = torch.tensor([[0, 0, 1, 3, 1, 4], [0, 1, 2, 3, 4, 5], [0, 0, 0, 0, 2, 5]])
COPIED = ("mamba", "mamba2", "falcon_mamba", "jamba", "lfm2_convolutions")
every_kind = pytest.mark.parametrize("name", [*COPIED, "bloom"])


@functools.cache
def backbone_of(name: str) -> Backbone:
    lm = other_model(name)
    return Backbone(lm, abilities_of(lm))


def run(backbone: Backbone, kind: type[LevelPass] | type[PathPass]) -> Tensor:
    """States of the root, the head and all nodes."""
    nodes = kind(backbone, *padded(prompts()), (30, 31))
    return torch.cat([nodes.tail, nodes.grow(TOKENS, PARENTS)], dim=1)


@every_kind
@torch.no_grad()
def test_every_node_is_what_its_path_says(name: str) -> None:
    backbone = backbone_of(name)
    assert backbone.abilities.by_level
    assert isinstance(start_pass(backbone, backbone.abilities.tree, *padded(prompts())), LevelPass)
    torch.testing.assert_close(run(backbone, LevelPass), run(backbone, PathPass), atol=TOLERANCE, rtol=0)


@every_kind
def test_gradients_are_those_of_paths(name: str) -> None:
    backbone = backbone_of(name)
    weights = [weight for weight in backbone.lm.parameters() if weight.requires_grad]
    found = []
    for kind in (LevelPass, PathPass):
        states = run(backbone, kind)
        by_state = torch.linspace(-1, 1, states.numel()).view_as(states)
        found.append(torch.autograd.grad((states * by_state).sum(), weights, allow_unused=True))
    for ours, theirs in zip(*found, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            assert float((ours - theirs).norm()) <= 1e-4 * float(theirs.norm()) + 1e-6


@pytest.mark.parametrize("name", ["jamba", "mamba2"])
@torch.no_grad()
def test_nodes_grown_later_hang_on_those_that_were_kept(name: str) -> None:
    backbone = backbone_of(name)
    nodes = LevelPass(backbone, *padded(prompts()), (30,))
    whole = LevelPass(backbone, *padded(prompts()), (30,)).grow(TOKENS, PARENTS)
    first = nodes.grow(TOKENS[:, :3], PARENTS[:, :3])
    torch.testing.assert_close(first, whole[:, :3], atol=TOLERANCE, rtol=0)
    nodes.keep(torch.tensor([[1, 3], [1, 2], [1, 0]]))  # of the last row one node, and padding
    again = nodes.grow(torch.tensor([[8], [72], [99]]), torch.tensor([[2], [2], [0]]))
    torch.testing.assert_close(again[0, 0], whole[0, 3], atol=TOLERANCE, rtol=0)  # 8 behind 5, 7
    torch.testing.assert_close(again[1, 0], whole[1, 2], atol=TOLERANCE, rtol=0)  # 72 behind 70, 71


@torch.no_grad()
def test_a_depth_costs_one_forward_of_one_token(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, shapes = backbone_of("jamba"), []
    states = Backbone.states

    def counted(self: Backbone, ids: Tensor, mask: Tensor, **how: object) -> object:
        shapes.append(tuple(ids.shape))
        return states(self, ids, mask, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Backbone, "states", counted)
    nodes = LevelPass(backbone, *padded(prompts()))
    nodes.grow(TOKENS[:1].expand(3, -1), PARENTS[:1].expand(3, -1))
    width = max(map(len, prompts()))
    assert shapes == [(3, width), (6, 1), (6, 1), (3, 1), (3, 1)]  # two nodes at depths 1 and 2, then one


def test_copies_leave_what_they_are_made_of() -> None:
    cache = DynamicCache()
    cache.update(torch.arange(6.0).view(3, 1, 2, 1), torch.ones(3, 1, 2, 1), 0)
    twin = cache_of_rows(cache, 3, torch.tensor([2, 0, 2, 2]))
    twin.update(torch.zeros(4, 1, 1, 1), torch.zeros(4, 1, 1, 1), 0)
    assert twin.layers[0].keys[:, 0, :, 0].tolist() == [[4, 5, 0], [0, 1, 0], [4, 5, 0], [4, 5, 0]]
    assert cache.layers[0].keys[:, 0, :, 0].tolist() == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.usefixtures("real_abilities")
def test_models_whose_caches_cannot_be_copied_run_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(cache: object, size: int, rows: Tensor) -> object:
        return cache_of_rows(cache, size, rows.flip(0))

    monkeypatch.setattr("predgen.engine.level_pass.cache_of_rows", wrong)
    backbone = backbone_of("mamba")
    assert "differs" in str(find_copy_obstacle(backbone))
    found = checks.find_abilities(backbone)
    assert found.copies is not None
    assert found.copies == found.gradients
    refused = Backbone(backbone.lm, found)
    assert isinstance(start_pass(refused, found.tree, *padded(prompts())), PathPass)


def test_padding_and_rows_apart_come_before_copies() -> None:
    for name in set(RECURRENT) - set(COPIED):
        assert not backbone_of(name).abilities.by_level
    assert not Abilities(tree="none", cache="lost").by_level
    assert not Abilities().by_level
