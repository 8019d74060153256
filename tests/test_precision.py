"""Precision "auto": what this processor is fast in, saved as what was used."""

from pathlib import Path

import pytest
import torch

import predgen
from predgen import precision
from predgen.precision import has_bfloat16, with_precision
from tiny_runs import tiny_base, tiny_config, tiny_data, tiny_run


@pytest.mark.parametrize("is_fast", [True, False])
def test_auto_becomes_what_the_processor_has_and_is_saved_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_fast: bool
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda: is_fast)
    base = tiny_base(tmp_path / "base")
    trained = tiny_run(base, "classification", tiny_data("classification"), tmp_path / "run", dtype="auto", max_steps=1)
    monkeypatch.setattr(precision, "has_bfloat16", lambda: not is_fast)
    for config in (trained.config, predgen.load(tmp_path / "run").config):
        assert (config.dtype, config.bf16) == ("float32", is_fast)


@pytest.mark.parametrize("asked", [{"bf16": True}, {"dtype": "bfloat16"}])
def test_a_processor_that_only_emulates_bfloat16_is_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, object]
) -> None:
    config = tiny_config(tmp_path, "classification", **asked)
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)
    unchanged, said = with_precision(config)
    assert unchanged == config
    assert said is not None
    assert "--dtype auto" in said
    monkeypatch.setattr(precision, "has_bfloat16", lambda: True)
    assert with_precision(config) == (config, None)


def test_the_processor_is_asked() -> None:
    flags = Path("/proc/cpuinfo")
    if torch.cuda.is_available() or not flags.is_file():
        pytest.skip("not a Linux CPU")
    words = flags.read_text(encoding="utf-8").split()
    assert has_bfloat16() == ("avx512_bf16" in words or "amx_tile" in words)
