"""What is found out about a base model when it is loaded."""

from typing import Any

import pytest
import torch
from torch import Tensor

from one_by_one import ARCHITECTURES, backbone_of
from other_models import NOT_CAUSAL, other_model
from predgen.engine import abilities
from predgen.engine.abilities import abilities_of, find_abilities
from predgen.engine.backbone import Abilities, Backbone, Replay
from predgen.errors import ModelError
from tiny_models import tiny_model

pytestmark = pytest.mark.usefixtures("real_abilities")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_capable_models_pass_every_check(name: str) -> None:
    assert find_abilities(backbone_of(name)) == Abilities()


@pytest.mark.parametrize("name", ["mamba", "mamba2", "falcon_mamba"])
def test_models_with_a_cache_of_another_name_use_it(name: str) -> None:
    found = abilities_of(other_model(name))
    assert (found.batch, found.padding, found.cache) == (None, None, None)
    assert Backbone(other_model(name)).cache_name == "cache_params"


@pytest.mark.parametrize("name", ["rwkv", "recurrent_gemma"])
def test_models_that_ignore_the_mask_are_found_out(name: str) -> None:
    found = abilities_of(other_model(name))
    assert found.padding is not None
    assert "padding changes a row's states" in found.padding
    assert found.tree is not None


@pytest.mark.parametrize("name", NOT_CAUSAL)
def test_models_that_look_ahead_are_refused(name: str) -> None:
    lm = other_model(name)
    with pytest.raises(ModelError, match=type(lm).__name__):
        abilities_of(lm)


def test_llama_4_can_be_used() -> None:
    lm = other_model("llama4")
    found = abilities_of(lm)
    assert (found.batch, found.padding, found.cache) == (None, None, None)
    ids = torch.arange(2, 9)[None]
    backbone = Backbone(lm, found)
    with torch.no_grad():
        ours = backbone.logits(backbone.states(ids, torch.ones_like(ids, dtype=torch.bool))[0])
        torch.testing.assert_close(ours, lm(input_ids=ids).logits, atol=1e-5, rtol=0)


def test_a_model_without_the_parts_of_a_language_model_is_refused_by_name() -> None:
    lm = tiny_model("llama")
    lm.get_output_embeddings = lambda: None
    with pytest.raises(ModelError, match=r"LlamaForCausalLM.*AttributeError"):
        abilities_of(lm)


def test_a_model_whose_code_fails_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_model("llama")

    def fail(*args: object, **kwargs: object) -> None:
        raise AttributeError("no such part")

    monkeypatch.setattr(lm.model, "forward", fail)
    with pytest.raises(ModelError, match=r"LlamaForCausalLM.*no such part"):
        abilities_of(lm)


# --- each check, on a Llama that is broken in one way -----------------------------------------------------------------


class Broken:
    """Wraps a decoder's forward, to change what goes in or comes out."""

    def __init__(self, lm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.own = lm.model.forward
        self.__signature__ = __import__("inspect").signature(self.own)
        monkeypatch.setattr(lm.model, "forward", self)

    def __call__(self, **given: Any) -> Any:
        raise NotImplementedError


class LooksAhead(Broken):
    def __call__(self, **given: Any) -> Any:
        output = self.own(**given)
        states = output.last_hidden_state
        output.last_hidden_state = states + torch.cat([states[:, 1:], states[:, -1:]], dim=1)
        return output


class MixesRows(Broken):
    def __call__(self, **given: Any) -> Any:
        output = self.own(**given)
        output.last_hidden_state = output.last_hidden_state + output.last_hidden_state.mean(dim=0, keepdim=True)
        return output


class IgnoresMask(Broken):
    def __call__(self, **given: Any) -> Any:
        return self.own(**given | {"attention_mask": torch.ones_like(given["attention_mask"])})


class MindsRightPadding(Broken):
    def __call__(self, **given: Any) -> Any:
        output = self.own(**given)
        padded = 1 - given["attention_mask"][:, -1:, None].float()
        output.last_hidden_state = output.last_hidden_state + padded
        return output


class ForgetsCache(Broken):
    def __call__(self, **given: Any) -> Any:
        if given["past_key_values"] is not None:
            length = given["input_ids"].shape[1]
            given |= {"past_key_values": None, "attention_mask": given["attention_mask"][:, -length:]}
        return self.own(**given)


class ReturnsNoCache(Broken):
    def __call__(self, **given: Any) -> Any:
        output = self.own(**given)
        output.past_key_values = None
        return output


@pytest.mark.parametrize(
    ("broken", "failed"),
    [
        (MixesRows, "batch"),
        (IgnoresMask, "padding"),
        (MindsRightPadding, "padding"),
        (ForgetsCache, "cache"),
        (ReturnsNoCache, "cache"),
    ],
)
def test_each_fault_is_found_out_and_goes_round(
    broken: type[Broken], failed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm, plain = tiny_model("llama"), Backbone(tiny_model("llama"))
    broken(lm, monkeypatch)
    found = find_abilities(Backbone(lm))
    reasons = {name: getattr(found, name) for name in ("batch", "padding", "cache", "tree")}
    assert next(name for name, reason in reasons.items() if reason is not None) == failed
    assert found.detour is not None
    assert str(reasons[failed]) in found.detour
    if broken is not MixesRows:  # whose rows are other ones alone, too
        assert_same_states(Backbone(lm, found), plain)


def assert_same_states(ours: Backbone, plain: Backbone) -> None:
    """Prefill and two steps, rows padded on the left and the second one closed at last."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(2, 128, (3, 9), generator=generator)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, :3], mask[2, :6], mask[1, 8] = False, False, False

    @torch.no_grad()
    def states(backbone: Backbone) -> Tensor:
        cache, parts = None, []
        for start, end in ((0, 7), (7, 8), (8, 9)):
            part, cache = backbone.states(ids[:, start:end], mask[:, :end], cache=cache, use_cache=True)
            parts.append(part)
        assert isinstance(cache, Replay) == (backbone is ours)
        return torch.cat(parts, dim=1)

    torch.testing.assert_close(states(ours)[mask], states(plain)[mask], atol=1e-5, rtol=0)


def test_looking_ahead_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_model("llama")
    LooksAhead(lm, monkeypatch)
    with pytest.raises(ModelError, match=r"LlamaForCausalLM.*not causal"):
        find_abilities(Backbone(lm))


# --- when ---------------------------------------------------------------------------------------------------------


def test_a_base_is_checked_once_whatever_is_built_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(abilities, "find_abilities", lambda backbone: (seen.append(1), Abilities(tree="a test"))[1])
    lm = tiny_model("llama")
    assert [abilities_of(lm).tree for _ in range(3)] == ["a test"] * 3
    assert len(seen) == 1
    abilities_of(tiny_model("llama"))
    assert len(seen) == 2


def test_checks_leave_the_train_state_as_found() -> None:
    lm = tiny_model("gpt2").train()
    lm.transformer.h[0].eval()
    before = [part.training for part in lm.modules()]
    abilities_of(lm)
    assert [part.training for part in lm.modules()] == before


def test_half_precision_is_allowed_its_rounding() -> None:
    for name in ("llama", "gpt_neox", "gemma3"):
        assert find_abilities(Backbone(tiny_model(name).to(torch.bfloat16))) == Abilities()
    assert find_abilities(Backbone(other_model("rwkv").to(torch.bfloat16))).padding is not None
