"""Every PEFT method: what trains and how much, no change before training, and what PEFT itself leaves to callers."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING
from safetensors.torch import save_file
from torch import nn
from transformers import LlamaConfig

from adapted_models import ALPHA, IDS, RANK, STEPS, adapted, layers_of, logits, options_of, shake, trained_numbers
from predgen import registries
from predgen.components import defaults_of
from predgen.errors import ConfigError
from predgen.peft_methods.adalora import ORTHOGONALITY_WEIGHT, allocator_state, orthogonality, restore_allocator
from predgen.peft_methods.base import PeftMethod, apply_peft, load_adapter
from predgen.peft_methods.count import trainable_parameters
from tiny_models import LAYERS, tiny_model

FAMILIES = ("llama", "gpt2")
METHODS = tuple(registries.peft_methods)
ADAPTERS = tuple(name for name in METHODS if registries.peft_methods.get(name).trains == "adapter")

# Trained numbers of a layer with i inputs and o outputs, at rank r (AdaLoRA starts at 1.5 r).
COUNTS = {
    "lora": lambda i, o, r: r * (i + o),
    "dora": lambda i, o, r: r * (i + o) + o,
    "lora_fa": lambda i, o, r: r * o,
    "adalora": lambda i, o, r: (3 * r // 2) * (i + o + 1),
    "rocoft": lambda i, o, r: r * o,  # columns
    "melora": lambda i, o, r: r * (i + o),  # whatever the number of blocks
    "moslora": lambda i, o, r: r * (i + o) + r * r,
    "propulsion": lambda i, o, r: o,
}
# Weights that start at random; RoCoFT and Propulsion have none.
RANDOM_STARTS = dict.fromkeys(("lora", "dora", "adalora", "lora_fa"), ("lora_A",))
RANDOM_STARTS |= {"melora": ("melora_A",), "moslora": ("moslora_A", "moslora_M")}


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
    base = tiny_model("llama").to(torch.bfloat16)
    model = apply_peft(registries.peft_methods.get(name), base, options_of(name), total_optimizer_steps=STEPS)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert {p.dtype for p in trained} == {torch.float32}
    assert sum(p.numel() for p in trained) == sum(COUNTS[name](i, o, RANK) for _, i, o in layers_of("llama"))


# Llama-2-7B: 32 layers of q, k, v, o 4096 -> 4096, gate, up 4096 -> 11008, down 11008 -> 4096.
LLAMA_2_7B = LlamaConfig(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32)
PUBLISHED = [
    ("lora", 8, {}, 19_988_480),
    ("adalora", 8, {}, 29_985_408),
    ("rocoft", 3, {"rocoft_axis": "row"}, 3_416_064),
    ("rocoft", 3, {}, 4_079_616),
    ("dora", 8, {}, 21_348_352),
    ("melora", 1, {"melora_blocks": 8}, 2_498_560),
    ("lora_fa", 8, {}, 10_878_976),
    ("moslora", 16, {}, 40_034_304),
    ("propulsion", 0, {}, 1_359_872),
]


@pytest.mark.parametrize(("name", "rank", "settings", "expected"), PUBLISHED)
def test_llama_2_7b_trains_the_published_number_of_parameters(
    name: str, rank: int, settings: dict[str, Any], expected: int
) -> None:
    assert trainable_parameters(name, LLAMA_2_7B, options_of(name, rank, **settings)) == expected


def test_counting_knows_none_and_full() -> None:
    assert trainable_parameters("none", LLAMA_2_7B) == 0
    # Embedding and output 2 * 32000 * 4096, per layer 4 * 4096^2 + 3 * 4096 * 11008 + 2 norms, and the last norm.
    expected = 2 * 32000 * 4096 + 32 * (4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096) + 4096
    assert trainable_parameters("full", LLAMA_2_7B) == expected == 6_738_415_616


@pytest.mark.parametrize("name", ADAPTERS)
def test_counting_gives_what_a_real_model_trains(name: str) -> None:
    assert trainable_parameters(name, tiny_model("gpt2").config, options_of(name)) == trained_numbers(
        adapted(name, "gpt2")
    )


@pytest.mark.parametrize("name", METHODS)
def test_declared_settings_are_those_the_method_reads(name: str) -> None:
    """A setting that is declared and not read would be ignored in silence; one that is read has to be declared."""

    class Noting(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            read.add(key)
            return super().__getitem__(key)

        def get(self, key: str, *otherwise: Any) -> Any:
            read.add(key)
            return super().get(key, *otherwise)

    read: set[str] = set()
    declared = defaults_of(registries.peft_methods, name)
    apply_peft(registries.peft_methods.get(name), tiny_model("llama"), Noting(declared), total_optimizer_steps=1)
    assert read == set(declared)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("rocoft", {"rank": 17}, r"rocoft: `rank` 17 does not fit layer '.*k_proj', which has 16 rows"),
        ("melora", {"melora_blocks": 3}, r"`melora_blocks` is 3, .* \(32 inputs, 32 outputs\). Choose a divisor of 32"),
        ("melora", {"melora_blocks": 32}, r"layer '.*k_proj' \(32 inputs, 16 outputs\). Choose a divisor of 16"),
    ],
)
def test_setting_that_does_not_fit_a_layer_is_refused(name: str, settings: dict[str, Any], message: str) -> None:
    extra = {"rocoft_axis": "row"} if name == "rocoft" else {}
    with pytest.raises(ConfigError, match=message):
        adapted(name, **{**extra, **settings})


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
    prefix = PEFT_TYPE_TO_PREFIX_MAPPING[model.peft_config["default"].peft_type]
    assert all(f".{prefix}" in n for n in trained)
    wrapped = {n.split(f".{prefix}")[0].removeprefix("base_model.model.") for n in trained}
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
    loaded = load_adapter(registries.peft_methods.get(name), tiny_model(family), tmp_path, options_of(name))
    assert torch.equal(logits(loaded), logits(model))
    assert trained_numbers(loaded) == 0


@pytest.mark.parametrize(("name", "family"), list(itertools.product(RANDOM_STARTS, FAMILIES)))
def test_random_start_belongs_to_the_seed(name: str, family: str) -> None:
    first, same, other = (dict(adapted(name, family, seed=s).named_parameters()) for s in (0, 0, 1))
    names = [n for n in first if any(part in n for part in RANDOM_STARTS[name])]
    assert len(names) == len(layers_of(family)) * len(RANDOM_STARTS[name])
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
    loaded = load_adapter(registries.peft_methods.get("lora_fa"), tiny_model("llama"), tmp_path, options_of("lora_fa"))
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
    restore_allocator(fresh, allocator_state(half))
    for model, steps in ((whole, range(26)), (fresh, range(stop_at, 26))):
        run_budget(model, steps)
    if stop_at < 26:  # the averages are dropped when the budget is settled
        first, second = allocator_state(whole), allocator_state(fresh)
        # Three averages of A, B and E in each layer; and which ranks of its E are kept.
        assert len(first) == 3 * 3 * 7 * LAYERS + 7 * LAYERS
        assert [name for name in first if not torch.equal(first[name], second[name])] == []
    run_budget(whole, range(26, STEPS))
    run_budget(fresh, range(max(26, stop_at), STEPS))
    named = dict(fresh.named_parameters())
    assert [n for n, p in whole.named_parameters() if not torch.equal(p, named[n])] == []
    assert fresh.peft_config["default"].rank_pattern == whole.peft_config["default"].rank_pattern


@pytest.mark.parametrize("stop_at", [2, 20])  # before any rank was taken away, and after
def test_state_of_the_allocator_is_read_as_0_1_wrote_it(stop_at: int, tmp_path: Path) -> None:
    method: PeftMethod = registries.peft_methods.get("adalora")
    assert method.state_of_0_1 is not None
    assert method.state_of_0_1(tmp_path) is None
    model = adapted("adalora")
    run_budget(model, range(stop_at))
    state, pattern = allocator_state(model), model.peft_config["default"].rank_pattern
    averages = {name: value for name, value in state.items() if not name.startswith("rank_pattern/")}
    save_file(averages, tmp_path / "rank_allocator.safetensors")
    (tmp_path / "adapter_state.json").write_text(json.dumps({"rank_pattern": pattern}))
    found = method.state_of_0_1(tmp_path)
    assert bool(pattern) == (len(state) > len(averages)) == (stop_at == 20)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


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
    loaded = load_adapter(method, tiny_model("llama"), tmp_path, options_of("adalora"))
    assert torch.equal(logits(loaded), logits(model))
