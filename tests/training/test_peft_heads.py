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
@pytest.mark.parametrize(("method", "kind"), [("predictor", "regression"), ("predgen", "classification")])
def test_head_is_not_wrapped_and_trains_in_full(base: Path, method: str, kind: str, peft: str) -> None:
    still, moved = (
        tiny_run(base, kind, tiny_data(kind, 8), method=method, peft=peft, max_steps=1, learning_rate=rate)
        for rate in (0.0, 0.1)
    )
    trains = {name for name, parameter in moved.model.named_parameters() if parameter.requires_grad}
    heads = moved.model.head_state()
    assert len(heads) == 2  # weight and bias
    assert set(heads) == {name for name in trains if not name.startswith("lm.")}
    assert all(not torch.equal(weight, still.model.head_state()[name]) for name, weight in heads.items())
    assert all(weight.dtype is torch.float32 for weight in heads.values())
    wrapped = {name for name, module in moved.model.named_modules() if isinstance(module, BaseTunerLayer)}
    assert bool(wrapped) == (registries.peft_methods.get(peft).trains == "adapter")
    assert all(name.startswith("lm.") and "lm_head" not in name for name in wrapped)
