"""transformers' Trainer, taught to train prediction models: exact weighting, exact resume, evaluation by prediction."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from accelerate.utils import DistributedType
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerState, TrainingArguments

from predgen.data.buckets import split_by_length
from predgen.data.collate import Batch, collate
from predgen.data.questions import QuestionBatch, collate_questions
from predgen.directors.heads import feature_norms
from predgen.errors import TrainingError
from predgen.models.base import Reduction, RowLosses, RowRunner
from predgen.models.targets import TargetsModel
from predgen.peft_methods.base import PeftMethod
from predgen.sampling.draws import SamplingPlan
from predgen.sampling.schedule import SamplingSchedule
from predgen.training.checkpoints import PEFT_STATE, STATE, WEIGHTS, last_checkpoint

_INDEPENDENT_FORWARDS = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


@runtime_checkable
class AnyBatch(Protocol):
    """Rows of one target, rows' questions about several, or whatever else a model has a loss for."""

    @property
    def weight(self) -> Tensor:
        """What each of them counts."""

    @property
    def row_id(self) -> Tensor:
        """Key of each one's random draws."""


@runtime_checkable
class AnyRow(Protocol):
    """One of them."""

    def unweighted(self) -> "AnyRow":
        """The row as one that counts nothing."""


class TrainingRows(Dataset[AnyRow]):
    """Training rows in the order of an epoch, followed by fillers of weight 0 that make every rank's batches equally many.

    The order depends on (seed, epoch) alone. Duplicated tail rows (accelerate's `even_batches`) would count twice; fillers
    count nothing.
    """

    def __init__(self, rows: Sequence[AnyRow], rows_per_global_batch: int, world_size: int, seed: int) -> None:
        self.rows = rows
        self.seed = seed
        full = math.ceil(len(rows) / rows_per_global_batch) * rows_per_global_batch
        self.total = full if world_size > 1 else len(rows)
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Take the order of an epoch; the data loader calls it before each."""
        generator = np.random.Generator(np.random.Philox(key=[self.seed, epoch], counter=[0, 0, 0, 1]))
        self.order: list[int] = generator.permutation(len(self.rows)).tolist()

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, index: int) -> AnyRow:
        if index < len(self.rows):
            return self.rows[self.order[index]]
        return self.rows[index % len(self.rows)].unweighted()


class PredictionTrainer(Trainer):
    """Trains a `PredictionModel`, a `TargetsModel`, whose rows are the pairs of row and question, or another one with losses per row.

    Differs from Trainer: the loss is a sum over rows divided by the summed weights of the *global* batch, so that
    accumulation, ranks and batch size leave gradients unchanged; evaluation predicts as users do; checkpoints hold what
    trains, and resume bit for bit on a CPU (`callbacks.KeptCheckpoints` puts them in their place); a loss that is not finite
    stops the run. Two of Trainer's private methods are overridden, `_get_grad_norm` and `_load_from_checkpoint`: each says why.

    Args:
        model: The model.
        args: transformers' arguments.
        rows: Training rows with targets.
        run_folder: Where checkpoints go.
        pad_id: Any valid token id.
        method: PEFT method of the model.
        schedule: Sampling schedule, in optimizer steps.
        reduction: See `models.base.joined`.
        evaluator: Returns validation metrics by predicting; None without validation rows.
        callbacks: Further callbacks.
        collator: Makes a batch of rows; None: that of the model's kind.

    Attributes:
        keeps_checkpoints: Whether the folder outlives the run, so that errors may point to it.
    """

    def __init__(
        self,
        model: RowRunner,
        args: TrainingArguments,
        rows: Sequence[AnyRow],
        *,
        run_folder: Path,
        pad_id: int,
        method: PeftMethod,
        schedule: SamplingSchedule,
        reduction: Reduction,
        evaluator: Any,  # noqa: ANN401  (a callable of the trainer; typed where it is made)
        callbacks: list[Any],
        collator: Any = None,  # noqa: ANN401  (Trainer says dict, and hands on what comes)
    ) -> None:
        self.method = method
        self.schedule = schedule
        self.reduction: Reduction = reduction
        self.evaluator = evaluator
        self.keeps_checkpoints = True
        self._logged = {"writer_loss": [0.0, 0.0], "director_loss": [0.0, 0.0]}
        self.prediction_model = model
        self.run_folder = run_folder
        usual: Any = collate_questions if isinstance(model, TargetsModel) else collate
        data = TrainingRows(rows, args.per_device_train_batch_size * args.world_size, args.world_size, args.seed)
        super().__init__(
            model=model,
            args=args,
            train_dataset=data,
            eval_dataset=rows if evaluator is not None else None,  # only its presence matters: see `evaluate`
            data_collator=partial(collator or usual, pad_id=pad_id),
            callbacks=callbacks,
        )
        self.remove_callback(PrinterCallback)  # our progress display says it all
        self.loss_is_scaled_for_ga = True  # `compute_loss` divides by the global batch's weights itself

    @property
    def epoch(self) -> int:
        """Passes over the data completed so far."""
        return int((self.state.epoch or 0.0) + 1e-9)

    def get_batch_samples(
        self, epoch_iterator: Iterator[AnyBatch], num_batches: int, device: torch.device
    ) -> tuple[list[AnyBatch], Any]:
        """The micro-batches of an optimizer step, and their summed row weights over all ranks (Trainer counts tokens)."""
        # One step's gradient is that of  sum_b w_b loss_b / sum_b w_b  over all rows b of the step, wherever they are run. The
        # divisor has to be known before the first micro-batch is differentiated, and has to be the same on all ranks.
        batches = list(islice(epoch_iterator, num_batches))
        total = torch.stack([batch.weight.sum() for batch in batches]).sum().to(device)
        return batches, self.accelerator.gather(total).sum() if self.args.world_size > 1 else total

    def floating_point_ops(self, inputs: AnyBatch) -> int:  # type: ignore[override]  # Trainer hands on what its collator returns
        """Nothing: Trainer would look for the ids of a model of its own in the batch."""
        return 0

    def training_step(
        self,
        model: nn.Module,
        inputs: AnyBatch,  # type: ignore[override]  # Trainer hands on what its collator returns
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Run rows of similar length together, one bucket after the other: less padding, and one bucket's graph at a time.

        The loss is a sum over rows, so this changes nothing but rounding. The reduction "batch" needs the whole batch;
        ranks that shard weights have to take the same number of forwards.
        """
        # Trainer calls this once a micro-batch and adds up what it returns; it also divides nothing, since
        # `loss_is_scaled_for_ga`. So a micro-batch may be cut into buckets that are each differentiated at once: gradients
        # add up in place, and no more than one bucket's graph is alive. Rows of one length leave no padding to compute.
        may_cut = self.reduction == "example" and self.accelerator.distributed_type in _INDEPENDENT_FORWARDS
        parts: Sequence[AnyBatch] = [inputs]
        if may_cut and isinstance(inputs, QuestionBatch):
            assert isinstance(self.prediction_model, TargetsModel), "it alone is asked several questions"
            parts = self.prediction_model.parts_to_run(inputs)
        elif may_cut and isinstance(inputs, Batch):
            parts = split_by_length(inputs)
        step: Any = super().training_step
        losses = []
        for part in parts[:-1]:
            with self.accelerator.no_sync(model):  # gradients meet those of other ranks once, in the last bucket
                losses.append(step(model, part, num_items_in_batch))
        losses.append(step(model, parts[-1], num_items_in_batch))
        return torch.stack(losses).sum()

    def compute_loss(
        self,
        model: nn.Module,
        inputs: AnyBatch,  # type: ignore[override]  # as above
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Sum of the rows' weighted losses over the global batch's summed weights."""
        # `total` is a sum over this micro-batch's rows, `num_items_in_batch` the weight of the whole step on all R ranks. DDP
        # takes the mean of the ranks' gradients, 1/R of their sum: times R, it is the sum again. A term that a PEFT method
        # adds is no sum over rows; weighed by the micro-batch's rows, it counts once a step.
        plan = SamplingPlan(self.schedule.probability(self.state.global_step), self.args.seed, self.epoch)
        losses = model(inputs, plan, self.reduction)
        total = losses.total
        if self.method.extra_loss is not None:
            total = total + self.method.extra_loss(self.prediction_model.lm) * inputs.weight.sum()
        loss: Tensor = total / num_items_in_batch * self.accelerator.num_processes  # DDP averages over ranks
        if not bool(torch.isfinite(loss)):
            raise TrainingError(self._diagnosis(inputs, losses))
        self._note(inputs, losses)
        return loss

    def _diagnosis(self, batch: AnyBatch, losses: RowLosses) -> str:
        """Explain a loss that is not finite."""
        parts = []
        for name, values in (("L_W", losses.writer), ("L_D", losses.director)):
            if values is not None:
                rows = batch.row_id[~torch.isfinite(values)].tolist()
                parts.append(
                    f"{name} is not finite in rows {[r + 1 for r in rows[:5]]}" if rows else f"{name} is finite"
                )
        if not any("in rows" in part for part in parts):
            parts.append(f"the micro-batch has rows {[r + 1 for r in batch.row_id.tolist()]}")
        broken = self._broken_weights()
        parts.append(f"weights that are not finite: {', '.join(broken[:3])}" if broken else "all weights are finite")
        return self.stopped(f"the loss is no longer finite ({'; '.join(parts)})")

    def _broken_weights(self) -> list[str]:
        """Names of trained weights that are not finite."""
        trained = ((n, p) for n, p in self.prediction_model.named_parameters() if p.requires_grad)
        return [name for name, weight in trained if not bool(torch.isfinite(weight).all())]

    def _require_finite_weights(self) -> None:
        """Stop before weights that are not finite are measured, or replace a good checkpoint."""
        if broken := self._broken_weights():
            raise TrainingError(self.stopped(f"weights are no longer finite: {', '.join(broken[:3])}"))

    def stopped(self, reason: str) -> str:
        """Say where a run stopped and what to do."""
        kept = last_checkpoint(self.run_folder) if self.keeps_checkpoints else None
        return (
            f"training stopped at optimizer step {self.state.global_step}: {reason}. "
            f"{f'The last good checkpoint is kept in {str(kept)!r}. ' if kept else ''}"
            "Lower `learning_rate` or `max_grad_norm`, or look at these rows."
        )

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:  # noqa: ANN401
        """Stop before a step would write values that are not finite into the weights.

        Private to Trainer: of its hooks only this one is called between the gradients and the step with the norm in hand;
        callbacks (`on_pre_optimizer_step`) see gradients that were clipped by it already.
        """
        norm: Any = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[no-untyped-call]  # transformers
        if norm is not None and not math.isfinite(float(norm)):
            raise TrainingError(self.stopped(f"the gradient norm is {float(norm)}"))
        return norm

    def _note(self, batch: AnyBatch, losses: RowLosses) -> None:
        """Add a micro-batch to the running means of L_W and L_D."""
        for name, values in (("writer_loss", losses.writer), ("director_loss", losses.director)):
            if values is not None:
                self._logged[name][0] += float((values * batch.weight).sum())
                self._logged[name][1] += float(batch.weight.sum())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add L_W, L_D (means over the rows since the last log, all ranks) and p to training logs."""
        if "loss" in logs:
            for name, pair in self._logged.items():
                total, weight = self.accelerator.reduce(torch.tensor(pair, device=self.args.device)).tolist()
                if weight:
                    logs[name] = total / weight
                self._logged[name] = [0.0, 0.0]
            logs["p"] = self.schedule.probability(max(0, self.state.global_step - 1))
        super().log(logs, start_time)

    def evaluate(
        self,
        eval_dataset: Any = None,  # noqa: ANN401
        ignore_keys: Any = None,  # noqa: ANN401
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Predict the validation rows as users would, and return their metrics."""
        self._require_finite_weights()
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in self.evaluator(self).items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save everything that trains, and what the PEFT method needs to go on; no pickles of arguments."""
        self._require_finite_weights()
        if not self.args.should_save:
            return
        folder = Path(output_dir) if output_dir else self.run_folder
        folder.mkdir(parents=True, exist_ok=True)
        save_file(trainable_state(self.prediction_model), str(folder / WEIGHTS))
        if self.method.state is not None:
            save_file(self.method.state(self.prediction_model.lm), str(folder / PEFT_STATE))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Read what `save_model` wrote. Private to Trainer, which has no public way to read weights of another format."""
        self.restore_weights(Path(resume_from_checkpoint))

    def take_over_finished(self, checkpoint: Path) -> bool:
        """Restore a checkpoint after which no step is left, and say whether it is one."""
        state = TrainerState.load_from_json(str(checkpoint / STATE))
        stopping = state.stateful_callbacks.get(EarlyStoppingCallback.__name__)
        is_stopped = isinstance(stopping, dict) and (
            stopping.get("attributes", {}).get("early_stopping_patience_counter", 0)
            >= stopping.get("args", {}).get("early_stopping_patience", math.inf)
        )
        if state.global_step < state.max_steps and not is_stopped:
            return False
        self.state = state
        self.restore_weights(checkpoint)
        return True

    def restore_weights(self, folder: Path) -> None:
        """Put back the weights of a checkpoint, and the PEFT method's state that belongs to them.

        Raises:
            TrainingError: If the checkpoint does not fit the model.
        """
        load_trainable(self.prediction_model, folder)
        if self.method.restore is None:
            return
        path, earlier = folder / PEFT_STATE, self.method.state_of_0_1
        state = load_file(str(path)) if path.is_file() else earlier(folder) if earlier is not None else None
        if state is None:
            raise TrainingError(
                f"checkpoint {str(folder)!r} has no {PEFT_STATE}, without which peft {self.method.name!r} cannot go on. Restore"
                " the file, or give --overwrite to train anew."
            )
        self.method.restore(self.prediction_model.lm, state)


def _state(model: nn.Module) -> dict[str, Tensor]:
    """All weights that train, and what heads standardise by, by name."""
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    figures = {f"{name}.{n}": b for name, norm in feature_norms(model).items() for n, b in norm.named_buffers()}
    return trained | figures


def trainable_state(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all weights that train, and of what heads standardise by, by name."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in _state(model).items()}


def load_trainable(model: nn.Module, folder: Path) -> None:
    """Put a checkpoint's weights back.

    Raises:
        TrainingError: If the checkpoint does not fit the model.
    """
    state = load_file(str(folder / WEIGHTS))
    expected = _state(model)
    if state.keys() != expected.keys() or any(state[n].shape != p.shape for n, p in expected.items()):
        raise TrainingError(f"checkpoint {str(folder)!r} was made with other settings; resume with the same config.")
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(state[name])
