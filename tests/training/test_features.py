"""What heads standardise by: the training rows' figures before the first step, kept bit for bit by resume and saving."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

import predgen
from predgen.data.collate import collate
from predgen.models.predictor import pool
from predgen.saved.exchange import MANIFEST
from predgen.training import callbacks, features
from predgen.training.loop import trainable_state
from tiny_runs import RESUMABLE, tiny_base, tiny_data, tiny_run

NORMED: dict[str, Any] = {"head_norm": "standard"}
METHODS = [
    ("predictor", "classification", {}),
    ("predictor", "regression", {"pooling": "first"}),
    ("predgen", "classification", {}),
    ("predgen", "regression", {}),
    ("predgen", "regression", {"decimals": 1, "sampling": "marginal"}),
]
every_method = pytest.mark.parametrize(("method", "kind", "own"), METHODS, ids=str)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


class _Stop(TrainerCallback):
    """Raises after a step, like a machine that goes away."""

    def on_step_end(self, args: object, state: object, control: object, **kwargs: object) -> None:
        if state.global_step == 5:  # type: ignore[attr-defined]
            raise RuntimeError("power cut")


def test_figures_are_those_of_the_pooled_states_of_the_untrained_model(base: Path) -> None:
    data = tiny_data("classification", 24)
    trained = tiny_run(
        base, "classification", data, method="predictor", learning_rate=0.0, max_steps=1, batch_size=5, **NORMED
    )
    rows = [trained.encoder.encode(example) for example in data.train]
    pooled = []
    for row in rows:  # one by one, without padding
        batch = collate([row], trained.pad_id)
        with torch.no_grad():
            states, mask = trained.model.prompt_states(batch)
        pooled.append(pool(states, mask, "last").double())
    z = torch.cat(pooled)
    variance = z.var(dim=0, correction=0)
    norm = trained.model.head.norm
    torch.testing.assert_close(norm.mean.double(), z.mean(dim=0), atol=1e-5, rtol=1e-5)
    wanted = 8 / z.shape[1] ** 0.5 / (variance + 0.01 * variance.mean()).sqrt()
    torch.testing.assert_close(norm.factor.double(), wanted, atol=1e-4, rtol=1e-4)


@every_method
def test_every_head_gets_figures_and_keeps_them_while_it_trains(
    base: Path, method: str, kind: str, own: dict[str, Any]
) -> None:
    found = []
    for steps in (2, 3):  # the first one warms up
        model = tiny_run(base, kind, tiny_data(kind), method=method, max_steps=steps, **own, **NORMED).model
        head = model.head if method == "predictor" else model.director.head
        assert head.norm.mean.abs().max() > 0
        assert head.weight.abs().max() > 0 or own.get("pooling") == "first"
        found.append((head.norm.mean, head.norm.factor, head.weight))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_no_more_rows_are_looked_at_than_it_takes(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = features.collate
    monkeypatch.setattr(features, "collate", lambda rows, *rest: (seen.append(len(rows)), original(rows, *rest))[1])
    monkeypatch.setattr(features, "MOST_ROWS", 10)
    data = tiny_data("regression", 32)
    tiny_run(base, "regression", data, method="predictor", max_steps=1, batch_size=4, **NORMED)
    assert seen == [4, 4, 2]
    tiny_run(base, "regression", data, method="predictor", max_steps=1, batch_size=4)  # no head reads them
    tiny_run(base, "regression", data, director="ordered", max_steps=1, batch_size=4, **NORMED)
    assert seen == [4, 4, 2]


@pytest.mark.parametrize("method", ["predictor", "predgen"])
def test_resumed_run_has_figures_and_weights_of_an_uninterrupted_one(
    base: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**RESUMABLE, **NORMED, "method": method}
    whole = tiny_run(base, "classification", tiny_data("classification"), tmp_path / "whole", **settings)
    with monkeypatch.context() as patch:
        patch.setattr(callbacks, "LogFile", lambda path: _Stop())
        with pytest.raises(RuntimeError, match="power cut"):
            tiny_run(base, "classification", tiny_data("classification"), tmp_path / "cut", **settings)
    again = tiny_run(base, "classification", tiny_data("classification"), tmp_path / "cut", resume=True, **settings)
    first, second = trainable_state(whole.model), trainable_state(again.model)
    assert any(name.endswith("norm.mean") for name in first)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@every_method
def test_a_saved_model_keeps_its_figures(
    base: Path, tmp_path: Path, method: str, kind: str, own: dict[str, Any]
) -> None:
    trained = tiny_run(base, kind, tiny_data(kind), tmp_path / "run", method=method, max_steps=2, **own, **NORMED)
    rows = [{"text": text} for text in ("a dull book", "no tea and good wine", "x")]
    assert predgen.load(tmp_path / "run").predict(rows) == trained.predict(rows)
    again = trained.save(tmp_path / "again")
    assert (again / "head.safetensors").read_bytes() == (tmp_path / "run/head.safetensors").read_bytes()


@pytest.mark.parametrize("method", ["predictor", "predgen", "generator"])
def test_a_model_saved_before_there_was_the_setting_predicts_the_same(base: Path, tmp_path: Path, method: str) -> None:
    own = {} if method == "generator" else {"head_norm": "none"}
    trained = tiny_run(base, "regression", tiny_data("regression"), tmp_path / "run", method=method, max_steps=2, **own)
    shutil.copytree(tmp_path / "run", tmp_path / "old")
    manifest = json.loads((tmp_path / "old" / MANIFEST).read_text(encoding="utf-8"))
    for settings in (manifest["setup"]["settings"], manifest["config"]):
        settings.pop("head_norm", None)
    (tmp_path / "old" / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    rows = [{"text": text} for text in ("a dull book", "no tea and good wine")]
    assert predgen.load(tmp_path / "old").predict(rows) == trained.predict(rows)
