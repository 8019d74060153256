"""Adapters in the uppermost layers alone: where they sit, what they leave out of the graph, and that they are saved."""

import itertools
from pathlib import Path

import pytest
import torch

from adapted_models import IDS, adapted, layers_of, logits, options_of, shake, trained_numbers
from predgen import registries
from predgen.errors import ConfigError
from predgen.peft_methods.base import load_adapter
from tiny_models import FAMILIES, LAYERS, tiny_model
from tiny_runs import tiny_base, tiny_data, tiny_run

ADAPTERS = tuple(name for name in registries.peft_methods if registries.peft_methods.get(name).trains == "adapter")


@pytest.mark.parametrize(("name", "family"), list(itertools.product(ADAPTERS, ("llama", "gpt2"))))
def test_half_of_the_layers_have_half_of_the_adapters(name: str, family: str) -> None:
    whole, upper = adapted(name, family), adapted(name, family, adapt_layers=LAYERS // 2)
    assert trained_numbers(upper) == trained_numbers(whole) // 2
    trains = [n for n, p in upper.named_parameters() if p.requires_grad]
    assert all(f".{LAYERS - 1}." in n for n in trains)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_below_the_adapted_layers_is_in_the_graph(family: str) -> None:
    model = adapted("lora", family, adapt_layers=1)
    states = model(input_ids=IDS, output_hidden_states=True).hidden_states
    assert [state.requires_grad for state in states] == [False] * LAYERS + [True]
    assert len(layers_of(family)) == LAYERS * len([m for m in model.modules() if hasattr(m, "lora_A")])


def test_all_layers_are_all_and_more_are_refused() -> None:
    assert trained_numbers(adapted("lora", adapt_layers=LAYERS)) == trained_numbers(adapted("lora"))
    with pytest.raises(ConfigError, match=rf"`adapt_layers` is {LAYERS + 1}.*{LAYERS} layers"):
        adapted("lora", adapt_layers=LAYERS + 1)


@pytest.mark.parametrize("name", ADAPTERS)
def test_they_are_loaded_as_they_were_saved(name: str, tmp_path: Path) -> None:
    model = adapted(name, adapt_layers=1)
    shake(model)
    model.save_pretrained(str(tmp_path))
    method = registries.peft_methods.get(name)
    loaded = load_adapter(method, tiny_model("llama"), tmp_path, options_of(name, adapt_layers=1))
    assert torch.equal(logits(loaded), logits(model))


def test_a_run_adapts_them_and_its_folder_says_so(tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base", "gemma3")  # of two layers
    trained = tiny_run(
        base, "classification", tiny_data("classification"), tmp_path / "run", max_steps=1, adapt_layers=1
    )
    adapters = [n for n, p in trained.model.lm.named_parameters() if p.requires_grad]
    assert adapters
    assert not [n for n in adapters if ".0." in n.replace("lm.", "")]
    assert "adapt_layers: 1" in (tmp_path / "run" / "config.yaml").read_text()
