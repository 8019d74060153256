"""Accumulation, ranks and weights leave what is computed unchanged."""

import json
import os
import socket
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import predgen
from predgen.core import Example
from predgen.inference.trained import TrainedModel
from predgen.training import callbacks, run
from predgen.training.loop import TrainingRows, trainable_state
from predgen.training.rows import TrainingData
from tiny_runs import tiny_base, tiny_data, tiny_run
from training import two_processes

TWO_PROCESSES = Path(__file__).with_name("two_processes.py")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


def weights_of(trained: TrainedModel) -> dict[str, Tensor]:
    return trainable_state(trained.model)


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor], tolerance: float) -> None:
    assert first.keys() == second.keys()
    assert len(first) > 0
    for name in first:
        torch.testing.assert_close(
            first[name], second[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize(
    ("method", "kind", "settings"),
    [
        ("predictor", "regression", {}),
        pytest.param("generator", "classification", {}, marks=pytest.mark.slow),
        ("predgen", "classification", {"sampling": "token", "p_min": 0.5}),
        pytest.param(
            "predgen", "regression", {"sampling": "sequence", "p_min": 0.5, "loss": "wdal"}, marks=pytest.mark.slow
        ),
        pytest.param("predgen", "regression", {"director": "ordered", "loss": "adaptive"}, marks=pytest.mark.slow),
    ],
)
def test_eight_micro_batches_of_one_equal_one_of_eight(
    base: Path, method: str, kind: str, settings: dict[str, object]
) -> None:
    start = weights_of(
        tiny_run(base, kind, tiny_data(kind, 12), method=method, batch_size=8, max_steps=1, learning_rate=0.0)
    )
    # 12 rows: the last step of each epoch holds 4
    one = tiny_run(base, kind, tiny_data(kind, 12), method=method, batch_size=8, **settings)
    many = tiny_run(base, kind, tiny_data(kind, 12), method=method, batch_size=1, gradient_accumulation=8, **settings)
    assert one.report["optimizer_steps"] == many.report["optimizer_steps"] == 4
    assert_same(weights_of(one), weights_of(many), 1e-5)
    moved = (
        [n for n, w in weights_of(one).items() if not torch.equal(w, start[n])]
        if start.keys() == weights_of(one).keys()
        else ["adaptive"]
    )
    assert moved  # guard: training changed something


def test_batch_reduction_depends_on_the_micro_batch(base: Path) -> None:
    runs = [
        tiny_run(
            base,
            "regression",
            tiny_data("regression", 8),
            reduction="batch",
            batch_size=b,
            gradient_accumulation=8 // b,
        )
        for b in (8, 2)
    ]
    first, second = map(weights_of, runs)
    assert any(not torch.allclose(first[n], second[n], atol=1e-6) for n in first)


def test_a_row_of_weight_two_counts_as_two_rows(base: Path) -> None:
    data = tiny_data("regression", 7)
    doubled = TrainingData(data.task, [*data.train, Example(7, data.train[3].fields, data.train[3].target)], [])
    weighted = tiny_data("regression", 7, weights=[1, 1, 1, 2, 1, 1, 1])
    settings = {"batch_size": 8, "max_steps": 1, "warmup_ratio": 0.0, "sampling": "off", "decimals": 1}
    one, two = (tiny_run(base, "regression", d, **settings) for d in (doubled, weighted))
    # Mean and standard deviation of the targets count the weights, so that heads are comparable, too.
    means = [run.model.setup.target_mean for run in (one, two)]
    assert means[0] == pytest.approx(means[1], abs=1e-12)
    assert means[0] != pytest.approx(statistics.fmean(e.target.value for e in data.train), abs=1e-6)  # guard
    assert_same(weights_of(one), weights_of(two), 1e-5)
    one, two = (tiny_run(base, "regression", d, method="generator", **settings) for d in (doubled, weighted))
    assert_same(weights_of(one), weights_of(two), 1e-6)
    start = tiny_run(base, "regression", weighted, method="generator", **{**settings, "learning_rate": 0.0})
    assert any(not torch.equal(w, weights_of(start)[n]) for n, w in weights_of(one).items())  # guard: it was trained


def test_balanced_class_weights_sum_to_the_rows(base: Path) -> None:
    from predgen.training.prepare import make_setup, weigh
    from tiny_runs import tiny_config

    data = tiny_data("classification", 20)
    config = tiny_config(base, "classification", class_weight="balanced")
    rows = weigh(config, make_setup(config, data.task, data.train), data.train)
    by_class = {label: sum(r.weight for r in rows if r.target and r.target.value == label) for label in ("low", "high")}
    assert by_class == pytest.approx({"low": 10.0, "high": 10.0})


def test_fillers_weigh_nothing() -> None:
    from predgen.data.encode import Encoded

    rows = [Encoded(i, (1,), (), (), 0.0, 1.0, False) for i in range(5)]
    padded = TrainingRows(rows, rows_per_global_batch=4, world_size=2, seed=0)
    assert len(padded) == 8
    assert [padded[i].weight for i in range(8)] == [1, 1, 1, 1, 1, 0, 0, 0]
    assert len(TrainingRows(rows, 4, world_size=1, seed=0)) == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "kind", "peft"),
    [
        ("predgen", "classification", "lora"),
        ("predgen", "regression", "adalora"),
        ("predictor", "regression", "lora"),
        ("predictor", "classification", "full"),  # the output layer gets no gradient
    ],
)
def test_two_processes_equal_one_with_the_same_global_batch(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, kind: str, peft: str
) -> None:
    run_twice(base, tmp_path / "two", method, kind, peft)
    ranks = [json.loads((tmp_path / f"two.{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]
    monkeypatch.setattr(two_processes.Recording, "seen", [], raising=False)
    monkeypatch.setattr(run, "PredictionTrainer", two_processes.Recording)
    data = tiny_data(kind, 14, 6, weights=two_processes.WEIGHTS)
    one = tiny_run(base, kind, data, method=method, peft=peft, batch_size=4, **two_processes.SETTINGS)
    for rank in (0, 1):
        assert_same(load_file(str(tmp_path / f"two.{rank}.safetensors")), weights_of(one), 1e-5)
        assert ranks[rank]["report"]["optimizer_steps"] == one.report["optimizer_steps"] == 8
        assert ranks[rank]["report"]["validation"] == pytest.approx(one.report["validation"], rel=1e-4)
    loaded = predgen.load(tmp_path / "two")
    assert_same(dict(loaded.model.head_state()), dict(one.model.head_state()), 1e-5)
    # 14 rows do not fill 4 global batches of 4: the last one has 2 rows and, on the second rank, 2 fillers.
    for step, alone in enumerate(two_processes.Recording.seen):
        shares = [rank["seen"][step] for rank in ranks]
        assert [(s["step"], s["epoch"], s["p"]) for s in shares] == [(alone["step"], alone["epoch"], alone["p"])] * 2
        together = [row for share in shares for row in share["rows"]]
        assert [row for row in together if row[1] > 0] == alone["rows"]  # rows, weights and random numbers, in order
        assert [row[1] for row in together[len(alone["rows"]) :]] == [0.0] * (4 - len(alone["rows"]))
    for epoch in (0, 1):
        rows = [row for rank in ranks for s in rank["seen"] if s["epoch"] == epoch for row in s["rows"]]
        assert sorted(row[0] for row in rows if row[1] > 0) == list(range(14))  # none twice, none left out
        assert sum(row[1] for row in rows) == sum(two_processes.WEIGHTS)
        assert len(rows) == 16


def run_twice(base: Path, out: Path, *arguments: str) -> None:
    """Run `two_processes.py` on two ranks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    command += [str(TWO_PROCESSES), str(base), str(out), *arguments]
    paths = os.pathsep.join([str(TWO_PROCESSES.parents[1]), str(TWO_PROCESSES.parents[2] / "src")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def gradients_of(base: Path, data: TrainingData, kind: str, **settings: object) -> dict[str, Tensor]:
    """Gradients of the first optimizer step, all micro-batches together."""
    found: dict[str, Tensor] = {}

    class Keeping(callbacks.LogFile):
        def on_pre_optimizer_step(self, args: object, state: object, control: object, **kwargs: Any) -> None:
            model = kwargs["model"]
            found.update({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, "LogFile", Keeping)
        tiny_run(base, kind, data, max_steps=1, **settings)
    return found


def assert_same_gradients(first: dict[str, Tensor], second: dict[str, Tensor], tolerance: float) -> None:
    """Relative to the largest entry of each tensor; and not all zero."""
    assert first.keys() == second.keys()
    assert sum(bool(g.abs().max() > 0) for g in first.values()) >= len(first) // 2  # LoRA's A starts without gradient
    for name in first:
        largest = float(first[name].abs().max())
        assert float((first[name] - second[name]).abs().max()) <= tolerance * max(largest, 1e-6), name


@pytest.mark.parametrize(
    ("method", "kind"), [("predgen", "classification"), ("predgen", "regression"), ("predictor", "regression")]
)
def test_accumulated_gradients_are_those_of_one_batch(base: Path, method: str, kind: str) -> None:
    weights = [1.0, 2.0, 0.5, 1.0, 3.0, 1.0, 1.0, 1.0]
    data = tiny_data(kind, 8, weights=weights)
    one = gradients_of(base, data, kind, method=method, batch_size=8, p_min=0.5)
    many = gradients_of(base, data, kind, method=method, batch_size=1, gradient_accumulation=8, p_min=0.5)
    assert_same_gradients(one, many, 2e-6)


def test_activation_checkpointing_leaves_gradients_unchanged(base: Path) -> None:
    data = tiny_data("classification", 8)
    settings = {"batch_size": 8, "p_min": 1.0}
    plain = gradients_of(base, data, "classification", **settings)
    again = gradients_of(base, data, "classification", gradient_checkpointing=True, **settings)
    assert_same_gradients(plain, again, 1e-5)


@pytest.mark.parametrize("method", ["predictor", "generator", "predgen"])
def test_a_row_of_weight_two_is_the_row_twice_under_sampling(base: Path, method: str) -> None:
    # The same row id gives the same random numbers; classes have no mean that a doubled row could move.
    data = tiny_data("classification", 7)
    doubled = TrainingData(data.task, [*data.train, data.train[3]], [])
    weighted = tiny_data("classification", 7, weights=[1, 1, 1, 2, 1, 1, 1])
    settings = {"method": method, "batch_size": 8, "p_min": 0.5}
    first, second = (gradients_of(base, rows, "classification", **settings) for rows in (doubled, weighted))
    assert_same_gradients(first, second, 2e-6)
    plain = gradients_of(base, data, "classification", **settings)
    assert any(not torch.allclose(plain[n], first[n], rtol=1e-3) for n in first)  # guard: the weight matters


def test_class_weights_are_row_weights(base: Path) -> None:
    data = tiny_data("classification", 4)
    labels = [e.target.value for e in data.train if e.target]
    assert labels == ["low", "high", "high", "high"]  # n / (K n_c): 4 / (2 * 1) and 4 / (2 * 3)
    by_hand = tiny_data("classification", 4, weights=[2.0, 4 / 6, 4 / 6, 4 / 6])
    settings = {"batch_size": 4, "max_steps": 2}
    balanced = tiny_run(base, "classification", data, class_weight="balanced", **settings)
    weighted = tiny_run(base, "classification", by_hand, **settings)
    assert_same(weights_of(balanced), weights_of(weighted), 1e-6)
    plain = tiny_run(base, "classification", data, **settings)
    assert any(not torch.allclose(w, weights_of(plain)[n], rtol=1e-3) for n, w in weights_of(weighted).items())
