"""The tuners that PEFT does not have keep what PEFT promises of a method: loading, merging, switching, generating."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from adapted_models import IDS, layers_of, logits, shake, trained_numbers
from predgen.errors import ConfigError
from predgen.peft_methods import MeloraConfig, RocoftConfig
from tiny_models import tiny_model
from tuner_cases import (
    ALL,
    CASES,
    assert_close,
    each_case,
    each_family,
    model_with_biases,
    quiet,
    trained,
    with_adapter,
)

pytestmark = quiet


@each_case
@each_family
def test_loaded_adapter_is_the_same_to_the_bit(case: str, family: str, tmp_path: Path) -> None:
    model = trained(case, family)
    model.save_pretrained(str(tmp_path))
    for how in ({}, {"is_trainable": True}, {"low_cpu_mem_usage": True}, {"adapter_name": "other"}):
        loaded = PeftModel.from_pretrained(model_with_biases(family), str(tmp_path), use_safetensors=True, **how)
        assert torch.equal(logits(loaded), logits(model))
        assert trained_numbers(loaded) == (trained_numbers(model) if "is_trainable" in how else 0)


@each_case
@each_family
def test_merging_and_unmerging_change_the_form_alone(case: str, family: str) -> None:
    model, plain = trained(case, family), logits(model_with_biases(family))
    expected = logits(model)
    model.merge_adapter(safe_merge=True)
    assert_close(logits(model), expected)
    merged = model.get_base_model().get_submodule(layers_of(family)[0][0]).get_base_layer().weight
    assert not torch.equal(merged, model_with_biases(family).get_submodule(layers_of(family)[0][0]).weight)
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
    assert not any(isinstance(module, BaseTunerLayer) for module in unloaded.modules())
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
def test_further_adapter_on_other_layers_waits_to_be_switched_on(case: str) -> None:
    torch.manual_seed(0)
    model = get_peft_model(tiny_model("llama"), CASES[case](target_modules=["q_proj"]))
    shake(model)
    first = logits(model)
    model.add_adapter("other", CASES[case](target_modules=["up_proj"]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".other"):
                parameter.fill_(0.5)
    assert torch.equal(logits(model), first)
    assert all("q_proj" in name for name, p in model.named_parameters() if p.requires_grad)
    model.set_adapter("other")
    assert all("up_proj" in name for name, p in model.named_parameters() if p.requires_grad)
    assert not torch.equal(logits(model), first)


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
    assert torch.equal(logits(PeftModel.from_pretrained(model_with_biases("gpt2"), str(tmp_path))), logits(model))


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


@each_case
def test_adapted_model_can_be_copied(case: str) -> None:
    model = trained(case)
    assert torch.equal(logits(copy.deepcopy(model)), logits(model))
