"""The tuners that PEFT does not have, used through PEFT: arithmetic by a second route, and what PEFT promises of a method."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, PeftType, convert_to_lora, get_peft_model, set_peft_model_state_dict
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from adapted_models import IDS, layers_of, logits, shake, trained_numbers
from predgen.errors import ConfigError
from predgen.peft_methods import MeloraConfig, MosloraConfig, PropulsionConfig, RocoftConfig
from predgen.peft_methods.tuners.base import TunerConfig
from predgen.peft_methods.tuners.peft_types import peft_type, register_tuner
from predgen.peft_methods.tuners.rocoft import RocoftModel, chosen_indices
from tiny_models import tiny_model

ALL = "all-linear"
CASES: dict[str, Callable[..., TunerConfig]] = {
    "rocoft-column": lambda **k: RocoftConfig(**{"r": 3, **k}),
    "rocoft-row": lambda **k: RocoftConfig(**{"r": 3, "axis": "row", **k}),
    "rocoft-random": lambda **k: RocoftConfig(**{"r": 2, "selection": "random", "seed": 4, **k}),
    "rocoft-indices": lambda **k: RocoftConfig(
        **{"r": 2, "axis": "row", "selection": "indices", "indices": [7, 0], **k}
    ),
    "melora": lambda **k: MeloraConfig(**{"r": 2, "n": 4, "alpha": 3.0, **k}),
    "moslora": lambda **k: MosloraConfig(**{"r": 3, "alpha": 2.0, **k}),
    "propulsion": lambda **k: PropulsionConfig(**{"degree": 3, **k}),
}
ADDITIVE = [name for name in CASES if name != "propulsion"]
each_case = pytest.mark.parametrize("case", CASES)
each_family = pytest.mark.parametrize("family", ["llama", "gpt2"])
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def with_adapter(case: str, family: str = "llama", base: Any = None, **settings: Any) -> Any:
    """A tiny model with a fresh adapter, made by PEFT itself."""
    torch.manual_seed(0)
    config = CASES[case](target_modules=ALL, task_type="CAUSAL_LM", **settings)
    return get_peft_model(tiny_model(family) if base is None else base, config)


def trained(case: str, family: str = "llama", **settings: Any) -> Any:
    model = with_adapter(case, family, **settings)
    shake(model)
    return model


def assert_close(first: Tensor, second: Tensor, relative: float = 3e-6) -> None:
    """Equal up to float32 rounding, relative to the largest entry."""
    assert float((first - second).abs().max()) <= relative * float(second.abs().max())


# Arithmetic: dense weights, written out here


def dense(case: str, layer: Any, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The layer's effective weight (o x i) and bias by the method's formula, entry by entry where it can be."""
    kind = case.split("-")[0]
    new = weight.clone()
    if kind == "rocoft":
        delta, indices = layer.rocoft_delta["default"], layer.rocoft_indices["default"].tolist()
        for position, index in enumerate(indices):
            if layer.settings["default"].axis == "row":
                new[index, :] += delta[position, :]
            else:
                new[:, index] += delta[:, position]
    elif kind == "melora":
        a, b = layer.melora_A["default"], layer.melora_B["default"]
        n, _, i = a.shape
        o = b.shape[1]
        for j in range(n):  # block j reads inputs j i ... and writes outputs j o ...
            new[j * o : (j + 1) * o, j * i : (j + 1) * i] += 3.0 / 2 * b[j] @ a[j]
    elif kind == "moslora":
        a, m, b = (getattr(layer, f"moslora_{part}")["default"] for part in "AMB")
        new += 2.0 / 3 * b @ m @ a
    else:
        factor = layer.propulsion_z["default"] ** 3
        return torch.diag(factor) @ weight, None if bias is None else factor * bias
    return new, bias


@each_case
@each_family
def test_layer_computes_its_formula(case: str, family: str) -> None:
    model = trained(case, family)
    for name, inputs, outputs in layers_of(family)[:7]:
        layer = model.get_base_model().get_submodule(name)
        base = layer.get_base_layer()
        weight = base.weight.T if isinstance(base, Conv1D) else base.weight
        assert weight.shape == (outputs, inputs)
        x = torch.randn(2, 5, inputs)
        with torch.no_grad():
            found, expected = layer(x), functional.linear(x, *dense(case, layer, weight, base.bias))
        assert_close(found, expected)
        assert float((found - base(x)).abs().max()) > 0.01


def test_shapes_are_those_of_the_formulas() -> None:
    layer = {case: with_adapter(case).get_base_model().model.layers[0].mlp.down_proj for case in CASES}  # 64 -> 32
    shapes = {
        case: {n: tuple(p.shape) for n, p in found.named_parameters() if p.requires_grad}
        for case, found in layer.items()
    }
    assert shapes["rocoft-column"] == {"rocoft_delta.default": (32, 3)}
    assert shapes["rocoft-row"] == {"rocoft_delta.default": (3, 64)}
    assert shapes["melora"] == {"melora_A.default": (4, 2, 16), "melora_B.default": (4, 8, 2)}
    assert shapes["moslora"] == {
        "moslora_A.default": (3, 64),
        "moslora_M.default": (3, 3),
        "moslora_B.default": (32, 3),
    }
    assert shapes["propulsion"] == {"propulsion_z.default": (32,)}


def test_random_starts_have_the_bounds_of_their_fan_in() -> None:
    # Kaiming-uniform with a = sqrt(5): +-1/sqrt(fan in). Fan in 64 for A, 16 for a share of 64 inputs, 3 for M.
    layer = with_adapter("moslora").get_base_model().model.layers[0].mlp.down_proj
    small = with_adapter("melora").get_base_model().model.layers[0].mlp.down_proj
    for weight, fan_in in ((layer.moslora_A, 64), (layer.moslora_M, 3), (small.melora_A, 16)):
        largest = float(weight["default"].detach().abs().max())
        assert 0.6 * fan_in**-0.5 < largest <= fan_in**-0.5


def test_degree_one_propulsion_is_ia3() -> None:
    ours = trained("propulsion", degree=1)
    names = [name for name, _, _ in layers_of("llama")]
    theirs = get_peft_model(tiny_model("llama"), IA3Config(target_modules=names, feedforward_modules=[]))
    with torch.no_grad():
        for name in names:
            z = ours.get_base_model().get_submodule(name).propulsion_z["default"]
            theirs.base_model.model.get_submodule(name).ia3_l["default"].copy_(z[:, None])
    assert torch.equal(logits(ours), logits(theirs))
    ours(input_ids=IDS, labels=IDS).loss.backward()
    theirs(input_ids=IDS, labels=IDS).loss.backward()
    for name in names:
        mine = ours.get_base_model().get_submodule(name).propulsion_z["default"].grad
        assert_close(mine, theirs.base_model.model.get_submodule(name).ia3_l["default"].grad.flatten())


@pytest.mark.parametrize("axis", ["column", "row"])
def test_rocoft_delta_learns_what_trained_values_learn(axis: str) -> None:
    """Ten AdamW steps on the delta, and on the weights themselves with all other entries' gradients set to 0."""
    ours, plain = with_adapter("rocoft-column", axis=axis), tiny_model("llama").requires_grad_(False)
    chosen = [plain.get_submodule(name).weight.requires_grad_() for name, _, _ in layers_of("llama")]
    for weight in chosen:
        keep = torch.zeros_like(weight)
        keep[(slice(3), slice(None)) if axis == "row" else (slice(None), slice(3))] = 1.0
        weight.register_hook(lambda gradient, keep=keep: gradient * keep)
    for model, parameters in ((ours, [p for p in ours.parameters() if p.requires_grad]), (plain, chosen)):
        optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.0)
        for step in range(10):
            optimizer.zero_grad()
            model(input_ids=IDS + step, labels=IDS + step).loss.backward()
            optimizer.step()
    assert float((logits(plain) - logits(tiny_model("llama"))).abs().max()) > 0.05
    assert_close(logits(ours), logits(plain), relative=1e-5)


@pytest.mark.parametrize(("case", "rank"), [("rocoft-column", 3), ("rocoft-row", 3), ("melora", 8), ("moslora", 3)])
@each_family
def test_conversion_to_lora_is_exact_at_the_rank_of_the_update(case: str, rank: int, family: str) -> None:
    model = trained(case, family)
    config, state = convert_to_lora(model, rank=rank)
    assert isinstance(config, LoraConfig)
    config.fan_in_fan_out = family == "gpt2"  # Conv1D; PEFT would set it with a warning
    converted = get_peft_model(tiny_model(family), config)
    set_peft_model_state_dict(converted, state)
    assert_close(logits(converted), logits(model), relative=1e-5)


def test_propulsion_is_no_sum_and_is_not_converted() -> None:
    with pytest.raises(TypeError, match="do not support LoRA conversion"):
        convert_to_lora(trained("propulsion"), rank=3)


# What PEFT promises


@each_case
@each_family
def test_loaded_adapter_is_the_same_to_the_bit(case: str, family: str, tmp_path: Path) -> None:
    model = trained(case, family)
    model.save_pretrained(str(tmp_path))
    for how in ({}, {"is_trainable": True}, {"low_cpu_mem_usage": True}, {"adapter_name": "other"}):
        loaded = PeftModel.from_pretrained(tiny_model(family), str(tmp_path), use_safetensors=True, **how)
        assert torch.equal(logits(loaded), logits(model))
        assert trained_numbers(loaded) == (trained_numbers(model) if "is_trainable" in how else 0)


@each_case
@each_family
def test_merging_and_unmerging_change_the_form_alone(case: str, family: str) -> None:
    model, plain = trained(case, family), logits(tiny_model(family))
    expected = logits(model)
    model.merge_adapter(safe_merge=True)
    assert_close(logits(model), expected)
    merged = model.get_base_model().get_submodule(layers_of(family)[0][0]).get_base_layer().weight
    assert not torch.equal(merged, tiny_model(family).get_submodule(layers_of(family)[0][0]).weight)
    model.unmerge_adapter()
    assert_close(logits(model), expected)
    model.merge_adapter()
    with model.disable_adapter():  # takes merged adapters out
        assert_close(logits(model), plain)
    assert_close(logits(model.merge_and_unload(safe_merge=True)), expected)


@each_case
def test_unloading_gives_the_base_back(case: str) -> None:
    unloaded = trained(case).unload()
    assert torch.equal(logits(unloaded), logits(tiny_model("llama")))
    assert not any(isinstance(module, PEFT_TYPE_TO_TUNER_MAPPING["LORA"]) for module in unloaded.modules())
    assert {name for name, _ in unloaded.named_parameters()} == {n for n, _ in tiny_model("llama").named_parameters()}


@each_case
def test_broken_adapter_is_not_merged_by_a_safe_merge(case: str) -> None:
    model = trained(case)
    with torch.no_grad():
        next(p for p in model.parameters() if p.requires_grad).fill_(float("inf"))
    with pytest.raises(ValueError, match="'default' cannot be merged: the merged weights are not finite"):
        model.merge_adapter(safe_merge=True)
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(tiny_model("llama")))


def test_propulsion_with_a_factor_of_zero_is_not_unmerged() -> None:
    model = trained("propulsion")
    layer = model.get_base_model().model.layers[1].mlp.up_proj
    with torch.no_grad():
        layer.propulsion_z["default"][3] = 0.0
    expected = logits(model)
    model.merge_adapter(safe_merge=True)
    assert_close(logits(model), expected)
    with pytest.raises(ValueError, match=r"cannot be unmerged: a factor z\^k is 0"):
        layer.unmerge()
    assert layer.merged_adapters == ["default"]  # still merged, and says so
    assert bool(torch.isfinite(layer.get_base_layer().weight).all())


@each_case
def test_several_adapters_are_switched_and_added(case: str) -> None:
    model = trained(case)
    first = logits(model)
    model.add_adapter("other", CASES[case](target_modules=ALL, task_type="CAUSAL_LM"))
    assert torch.equal(logits(model), first)
    assert {n.rsplit(".", 1)[1] for n, p in model.named_parameters() if p.requires_grad} == {"default"}
    model.set_adapter("other")
    assert {n.rsplit(".", 1)[1] for n, p in model.named_parameters() if p.requires_grad} == {"other"}
    shake(model, seed=6)
    second = logits(model)
    model.base_model.set_adapter(["default", "other"])
    both = logits(model)
    assert float((both - first).abs().max()) > 1e-3
    assert float((both - second).abs().max()) > 1e-3
    model.merge_adapter(adapter_names=["default", "other"])
    assert_close(logits(model), both)
    model.unmerge_adapter()
    model.set_adapter("default")
    assert_close(logits(model), first)
    model.delete_adapter("other")
    assert_close(logits(model), first)
    assert not any("other" in name for name, _ in model.named_buffers())


@each_case
def test_two_active_adapters_act_as_their_formulas_together(case: str) -> None:
    model = trained(case)
    model.add_adapter("other", CASES[case](target_modules=ALL, task_type="CAUSAL_LM"))
    model.set_adapter("other")
    shake(model, seed=6)
    layer = model.get_base_model().model.layers[0].self_attn.q_proj
    x = torch.randn(3, 32)
    alone = {}
    with torch.no_grad():
        for name in ("default", "other"):
            layer.set_adapter(name)
            alone[name] = layer(x)
        layer.set_adapter(["default", "other"])
        base, both = layer.get_base_layer()(x), layer(x)
    together = alone["default"] * alone["other"] / base if case == "propulsion" else sum(alone.values()) - base
    assert_close(both, together, relative=1e-5)


@each_case
def test_bfloat16_base_keeps_a_float32_adapter_and_its_own_output_type(case: str, tmp_path: Path) -> None:
    model = with_adapter(case, base=tiny_model("llama").to(torch.bfloat16))
    shake(model)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert {b.dtype for n, b in model.named_buffers() if "indices" in n} <= {torch.int64}
    found = logits(model)
    assert found.dtype is torch.bfloat16
    # bfloat16 keeps 8 bits: rounding in two layers stays within a few percent of the largest logit.
    reference = trained(case)
    assert_close(found.float(), logits(reference), relative=0.06)
    model.save_pretrained(str(tmp_path))
    loaded = PeftModel.from_pretrained(tiny_model("llama").to(torch.bfloat16), str(tmp_path))
    assert torch.equal(logits(loaded), found)


@each_case
@each_family
def test_gradient_checkpointing_leaves_the_gradients(case: str, family: str) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = trained(case, family).train()
        if checkpointing:
            model.get_base_model().activation_checkpointing_enable({"use_reentrant": False})
        model(input_ids=IDS, labels=IDS).loss.backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    assert gradients[0]
    assert all(torch.equal(gradients[1][name], gradient) for name, gradient in gradients[0].items())
    assert all(float(gradient.abs().max()) > 0 for gradient in gradients[0].values())


@each_case
def test_adapted_model_generates(case: str) -> None:
    model = trained(case)
    kwargs = {"max_new_tokens": 4, "do_sample": False, "attention_mask": torch.ones_like(IDS)}
    written = model.generate(input_ids=IDS, **kwargs)[0, IDS.shape[1] :]
    context = IDS
    for token in written:
        assert int(logits_of(model, context)[0, -1].argmax()) == int(token)
        context = torch.cat([context, token[None, None]], dim=1)
    assert len(written) > 0


def logits_of(model: Any, ids: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=ids).logits
    return found


@each_case
def test_rows_with_different_adapters_are_refused(case: str) -> None:
    with pytest.raises(ValueError, match="`adapter_names` per row is not supported by"):
        trained(case)(input_ids=IDS, adapter_names=["default"])


@each_case
def test_biases_of_adapted_layers_train_on_request(case: str, tmp_path: Path) -> None:
    kind = case.split("-")[0]
    model = trained(case, "gpt2", bias=f"{kind}_only")
    biases = [n for n, p in model.named_parameters() if p.requires_grad and n.endswith(".bias")]
    assert len(biases) == len(layers_of("gpt2"))
    model.save_pretrained(str(tmp_path))
    assert torch.equal(logits(PeftModel.from_pretrained(tiny_model("gpt2"), str(tmp_path))), logits(model))


def test_unknown_bias_is_refused() -> None:
    with pytest.raises(ConfigError, match="`bias` is 'lora_only'; allowed: none, all, rocoft_only"):
        RocoftConfig(bias="lora_only")


@each_case
def test_layers_and_modules_can_be_chosen(case: str) -> None:
    torch.manual_seed(0)
    config = CASES[case](target_modules=["q_proj", "v_proj"], layers_to_transform=[1], modules_to_save=["model.norm"])
    model = get_peft_model(tiny_model("llama"), config)
    names = {n.split(f".{case.split('-')[0]}_")[0] for n, p in model.named_parameters() if p.requires_grad}
    assert names == {
        "base_model.model.model.layers.1.self_attn.q_proj",
        "base_model.model.model.layers.1.self_attn.v_proj",
        "base_model.model.model.norm.modules_to_save.default.weight",
    }


@each_case
def test_output_layer_tied_to_the_input_embeddings_is_refused(case: str) -> None:
    config = CASES[case](target_modules=["lm_head"])
    with (
        pytest.warns(UserWarning, match="tie_word_embeddings"),
        pytest.raises(ConfigError, match="'lm_head' shares its"),
    ):
        get_peft_model(tiny_model("qwen3"), config)  # tied
    untied = get_peft_model(tiny_model("llama"), config)
    shake(untied)
    expected = logits(untied)
    assert_close(logits(untied.merge_and_unload()), expected)


def test_embedding_is_no_linear_layer() -> None:
    with pytest.raises(TypeError, match=r"'model\.embed_tokens' is a Embedding, but melora adapts linear layers"):
        get_peft_model(tiny_model("llama"), MeloraConfig(target_modules=["embed_tokens"]))


# RoCoFT's choice of rows and columns


def test_first_random_and_given_indices() -> None:
    def indices(case: str, **settings: Any) -> list[list[int]]:
        model = with_adapter(case, **settings)
        return [b.tolist() for n, b in model.named_buffers() if "rocoft_indices" in n]

    assert indices("rocoft-column") == [[0, 1, 2]] * 14
    assert indices("rocoft-indices") == [[7, 0]] * 14
    drawn = indices("rocoft-random")
    assert drawn == indices("rocoft-random")  # whatever torch's own generator did in between
    assert drawn != indices("rocoft-random", seed=5)
    assert all(len(set(chosen)) == 2 and chosen == sorted(chosen) for chosen in drawn)
    assert len({tuple(chosen) for chosen in drawn}) > 5  # layers of one size choose for themselves


def test_random_choice_reaches_every_column() -> None:
    found = {int(i) for k in range(300) for i in chosen_indices(CASES["rocoft-random"](seed=k), 8, "layer")}
    assert found == set(range(8))


def test_drawn_indices_come_from_the_file_not_from_the_seed(tmp_path: Path) -> None:
    model = trained("rocoft-random")
    model.save_pretrained(str(tmp_path))
    path = tmp_path / "adapter_config.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"seed": 4', '"seed": 5'), encoding="utf-8")
    assert torch.equal(logits(PeftModel.from_pretrained(tiny_model("llama"), str(tmp_path))), logits(model))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RocoftConfig(axis="diagonal"), "`axis` is 'diagonal'; allowed: column, row"),
        (lambda: RocoftConfig(selection="best"), "`selection` is 'best'; allowed: first, random, indices"),
        (lambda: RocoftConfig(r=0), "`r` is 0, but at least one column"),
        (lambda: RocoftConfig(indices=[1]), "`indices` and selection 'indices' go together"),
        (lambda: RocoftConfig(selection="indices"), "`indices` and selection 'indices' go together"),
        (lambda: RocoftConfig(r=2, selection="indices", indices=[1, 1]), r"\[1, 1\], but must be `r` = 2 different"),
        (lambda: RocoftConfig(r=3, selection="indices", indices=[1, 2]), r"\[1, 2\], but must be `r` = 3 different"),
        (lambda: MeloraConfig(n=0), "`n` is 0"),
        (lambda: MosloraConfig(r=0), "`r` is 0"),
        (lambda: PropulsionConfig(degree=0), "`degree` is 0, but must be at least 1"),
    ],
)
def test_impossible_configuration_is_refused(make: Callable[[], TunerConfig], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("indices", [[3, 32], [-1, 3]])
def test_index_outside_of_a_layer_is_refused(indices: list[int]) -> None:
    with pytest.raises(ConfigError, match=r"does not fit layer '.*', which has 32 columns"):
        with_adapter("rocoft-column", r=2, selection="indices", indices=indices)


# PEFT's enumeration of methods


@pytest.mark.parametrize("name", ["rocoft", "melora", "moslora", "propulsion"])
def test_added_peft_type_behaves_like_a_member(name: str) -> None:
    member = PeftType(name.upper())
    assert member is peft_type(name) is getattr(PeftType, name.upper()) is PeftType[name.upper()]
    assert (member.name, member.value, str(member.value)) == (name.upper(),) * 3
    assert pickle.loads(pickle.dumps(member)) is copy.deepcopy(member) is member
    assert list(PeftType).count(member) == 1
    assert member in PEFT_TYPE_TO_TUNER_MAPPING
    assert PeftType.LORA is PeftType("LORA")


def test_registering_again_changes_nothing_and_another_class_is_refused() -> None:
    before = list(PeftType)
    register_tuner("rocoft", RocoftConfig, RocoftModel)
    assert list(PeftType) == before
    with pytest.raises(KeyError, match="already PEFT method called 'rocoft'"):
        register_tuner("rocoft", MeloraConfig, RocoftModel)


@each_case
def test_adapted_model_can_be_copied(case: str) -> None:
    model = trained(case)
    assert torch.equal(logits(copy.deepcopy(model)), logits(model))


# Quantised bases, where bitsandbytes is installed


def quantised(family: str = "llama") -> nn.Module:
    """A tiny model whose linear layers are stored in 4 bits (NF4)."""
    bnb = pytest.importorskip("bitsandbytes")
    model: Any = tiny_model(family)
    for name, _, _ in layers_of(family):
        old = model.get_submodule(name)
        new = bnb.nn.Linear4bit(
            old.in_features, old.out_features, bias=False, compute_dtype=torch.float32, quant_type="nf4"
        )
        new.weight = bnb.nn.Params4bit(old.weight.data, requires_grad=False, quant_type="nf4")
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, new.to("cpu"))
    return model.train()  # type: ignore[no-any-return]  # in eval bitsandbytes repacks weights on a CPU


@each_case
def test_four_bit_base_trains_reloads_and_merges(case: str, tmp_path: Path) -> None:
    model = with_adapter(case, base=quantised())
    shake(model)
    plain, expected = logits(quantised()), logits(model)
    assert float((expected - plain).abs().max()) > 1e-2
    model(input_ids=IDS, labels=IDS).loss.backward()
    assert all(float(p.grad.abs().max()) > 0 for p in model.parameters() if p.requires_grad)
    with model.disable_adapter():
        assert torch.equal(logits(model), plain)
    model.save_pretrained(str(tmp_path))
    loaded = PeftModel.from_pretrained(quantised(), str(tmp_path), is_trainable=True).train()
    assert torch.equal(logits(loaded), expected)
    # Of 64 inputs: bitsandbytes 0.50 stores rows shorter than its blocks of 64 numbers wrongly on a CPU.
    layer = model.get_base_model().model.layers[0].mlp.down_proj
    before = layer.get_base_weight().clone()
    wanted = layer.merged_weights("default", before, None, undo=False)[0].detach()
    layer.merge(safe_merge=True)
    # NF4's widest gap between levels is 0.3 of a block's largest entry: rounding is off by at most half of it.
    assert float((layer.get_base_weight() - wanted).abs().max()) <= 0.16 * float(wanted.abs().max())
