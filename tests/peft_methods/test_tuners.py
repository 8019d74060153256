"""The tuners that PEFT does not have: arithmetic by a second route, choices, and what is refused."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, PeftType, convert_to_lora, get_peft_model, set_peft_model_state_dict
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from torch import Tensor
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from adapted_models import IDS, layers_of, logits
from predgen.errors import ConfigError
from predgen.peft_methods import MeloraConfig, MosloraConfig, PropulsionConfig, RocoftConfig
from predgen.peft_methods.tuners.base import TunerConfig
from predgen.peft_methods.tuners.peft_types import peft_type, register_tuner
from predgen.peft_methods.tuners.rocoft import RocoftModel, chosen_indices
from tiny_models import tiny_model
from tuner_cases import CASES, assert_close, each_case, each_family, model_with_biases, quiet, trained, with_adapter

pytestmark = quiet


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
    converted = get_peft_model(model_with_biases(family), config)
    set_peft_model_state_dict(converted, state)
    assert_close(logits(converted), logits(model), relative=1e-5)


def test_propulsion_is_no_sum_and_is_not_converted() -> None:
    with pytest.raises(TypeError, match="do not support LoRA conversion"):
        convert_to_lora(trained("propulsion"), rank=3)


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
