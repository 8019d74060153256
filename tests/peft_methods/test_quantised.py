"""The tuners that PEFT does not have, over a base in 4 bits; where bitsandbytes is installed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import nn

from adapted_models import IDS, layers_of, logits, shake
from tiny_models import tiny_model
from tuner_cases import each_case, quiet, with_adapter

pytestmark = quiet


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
