"""Adapters on base models that are not attention throughout: every one of them is applied, trained and saved."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from other_models import other_model
from predgen import registries
from predgen.components import defaults_of
from predgen.engine.backbone import Backbone
from predgen.engine.base_model import without_dropout
from predgen.peft_methods import base
from predgen.peft_methods.base import apply_peft, load_adapter
from tiny_models import tiny_model

FAMILIES = ("mamba", "mamba2", "falcon_mamba", "rwkv", "recurrent_gemma", "jamba")
ADAPTERS = [n for n in registries.peft_methods if registries.peft_methods.get(n).trains == "adapter"]


def options_of(name: str) -> dict[str, Any]:
    """A method's settings, tiny."""
    settings: dict[str, Any] = defaults_of(registries.peft_methods, name)
    return settings | {"rank": 2}


def adapted(name: str, family: str) -> Any:
    """A base with an adapter, all of whose weights are moved at random: fresh ones change nothing."""
    method = registries.peft_methods.get(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        lm = apply_peft(method, other_model(family), options_of(name), total_optimizer_steps=10)
        for weight in lm.parameters():
            if weight.requires_grad:
                weight.data.add_(0.1 * torch.randn_like(weight))
    return lm


def states_of(lm: Any) -> torch.Tensor:
    """Last hidden states of a row."""
    ids = torch.arange(2, 14)[None]
    plain = lm.get_base_model() if hasattr(lm, "get_base_model") else lm
    return Backbone(plain).states(ids, torch.ones_like(ids, dtype=torch.bool))[0]


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_of_an_adapter_is_trained(family: str, name: str) -> None:
    lm = adapted(name, family)
    states = states_of(lm)
    with torch.no_grad():
        assert (states - states_of(other_model(family))).abs().max() > 1e-3
    states.square().sum().backward()
    trained = {key: weight for key, weight in lm.named_parameters() if weight.requires_grad}
    assert trained
    untouched = [key for key, weight in trained.items() if weight.grad is None or not weight.grad.any()]
    assert untouched == []


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("family", ["mamba", "jamba"])
def test_an_adapter_is_read_back_and_merged(family: str, name: str, tmp_path: Path) -> None:
    lm = adapted(name, family)
    with torch.no_grad():
        expected = states_of(lm)
        lm.save_pretrained(tmp_path)
        again = load_adapter(registries.peft_methods.get(name), other_model(family), tmp_path, options_of(name))
        torch.testing.assert_close(states_of(again), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(states_of(lm.merge_and_unload()), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["none", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_bases_train_as_a_whole_or_not_at_all(family: str, name: str) -> None:
    lm = apply_peft(registries.peft_methods.get(name), other_model(family), {}, total_optimizer_steps=10)
    assert {weight.requires_grad for weight in lm.parameters()} == {name == "full"}


@pytest.mark.parametrize(
    ("family", "layers"),
    [
        ("mamba", {"mixer.x_proj", "mixer.dt_proj", "mixer.out_proj"}),
        ("mamba2", {"mixer.out_proj"}),
        ("jamba", {"mamba.x_proj", "mamba.dt_proj", "mamba.out_proj"}),
        ("rwkv", set()),
        ("recurrent_gemma", set()),
    ],
)
def test_layers_that_state_spaces_never_call_are_left_out(family: str, layers: set[str]) -> None:
    assert base.uncalled_layers(other_model(family)) == layers
    lm = adapted("lora", family)
    targets = {key.rpartition(".lora_A")[0] for key, _ in lm.named_parameters() if "lora_A" in key}
    assert targets
    assert not [key for key in targets if key.endswith(tuple(layers))] if layers else True


def test_attention_has_no_such_layers() -> None:
    assert base.uncalled_layers(tiny_model("llama")) == set()


def test_an_adapted_rwkv_computes_the_same_in_train_and_eval_state() -> None:
    lm = other_model("rwkv")
    lm.config.rescale_every = 1
    without_dropout(lm.config)
    lm = apply_peft(registries.peft_methods.get("lora"), lm, {"rank": 2, "alpha": 4.0}, total_optimizer_steps=10)
    for weight in lm.parameters():
        if weight.requires_grad:
            nn.init.normal_(weight, std=0.1)
    before = {name: weight.clone() for name, weight in lm.named_parameters()}
    with torch.no_grad():
        trained = states_of(lm.train())
        torch.testing.assert_close(states_of(lm.eval()), trained, atol=1e-5, rtol=1e-5)
    assert all(torch.equal(weight, before[name]) for name, weight in lm.named_parameters())
