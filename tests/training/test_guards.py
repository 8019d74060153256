"""What stops a run, what selects its model, and which precision and memory settings change nothing else."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from predgen import registries
from predgen.core import Example, Target
from predgen.errors import ConfigError, DataError, PredgenError, TrainingError
from predgen.losses.base import JointLoss
from predgen.metrics.measure import measure
from predgen.terminal import PlainConsole
from predgen.training import callbacks
from predgen.training.checkpoints import WEIGHTS, checkpoints
from predgen.training.loop import PredictionTrainer, trainable_state
from predgen.training.rows import TrainingData
from predgen.training.run import train
from registered import registrations_undone
from tiny_runs import tiny_base, tiny_config, tiny_data, tiny_run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


class NanAfterFour(JointLoss):
    """A joint loss that is nan from its fifth micro-batch on, though both of its parts are finite."""

    calls = 0

    def join(self, writer: Tensor, director: Tensor) -> Tensor:
        NanAfterFour.calls += 1
        return (writer + director) * (float("nan") if NanAfterFour.calls > 4 else 1.0)


@pytest.fixture
def nan_loss(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Register `NanAfterFour`, as a user would, for one test."""
    monkeypatch.setattr(NanAfterFour, "calls", 0)
    monkeypatch.setattr("predgen.losses.sum.NanAfterFour", NanAfterFour, raising=False)
    with registrations_undone():
        registries.losses.register("nan_after_four", "predgen.losses.sum:NanAfterFour", "broken on purpose")
        yield "nan_after_four"


def assert_finite_checkpoint(run: Path, name: str) -> None:
    """The last checkpoint has this name, and weights that are finite."""
    assert checkpoints(run / "checkpoints")[-1].name == name
    state = load_file(str(run / "checkpoints" / name / WEIGHTS))
    assert len(state) > 0
    assert [n for n, w in state.items() if not torch.isfinite(w).all()] == []


# Losses and weights that are not finite


def test_loss_that_is_not_finite_stops_naming_step_rows_and_checkpoint(
    base: Path, tmp_path: Path, nan_loss: str
) -> None:
    data = tiny_data("classification", 16)
    seen: list[list[int]] = []
    compute_loss = PredictionTrainer.compute_loss
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            PredictionTrainer,
            "compute_loss",
            lambda self, model, inputs, *a, **k: (
                seen.append(inputs.row_id.tolist()),
                compute_loss(self, model, inputs, *a, **k),
            )[1],
        )
        with pytest.raises(TrainingError) as error:
            tiny_run(base, "classification", data, tmp_path / "run", loss=nan_loss, epochs=3)
    message = str(error.value)
    # 16 rows in batches of 4: the fifth micro-batch is the first of the second epoch, after 4 optimizer steps.
    assert message.startswith(
        "training stopped at optimizer step 4: the loss is no longer finite (L_W is finite; L_D is finite;"
    )
    assert f"the micro-batch has rows {[row + 1 for row in seen[-1]]}" in message
    assert "all weights are finite" in message
    assert f"kept in {str(tmp_path / 'run' / 'checkpoints' / 'checkpoint-4')!r}" in message
    assert_finite_checkpoint(tmp_path / "run", "checkpoint-4")
    assert not (tmp_path / "run" / "predgen.json").exists()


def test_row_that_breaks_the_loss_is_named(base: Path) -> None:
    # The target is finite but its squared distance from the mean overflows float32.
    rows = tiny_data("regression", 8)
    broken = [*rows.train[:5], Example(5, rows.train[5].fields, Target(1e30)), *rows.train[6:]]
    with pytest.raises(TrainingError, match=r"stopped at optimizer step 0: .*L_D is not finite in rows \[6\]"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("predgen.target_scale._moments", lambda numbers, weights: (0.0, 1.0))
            tiny_run(base, "regression", TrainingData(rows.task, broken, []), method="predictor", batch_size=8)


def test_weight_that_is_not_finite_is_named(base: Path) -> None:
    def breaking(self: callbacks.LogFile, args: object, state: Any, control: object, **kwargs: Any) -> None:
        if state.global_step == 1:
            kwargs["model"].director.head.bias.data.fill_(float("inf"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks.LogFile, "on_step_begin", breaking)
        with pytest.raises(
            TrainingError, match=r"stopped at optimizer step 1: .*weights that are not finite: director\.head\.bias"
        ):
            tiny_run(base, "classification", tiny_data("classification"))


@pytest.mark.parametrize("n_validation", [0, 6])
def test_weights_that_are_not_finite_never_become_a_checkpoint(base: Path, tmp_path: Path, n_validation: int) -> None:
    # The only step of the second epoch writes infinite weights; measuring and saving come before the next loss.
    def breaking(self: callbacks.LogFile, args: object, state: Any, control: object, **kwargs: Any) -> None:
        if state.global_step == 2:
            kwargs["model"].director.head.bias.data.fill_(float("inf"))

    data = tiny_data("classification", 4, n_validation)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks.LogFile, "on_step_end", breaking, raising=False)
        with pytest.raises(
            TrainingError, match=r"step 2: weights are no longer finite: director\.head\.bias\. The last good"
        ):
            tiny_run(base, "classification", data, tmp_path / "run", epochs=3)
    assert_finite_checkpoint(tmp_path / "run", "checkpoint-1")


def test_enormous_learning_rate_stops_with_an_error(base: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"training stopped at optimizer step \d+: .*Lower `learning_rate`"):
        tiny_run(base, "regression", tiny_data("regression", 16, 6), tmp_path / "run", learning_rate=1e30)
    assert not (tmp_path / "run" / "predgen.json").exists()


def test_error_of_a_run_without_a_folder_names_no_checkpoint(base: Path, nan_loss: str) -> None:
    with pytest.raises(TrainingError, match=r"stopped at optimizer step 4: ") as error:
        tiny_run(base, "classification", tiny_data("classification", 16), loss=nan_loss, epochs=3)
    assert "kept in" not in str(error.value)


def test_gradient_that_is_not_finite_stops_before_the_step(base: Path) -> None:
    def breaking(self: PredictionTrainer, model: Any) -> Tensor:
        return torch.tensor(float("inf"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PredictionTrainer, "_clip_grad_norm", breaking)
        with pytest.raises(TrainingError, match="stopped at optimizer step 0: the gradient norm is inf"):
            tiny_run(base, "classification", tiny_data("classification"), max_grad_norm=1.0)


# Selection


def scripted(values: list[float]) -> Any:
    """Return an evaluation that pretends these metrics, one after the other, then measures."""
    left = list(values)

    def pretend(*args: Any, **own: Any) -> dict[str, float]:
        measured = measure(*args, **own)
        return {**measured, "accuracy": left.pop(0)} if left else measured

    return pretend


@pytest.mark.parametrize(
    ("patience", "steps", "best"),
    [(None, 12, 8), (1, 6, 4), (2, 12, 8)],  # evaluations at 2, 4, ...: 0.5 0.6 0.6 0.7 0.7 0.6
)
def test_patience_counts_evaluations_without_a_better_metric(
    base: Path, monkeypatch: pytest.MonkeyPatch, patience: int | None, steps: int, best: int
) -> None:
    monkeypatch.setattr("predgen.training.looks.measure", scripted([0.5, 0.6, 0.6, 0.7, 0.7, 0.6][: steps // 2]))
    trained = tiny_run(
        base, "classification", tiny_data("classification", 16, 6), eval_steps=2, epochs=3, patience=patience
    )
    assert (trained.report["optimizer_steps"], trained.report["best_step"]) == (steps, best)


@pytest.mark.parametrize("peft", ["lora", "full"])
def test_best_checkpoint_is_what_is_returned_and_reported(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peft: str
) -> None:
    data = tiny_data("classification", 16, 6)
    settings = {"peft": peft, "epochs": 3, "learning_rate": 0.1, "optimizer": "adamw"}
    kept: dict[int, dict[str, Tensor]] = {}

    def keeping(self: callbacks.LogFile, args: object, state: Any, control: object, **kwargs: Any) -> None:
        kept[state.global_step] = trainable_state(kwargs["model"])

    monkeypatch.setattr(callbacks.LogFile, "on_step_end", keeping, raising=False)
    monkeypatch.setattr("predgen.training.looks.measure", scripted([0.1, 0.9, 0.2]))
    trained = tiny_run(base, "classification", data, tmp_path / "run", **settings)
    assert (trained.report["best_step"], trained.report["optimizer_steps"]) == (8, 12)
    state = trainable_state(trained.model)
    assert [n for n in state if not torch.equal(state[n], kept[8][n])] == []
    assert any(not torch.equal(kept[8][n], kept[12][n]) for n in state)  # guard: the last steps changed something
    rows = [trained.encoder.encode(e, with_answer=False) for e in data.validation]
    predicted, targets = trained.predict_encoded(rows), [e.target.value for e in data.validation if e.target]
    values, probabilities = [p.value for p in predicted], [p.probabilities for p in predicted]
    again = measure(["accuracy", "log_loss"], targets, values, probabilities, trained.labels)
    assert {name: trained.report["validation"][name] for name in again} == again


def test_best_checkpoint_of_adalora_comes_with_its_own_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_base(tmp_path / "base", layers=2)  # enough ranks that some are given up after the best step
    kept: dict[int, tuple[dict[str, Tensor], dict[str, list[bool]]]] = {}

    def keeping(self: callbacks.LogFile, args: object, state: Any, control: object, **kwargs: Any) -> None:
        pattern = kwargs["model"].lm.peft_config["default"].rank_pattern
        kept[state.global_step] = trainable_state(kwargs["model"]), json.loads(json.dumps(pattern))

    monkeypatch.setattr(callbacks.LogFile, "on_step_end", keeping, raising=False)
    monkeypatch.setattr("predgen.training.looks.measure", scripted([0.1, 0.9, 0.2, 0.3]))
    data, settings = tiny_data("classification", 16, 6), {"peft": "adalora", "learning_rate": 0.1, "optimizer": "adamw"}
    trained = tiny_run(base, "classification", data, epochs=4, **settings)
    assert (trained.report["best_step"], trained.report["optimizer_steps"]) == (8, 16)
    whole, ranks = kept[8]
    assert ranks != kept[16][1]  # guard: the budget moved on after the best step
    state = trainable_state(trained.model)
    for name, mask in ranks.items():  # PEFT names them as in the base model
        a, b, e = (f"lm.base_model.model.{name.replace('lora_E', part)}" for part in ("lora_A", "lora_B", "lora_E"))
        assert torch.equal(state[a], whole[a][mask])
        assert torch.equal(state[b], whole[b][:, mask])
        assert torch.equal(state[e], whole[e][mask])
    assert sum(len(state[n]) for n in state if "lora_E" in n) < sum(len(whole[n]) for n in whole if "lora_E" in n)


def test_without_validation_rows_the_last_step_is_returned(base: Path, tmp_path: Path) -> None:
    trained = tiny_run(base, "classification", tiny_data("classification"), tmp_path / "run", eval_steps=3, patience=1)
    assert (trained.report["optimizer_steps"], trained.report["best_step"]) == (8, None)
    assert trained.report["validation"] == {}


def test_eval_rows_bounds_what_is_looked_at_while_training_only(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    def counting(names: Any, rows: Any, *args: Any, **own: Any) -> dict[str, float]:
        counts.append(len(rows))
        return measure(names, rows, *args, **own)

    monkeypatch.setattr("predgen.training.looks.measure", counting)
    trained = tiny_run(base, "classification", tiny_data("classification", 8, 9), eval_rows=5)
    assert counts == [5, 5, 9]  # after each epoch, then the report on all rows
    assert trained.report["validation_rows"] == 9


def test_many_validation_rows_do_not_take_longer_than_the_training(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counts: list[int] = []

    def counting(names: Any, rows: Any, *args: Any, **own: Any) -> dict[str, float]:
        counts.append(len(rows))
        return measure(names, rows, *args, **own)

    monkeypatch.setattr("predgen.training.looks.measure", counting)
    monkeypatch.setattr("predgen.training.run.LEAST_EVAL_ROWS", 4)
    console = PlainConsole(width=200)
    config = tiny_config(base, "classification")
    train(config, data=tiny_data("classification", 8, 30), console=console)
    assert counts == [8, 8, 30]  # as many as training rows, then all
    said = capsys.readouterr().out
    assert "8 of 30 validation rows" in said
    assert "eval_rows" in said


# Settings and data that leave nothing to learn


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (
            "classification",
            {"method": "generator", "peft": "none"},
            "method 'generator' with peft 'none' has nothing to train",
        ),
        (
            "regression",
            {"director": "ordered", "peft": "none"},
            "headless director 'ordered' with peft 'none' has nothing to train",
        ),
        (
            "regression",
            {"director": "linear"},
            "director 'linear' serves classification, but the task is a regression task",
        ),
        (
            "classification",
            {"director": "value"},
            "director 'value' serves regression and math, but the task is a classification",
        ),
        ("classification", {"director": "ordered"}, "director 'ordered' serves regression and math"),
        ("regression", {"class_weight": "balanced"}, "`class_weight` 'balanced' needs a classification task"),
    ],
)
def test_contradicting_settings_are_refused_by_name(
    base: Path, kind: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        tiny_run(base, kind, tiny_data(kind), **settings)


@pytest.mark.parametrize(("kind", "value", "message"), [
    ("classification", "low", "all 6 training rows have the same label 'low'; a classifier needs at least two classes"),
    ("regression", 0.25, "all 6 training targets are 0.25; there is nothing to learn"),
])  # fmt: skip
def test_targets_that_are_all_the_same_are_refused(base: Path, kind: str, value: Any, message: str) -> None:
    rows = [Example(e.row_id, e.fields, Target(value)) for e in tiny_data(kind, 6).train]
    with pytest.raises(DataError, match=re.escape(message)):
        tiny_run(base, kind, TrainingData(tiny_data(kind).task, rows, []))


def test_label_that_only_validation_rows_have_is_refused(base: Path) -> None:
    data = tiny_data("classification", 8, 4)
    strange = Example(17, data.validation[0].fields, Target("middling"))
    with pytest.raises(DataError, match=r"row 18 has the label 'middling'"):
        tiny_run(base, "classification", TrainingData(data.task, data.train, [strange]))


def test_validation_number_outside_the_training_range_is_scored(base: Path) -> None:
    data = tiny_data("regression", 8, 3)
    far = Example(17, data.validation[0].fields, Target(1000.0))
    trained = tiny_run(base, "regression", TrainingData(data.task, data.train, [far]), metric="mse")
    assert trained.report["validation"]["mse"] > 990**2


# Precision, memory, and what is left behind


@pytest.mark.parametrize(
    ("method", "kind"), [("predgen", "classification"), ("predgen", "regression"), ("predictor", "regression")]
)
def test_bfloat16_matrix_products_leave_trained_weights_in_float32(base: Path, method: str, kind: str) -> None:
    data, settings = tiny_data(kind, 4), {"method": method, "max_steps": 1, "warmup_ratio": 0.0}
    half, full, start = (
        trainable_state(tiny_run(base, kind, data, **settings, **change).model)
        for change in ({"bf16": True}, {}, {"learning_rate": 0.0})
    )
    assert {w.dtype for w in half.values()} == {torch.float32}
    error = sum(float((half[n] - full[n]).square().sum()) for n in full) ** 0.5
    step = sum(float((full[n] - start[n]).square().sum()) for n in full) ** 0.5
    assert (
        0 < error < 0.1 * step
    )  # 2^-9 a rounding, some dozens of them in a row; 0 would mean that bfloat16 was not used


def test_bfloat16_base_keeps_heads_and_adapters_in_float32(base: Path) -> None:
    trained = tiny_run(base, "classification", tiny_data("classification", 8, 4), dtype="bfloat16")
    assert trained.model.backbone.lm.get_input_embeddings().weight.dtype is torch.bfloat16
    assert {w.dtype for w in trainable_state(trained.model).values()} == {torch.float32}
    assert {w.dtype for w in trained.model.head_state().values()} == {torch.float32}


def test_training_without_a_folder_leaves_nothing_behind(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    trained = tiny_run(base, "classification", tiny_data("classification", 8, 4))
    assert trained.report["optimizer_steps"] == 4
    assert list(tmp_path.iterdir()) == []


def test_finished_folder_holds_model_settings_and_log_only(base: Path, tmp_path: Path) -> None:
    tiny_run(base, "classification", tiny_data("classification", 8, 4), tmp_path / "run")
    found = sorted(path.name for path in (tmp_path / "run").iterdir())
    model = ["README.md", "adapter", "head.safetensors", "predgen.json", "trained-rows.json"]
    assert found == sorted([*model, "config.yaml", "log.jsonl"])
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4]
    assert all(line["writer_loss"] > 0 and line["director_loss"] > 0 for line in lines if "loss" in line)


def test_overwrite_replaces_a_run(base: Path, tmp_path: Path) -> None:
    from predgen.training.run import train

    data = tiny_data("classification", 8, 4)
    tiny_run(base, "classification", data, tmp_path / "run")
    with pytest.raises(PredgenError, match="is not empty"):
        tiny_run(base, "classification", data, tmp_path / "run")
    train(
        tiny_config(base, "classification", method="predictor", peft="none"),
        tmp_path / "run",
        data=data,
        overwrite=True,
    )
    found = sorted(path.name for path in (tmp_path / "run").iterdir())
    model = ["README.md", "head.safetensors", "predgen.json", "trained-rows.json"]
    assert found == sorted([*model, "config.yaml", "log.jsonl"])


@pytest.mark.parametrize("content", [b"task: [", b"- 1\n", b"", b"\xff\xfe", b"model: &a x\ntask: *a\n", b"1: 2\n"])
def test_damaged_settings_of_a_run_to_resume_are_said(base: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.yaml'.*Restore it"):
        tiny_run(base, "classification", tiny_data("classification", 4), tmp_path, resume=True)
