"""Accumulation, ranks and weights leave what is computed unchanged."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import tiny_base, tiny_data, tiny_run
from torch import Tensor

from predgen.core import Example
from predgen.inference.trained import TrainedModel
from predgen.training.loop import TrainingRows, trainable_state
from predgen.training.prepare import TrainingData

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
        torch.testing.assert_close(first[name], second[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(
    ("method", "kind", "settings"),
    [
        ("predictor", "regression", {}),
        ("generator", "classification", {}),
        ("predgen", "classification", {"sampling": "token", "p_min": 0.5}),
        ("predgen", "regression", {"sampling": "sequence", "p_min": 0.5, "loss": "wdal"}),
        ("predgen", "regression", {"director": "ordered", "loss": "adaptive"}),
    ],
)
def test_eight_micro_batches_of_one_equal_one_of_eight(base: Path, method: str, kind: str, settings: dict[str, object]) -> None:
    start = weights_of(tiny_run(base, kind, tiny_data(kind, 20), method=method, batch_size=8, max_steps=1, learning_rate=0.0))
    # 20 rows: the last step of each epoch holds 4
    one = tiny_run(base, kind, tiny_data(kind, 20), method=method, batch_size=8, **settings)
    many = tiny_run(base, kind, tiny_data(kind, 20), method=method, batch_size=1, gradient_accumulation=8, **settings)
    assert one.report["optimizer_steps"] == many.report["optimizer_steps"] == 6
    assert_same(weights_of(one), weights_of(many), 1e-5)
    moved = [n for n, w in weights_of(one).items() if not torch.equal(w, start[n])] if start.keys() == weights_of(one).keys() else ["adaptive"]
    assert moved  # guard: training changed something


def test_batch_reduction_depends_on_the_micro_batch(base: Path) -> None:
    runs = [
        tiny_run(base, "regression", tiny_data("regression"), reduction="batch", batch_size=b, gradient_accumulation=8 // b)
        for b in (8, 2)
    ]
    first, second = map(weights_of, runs)
    assert any(not torch.allclose(first[n], second[n], atol=1e-6) for n in first)


def test_a_row_of_weight_two_counts_as_two_rows(base: Path) -> None:
    data = tiny_data("regression", 7)
    doubled = TrainingData(data.task, [*data.train, Example(7, data.train[3].fields, data.train[3].target)], [])
    weighted = tiny_data("regression", 7, weights=[1, 1, 1, 2, 1, 1, 1])
    settings = {"batch_size": 8, "max_steps": 1, "sampling": "off", "decimals": 1}
    one, two = (tiny_run(base, "regression", d, **settings) for d in (doubled, weighted))
    # The doubled row moves mean and standard deviation of the targets; the writer's part alone is comparable.
    assert one.model.setup.target_mean != two.model.setup.target_mean
    one, two = (tiny_run(base, "regression", d, method="generator", **settings) for d in (doubled, weighted))
    assert_same(weights_of(one), weights_of(two), 1e-6)


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
    padded = TrainingRows(rows, rows_per_global_batch=4, world_size=2)
    assert len(padded) == 8
    assert [padded[i].weight for i in range(8)] == [1, 1, 1, 1, 1, 0, 0, 0]
    assert len(TrainingRows(rows, 4, world_size=1)) == 5


@pytest.mark.parametrize(("method", "kind"), [("predgen", "classification"), ("predictor", "regression")])
def test_two_processes_equal_one_with_the_same_global_batch(base: Path, tmp_path: Path, method: str, kind: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    command += [str(TWO_PROCESSES), str(base), str(tmp_path / "two"), method, kind]
    paths = os.pathsep.join([str(TWO_PROCESSES.parents[1]), str(TWO_PROCESSES.parents[2] / "src")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    # 14 rows do not fill 4 global batches of 4: the last one has 2 rows and 2 fillers
    one = tiny_run(base, kind, tiny_data(kind, 14, 6), method=method, batch_size=4, p_min=0.5)
    assert_same(load_file(str(tmp_path / "two.safetensors")), weights_of(one), 1e-5)
