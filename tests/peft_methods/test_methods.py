"""Every PEFT method: what trains and how much, no change before training, and what PEFT itself leaves to callers."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from predgen import registries
from predgen.peft_methods.adalora import ORTHOGONALITY_WEIGHT, allocator_state, orthogonality, restore_allocator
from predgen.peft_methods.base import PeftMethod, apply_peft, load_adapter
from tiny_models import LAYERS, tiny_model

RANK, ALPHA, STEPS = 2, 4.0, 40
FAMILIES = ("llama", "gpt2")
METHODS = tuple(registries.peft_methods)
ADAPTERS = tuple(name for name in METHODS if registries.peft_methods.get(name).trains == "adapter")
IDS = torch.tensor([[3, 7, 11, 2, 9, 30, 31]])

# Trained numbers of a layer with i inputs and o outputs, at rank r (AdaLoRA starts at 1.5 r).
COUNTS = {
    "lora": lambda i, o, r: r * (i + o),
    "dora": lambda i, o, r: r * (i + o) + o,
    "lora_fa": lambda i, o, r: r * o,
    "adalora": lambda i, o, r: (3 * r // 2) * (i + o + 1),
}


def adapted(name: str, family: str = "llama", *, seed: int = 0, rank: int = RANK) -> Any:
    """A tiny model with a method's adapter, drawn with a seed of its own."""
    torch.manual_seed(seed)
    return apply_peft(registries.peft_methods.get(name), tiny_model(family), rank, ALPHA, STEPS)


def trained_numbers(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def layers_of(family: str) -> list[tuple[str, int, int]]:
    """Name, inputs and outputs of every linear layer but the output embedding."""
    found = []
    for name, module in tiny_model(family).named_modules():
        if isinstance(module, Conv1D):
            found.append((name, *module.weight.shape))
        elif isinstance(module, nn.Linear) and name != "lm_head":
            found.append((name, module.in_features, module.out_features))
    return found


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=IDS).logits
    return found


def shake(model: nn.Module) -> None:
    """Stand for training: move every trained number."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))


def test_registered_methods_are_as_named() -> None:
    assert {name: registries.peft_methods.get(name).name for name in METHODS} == dict(
        zip(METHODS, METHODS, strict=True)
    )
    assert set(COUNTS) == set(ADAPTERS)


@pytest.mark.parametrize(("family", "n"), [("llama", 7), ("gpt2", 4)])  # q k v o gate up down; qkv o up down
def test_layers_are_found(family: str, n: int) -> None:
    assert len(layers_of(family)) == n * LAYERS


@pytest.mark.parametrize(("name", "family"), list(itertools.product(ADAPTERS, FAMILIES)))
@pytest.mark.parametrize("rank", [2, 4])
def test_trained_numbers_follow_the_formula(name: str, family: str, rank: int) -> None:
    expected = sum(COUNTS[name](i, o, rank) for _, i, o in layers_of(family))
    assert trained_numbers(adapted(name, family, rank=rank)) == expected


@pytest.mark.parametrize("name", ADAPTERS)
def test_bfloat16_base_gets_a_float32_adapter_of_the_same_size(name: str) -> None:
    torch.manual_seed(0)
    model = apply_peft(registries.peft_methods.get(name), tiny_model("llama").to(torch.bfloat16), RANK, ALPHA, STEPS)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert {p.dtype for p in trained} == {torch.float32}
    assert sum(p.numel() for p in trained) == sum(COUNTS[name](i, o, RANK) for _, i, o in layers_of("llama"))


def test_formulas_give_the_published_counts() -> None:
    # Llama-2-7B: 32 layers of q, k, v, o 4096 -> 4096, gate, up 4096 -> 11008, down 11008 -> 4096.
    shapes = [(4096, 4096)] * 4 + [(4096, 11008)] * 2 + [(11008, 4096)]
    counts = {name: 32 * sum(count(i, o, 8) for i, o in shapes) for name, count in COUNTS.items()}
    assert counts == {"lora": 19_988_480, "dora": 21_348_352, "lora_fa": 10_878_976, "adalora": 29_985_408}


@pytest.mark.parametrize("family", FAMILIES)
def test_none_trains_nothing_and_full_everything(family: str) -> None:
    whole = sum(p.numel() for p in tiny_model(family).parameters())
    assert trained_numbers(adapted("none", family)) == 0
    assert trained_numbers(adapted("full", family)) == whole


@pytest.mark.parametrize(("name", "family"), list(itertools.product(ADAPTERS, FAMILIES)))
def test_base_stays_frozen_and_outside_of_output_layer_and_embeddings(name: str, family: str) -> None:
    model = adapted(name, family)
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in n for n in trained)
    wrapped = {n.split(".lora_")[0].removeprefix("base_model.model.") for n in trained}
    assert wrapped == {layer for layer, _, _ in layers_of(family)}  # in particular not lm_head


@pytest.mark.parametrize(("name", "family"), list(itertools.product(METHODS, FAMILIES)))
def test_fresh_model_computes_what_its_base_computes(name: str, family: str) -> None:
    # DoRA divides by the norm of the weights and multiplies by the same number again: float32 rounding.
    tolerance = 2e-5 if name == "dora" else 0.0
    plain = logits(tiny_model(family))
    assert float((logits(adapted(name, family)) - plain).abs().max()) <= tolerance * float(plain.abs().max())


@pytest.mark.parametrize(("name", "family"), list(itertools.product(ADAPTERS, FAMILIES)))
def test_all_that_trains_gets_a_gradient_and_changes_the_output(name: str, family: str) -> None:
    model = adapted(name, family)
    shake(model)  # B, or AdaLoRA's E, starts at 0 and would hold back the others' gradients
    model(input_ids=IDS).logits.square().mean().backward()
    without = [
        n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.abs().max() > 0)
    ]
    assert without == []
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    assert float((logits(model) - logits(tiny_model(family))).abs().max()) > 1e-3


@pytest.mark.parametrize(("name", "family"), list(itertools.product(ADAPTERS, FAMILIES)))
def test_switched_off_adapter_gives_the_base_back(name: str, family: str) -> None:
    model = adapted(name, family)
    shake(model)
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(tiny_model(family)))


@pytest.mark.parametrize(("name", "family"), list(itertools.product(ADAPTERS, FAMILIES)))
def test_written_adapter_reads_back_the_same(name: str, family: str, tmp_path: Path) -> None:
    model = adapted(name, family)
    shake(model)
    model.save_pretrained(str(tmp_path))
    loaded = load_adapter(registries.peft_methods.get(name), tiny_model(family), str(tmp_path))
    assert torch.equal(logits(loaded), logits(model))
    assert trained_numbers(loaded) == 0


@pytest.mark.parametrize(("name", "family"), list(itertools.product(ADAPTERS, FAMILIES)))
def test_random_start_belongs_to_the_seed(name: str, family: str) -> None:
    first, same, other = (dict(adapted(name, family, seed=s).named_parameters()) for s in (0, 0, 1))
    names = [n for n in first if "lora_A" in n]
    assert all(torch.equal(first[n], same[n]) for n in names)
    assert all(not torch.equal(first[n], other[n]) for n in names)


# LoRA's arithmetic


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_update_is_alpha_over_rank_times_b_a(family: str) -> None:
    model = adapted("lora", family)
    shake(model)
    name, inputs, outputs = layers_of(family)[0]
    layer = model.get_base_model().get_submodule(name)
    x = torch.randn(3, inputs)
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert (a.shape, b.shape) == ((RANK, inputs), (outputs, RANK))
    with torch.no_grad():
        torch.testing.assert_close(layer(x) - layer.base_layer(x), ALPHA / RANK * x @ a.T @ b.T, rtol=1e-4, atol=1e-5)


# LoRA-FA


def frozen_and_trained(model: nn.Module) -> tuple[set[bool], set[bool]]:
    """Whether A trains, and whether B does."""
    named = list(model.named_parameters())
    return {p.requires_grad for n, p in named if "lora_A" in n}, {p.requires_grad for n, p in named if "lora_B" in n}


def test_lora_fa_keeps_a_frozen_when_adapters_are_switched() -> None:
    model = adapted("lora_fa")
    assert frozen_and_trained(model) == ({False}, {True})
    with model.disable_adapter():
        logits(model)
    assert frozen_and_trained(model) == ({False}, {True})
    model.set_adapter("default")
    assert frozen_and_trained(model) == ({False}, {True})


def test_lora_fa_keeps_a_frozen_after_loading(tmp_path: Path) -> None:
    adapted("lora_fa").save_pretrained(str(tmp_path))
    loaded = load_adapter(registries.peft_methods.get("lora_fa"), tiny_model("llama"), str(tmp_path))
    assert frozen_and_trained(loaded) == ({False}, {False})
    loaded.set_adapter("default")  # makes an adapter trainable
    assert frozen_and_trained(loaded) == ({False}, {True})


def test_freezing_a_stays_with_lora_fa() -> None:
    adapted("lora_fa")
    assert frozen_and_trained(adapted("lora")) == ({True}, {True})


# AdaLoRA


@pytest.mark.parametrize("family", FAMILIES)
def test_orthogonality_is_what_peft_adds_to_its_own_loss(family: str) -> None:
    model = adapted("adalora", family)
    shake(model)
    labels = {"input_ids": IDS, "labels": IDS}
    with_term, without = model(**labels).loss, model.base_model.model(**labels).loss
    ours = ORTHOGONALITY_WEIGHT * orthogonality(model)
    torch.testing.assert_close(ours, with_term - without, rtol=1e-5, atol=1e-5)
    assert ours.item() > 0.01


def test_orthogonality_by_hand_is_zero_for_orthonormal_factors() -> None:
    # A and B of one layer, rank 2: A A^T = I and B^T B = I, so both norms are 0; doubling A gives |4 I - I| = 3 sqrt(2).
    layer = nn.ModuleDict(
        {"lora_A": nn.ParameterList([torch.eye(2, 5)]), "lora_B": nn.ParameterList([torch.eye(4, 2)])}
    )
    assert orthogonality(layer).item() == 0.0
    with torch.no_grad():
        layer["lora_A"][0].mul_(2.0)
    assert orthogonality(layer).item() == pytest.approx(3 * 2**0.5 / 2)


def run_budget(model: Any, steps: range) -> None:
    """Take plain gradient steps and tell the allocator of each."""
    for step in steps:
        model(input_ids=IDS + step % 3, labels=IDS).loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.sub_(0.05 * parameter.grad)
        model.base_model.update_and_allocate(step)
        model.zero_grad()


def ranks(model: Any) -> int:
    """Ranks whose singular value is not 0."""
    return sum(int((p != 0).sum()) for n, p in model.named_parameters() if "lora_E" in n)


def test_budget_falls_to_the_average_rank() -> None:
    model = adapted("adalora")
    shake(model)
    assert ranks(model) == 3 * 7 * LAYERS  # 1.5 r in each layer
    run_budget(model, range(STEPS))
    assert ranks(model) == RANK * 7 * LAYERS


@pytest.mark.parametrize("stop_at", [20, 35])  # while the budget falls (up to step 28), and after it is settled
def test_allocator_goes_on_after_it_was_restored(stop_at: int) -> None:
    whole, half, fresh = (adapted("adalora", seed=s) for s in (0, 0, 9))
    shake(whole)
    shake(half)
    run_budget(half, range(stop_at))
    fresh.load_state_dict(half.state_dict())
    restore_allocator(fresh, allocator_state(half), half.peft_config["default"].rank_pattern)
    for model, steps in ((whole, range(26)), (fresh, range(stop_at, 26))):
        run_budget(model, steps)
    if stop_at < 26:  # the averages are dropped when the budget is settled
        first, second = allocator_state(whole), allocator_state(fresh)
        assert len(first) == 3 * 3 * 7 * LAYERS  # three averages of A, B and E in each layer
        assert [name for name in first if not torch.equal(first[name], second[name])] == []
    run_budget(whole, range(26, STEPS))
    run_budget(fresh, range(max(26, stop_at), STEPS))
    named = dict(fresh.named_parameters())
    assert [n for n, p in whole.named_parameters() if not torch.equal(p, named[n])] == []
    assert fresh.peft_config["default"].rank_pattern == whole.peft_config["default"].rank_pattern


@pytest.mark.filterwarnings("ignore:.*LoRA tensor.s. have invalid shape")  # layers pruned to rank 0
def test_pruned_adalora_computes_the_same_with_fewer_numbers(tmp_path: Path) -> None:
    method: PeftMethod = registries.peft_methods.get("adalora")
    model = adapted("adalora")
    shake(model)
    run_budget(model, range(STEPS))
    before, numbers = logits(model), trained_numbers(model)
    assert method.after_training is not None
    method.after_training(model)
    assert trained_numbers(model) < numbers
    torch.testing.assert_close(logits(model), before, rtol=1e-5, atol=1e-5)
    model.save_pretrained(str(tmp_path))
    loaded = load_adapter(method, tiny_model("llama"), str(tmp_path))
    assert torch.equal(logits(loaded), logits(model))
