"""Heads beside the language model train in full, whatever the PEFT method; adapters stay inside the model."""

from pathlib import Path

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from predgen import registries
from tiny_runs import tiny_base, tiny_data, tiny_run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("peft", registries.peft_methods)
def test_head_is_not_wrapped_and_trains_in_full(base: Path, peft: str) -> None:
    model = tiny_run(base, "classification", tiny_data("classification", 8), peft=peft, max_steps=1).model
    heads = model.head_state()
    assert len(heads) == 2  # weight and bias of the director
    trains = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert set(heads) == {name for name in trains if not name.startswith("lm.")}
    assert all(weight.dtype is torch.float32 for weight in heads.values())
    wrapped = {name for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)}
    assert bool(wrapped) == (registries.peft_methods.get(peft).trains == "adapter")
    assert all(name.startswith("lm.") and "lm_head" not in name for name in wrapped)
