"""Bases in 4 bits train, are saved by name, and predict the same when they are loaded."""

from pathlib import Path

import pytest
import torch
from torch import nn

import predgen
from predgen.engine import base_model
from predgen.errors import ConfigError
from tiny_runs import tiny_base, tiny_config, tiny_data, tiny_rows, tiny_run

CASES = [
    ("predgen", "regression", "lora"),
    ("predictor", "classification", "rocoft"),
    ("generator", "classification", "dora"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base") / "llama")


def in_four_bits(model: nn.Module) -> list[str]:
    """Names of the layers whose weights are packed."""
    return [n for n, m in model.named_modules() if getattr(m, "weight", torch.empty(0)).dtype == torch.uint8]


@pytest.mark.parametrize(("method", "kind", "peft"), CASES)
def test_a_base_in_four_bits_trains_and_is_loaded_as_it_was(
    base: Path, tmp_path: Path, method: str, kind: str, peft: str
) -> None:
    bnb = pytest.importorskip("bitsandbytes")
    settings = {"method": method, "peft": peft, "max_steps": 3, "as_shipped": True}
    trained = tiny_run(base, kind, tiny_data(kind), tmp_path / "run", quantize="nf4", **settings)
    assert any(isinstance(m, bnb.nn.Linear4bit) for m in trained.model.modules())
    plain = tiny_run(base, kind, tiny_data(kind), **settings)
    loaded = predgen.load(tmp_path / "run")
    assert in_four_bits(loaded.model) == in_four_bits(trained.model) != in_four_bits(plain.model) == []
    rows = [dict(row.fields) for row in tiny_rows(5, kind, seed=3)]
    ours, theirs, other = (model.predict(rows) for model in (trained, loaded, plain))
    assert [(p.value, p.probabilities) for p in ours] == [(p.value, p.probabilities) for p in theirs]
    assert [(p.value, p.probabilities) for p in ours] != [(p.value, p.probabilities) for p in other]
    with pytest.raises(ConfigError, match="`quantize` 'nf4'"):
        loaded.merge(tmp_path / "merged")


def test_what_cannot_be_is_refused_by_name(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="`peft` is 'full'"):
        tiny_config(base, "classification", peft="full", quantize="nf4")
    with pytest.raises(ConfigError, match="nf4"):
        tiny_config(base, "classification", quantize="nf5")
    monkeypatch.setattr(base_model, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"predgen\[quantize\]"):
        tiny_run(base, "classification", tiny_data("classification"), quantize="nf4", max_steps=1)
