"""One training run, from settings to a trained model: of one target or of several (`subjects`)."""

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import EarlyStoppingCallback, TrainerCallback, TrainingArguments, set_seed

from predgen import registries
from predgen.bases.cache import origin_of
from predgen.config import RunConfig
from predgen.engine.base_model import load_base
from predgen.errors import ConfigError
from predgen.files import locked_folder, told_in_words
from predgen.inference.targets import TrainedTargets
from predgen.inference.trained import TrainedModel
from predgen.peft_methods.base import PeftMethod, apply_peft
from predgen.precision import with_precision
from predgen.ranks import require_whole_weights
from predgen.sampling.draws import SamplingPlan
from predgen.sampling.schedule import SamplingSchedule, linear
from predgen.sampling.settings import SampledSettings
from predgen.saved.exchange import CARD
from predgen.terminal import PlainConsole
from predgen.training import callbacks as cb
from predgen.training.arguments import OF_PREDICTION_TRAINER, trainer_arguments
from predgen.training.checkpoints import last_checkpoint, rows_of_step
from predgen.training.folder import CHECKPOINTS, CONFIG, LOG, TRACKERS, claim_folder, finish, look_at, settings_of_start
from predgen.training.forecast import Forecast, seconds_per_row
from predgen.training.loop import PredictionTrainer
from predgen.training.rows import TrainingData, load_data
from predgen.training.selection import Selection
from predgen.training.subjects import OneTarget, SeveralTargets, Subject
from predgen.training.target_rows import TargetsData, load_target_rows
from predgen.training.trackers import trackers

PAPER_SAMPLING_STEPS = 500  # PredGen, Table 3
LEAST_EVAL_ROWS = 500  # a share of 0.9 is then known to 0.013 (one standard error), which tells checkpoints apart


@dataclass(frozen=True, slots=True)
class _Lengths:
    """How long a run is, in optimizer steps."""

    per_epoch: int
    total: int

    @classmethod
    def of(cls, config: RunConfig, rows: int, world_size: int) -> "_Lengths":
        """Count as Trainer does: the last, smaller batch of an epoch is a step too."""
        micro = math.ceil(rows / (config.batch_size * world_size))
        per_epoch = math.ceil(micro / config.gradient_accumulation)
        return cls(per_epoch, config.max_steps or math.ceil(config.epochs * per_epoch))


def train(
    config: RunConfig,
    out: str | Path | None = None,
    *,
    data: Any = None,  # noqa: ANN401
    resume: bool = False,
    overwrite: bool = False,
    console: PlainConsole | None = None,
) -> TrainedModel:
    """Fine-tune a model as the settings say.

    Args:
        config: The settings.
        out: Folder for checkpoints, log and saved model; None: the model is only returned.
        data: Rows to train on: `TrainingData`, a path, a data frame, a data set or a list of mappings, of which a part is held
            out; None: those that the settings name.
        resume: Go on from the folder's last checkpoint, bit for bit as if the run had not stopped (on a CPU).
        overwrite: Replace a run that is already in the folder.
        console: Where progress is shown; None: nowhere.

    Returns:
        The trained model, its best checkpoint loaded.

    Raises:
        PredgenError: If settings, data or base model cannot be used, or training had to stop.
        KeyboardInterrupt: After Ctrl-C; a checkpoint was saved if `out` is given.
    """
    if config.targets is not None:
        raise ConfigError(
            f"`targets` names {len(config.targets)} targets, but `train` returns a model of one. Call `train_targets`, or name one"
            " column with `target` and `kind`."
        )

    def read(settled: RunConfig, folder: Path, rows: Any) -> OneTarget:  # noqa: ANN401
        return OneTarget(settled, rows if isinstance(rows, TrainingData) else load_data(settled, folder, rows))

    trained = _trained(config, out, data, read, resume=resume, overwrite=overwrite, console=console)
    assert isinstance(trained, TrainedModel), "it has one target"
    return trained


def train_targets(
    config: RunConfig,
    out: str | Path | None = None,
    *,
    data: Any = None,  # noqa: ANN401
    resume: bool = False,
    overwrite: bool = False,
    console: PlainConsole | None = None,
) -> TrainedTargets:
    """Fine-tune a model with several targets (`config.targets`).

    Args:
        config: The settings.
        out: See `train`, as all that follow.
        data: Rows to train on: `TargetsData`, or as for `train`.
        resume: See `train`.
        overwrite: See `train`.
        console: See `train`.

    Returns:
        The trained model, its best checkpoint loaded.

    Raises:
        PredgenError: If settings, data or base model cannot be used, or training had to stop.
        KeyboardInterrupt: After Ctrl-C; a checkpoint was saved if `out` is given.
    """
    if config.targets is None:
        raise ConfigError(
            "`targets` is None, but must list what is predicted. Give it, or call `train` for one target."
        )

    def read(settled: RunConfig, folder: Path, rows: Any) -> SeveralTargets:  # noqa: ANN401
        return SeveralTargets(
            settled, rows if isinstance(rows, TargetsData) else load_target_rows(settled, folder, rows)
        )

    trained = _trained(config, out, data, read, resume=resume, overwrite=overwrite, console=console)
    assert isinstance(trained, TrainedTargets), "it has several targets"
    return trained


def _trained(
    config: RunConfig,
    out: str | Path | None,
    data: Any,  # noqa: ANN401
    read: Callable[[RunConfig, Path, Any], Subject],
    *,
    resume: bool,
    overwrite: bool,
    console: PlainConsole | None,
) -> TrainedModel | TrainedTargets:
    """Train what `read` makes of settings, folder and rows."""
    if isinstance(data, str | Path):
        config, data = replace(config, data=str(data)), None
    require_whole_weights()
    config, said = with_precision(config)
    if said and console:
        console.print(said, soft_wrap=True)
    ranks = PartialState(cpu=not torch.accelerator.is_available())
    if out is None:
        with tempfile.TemporaryDirectory(prefix="predgen-") as scratch:
            folder = _folder_of_first_rank(Path(scratch))
            return _Run(config, folder, read(config, folder, data), console).train(None)
    folder = Path(out)
    with locked_folder(folder) if ranks.is_main_process else nullcontext():
        if ranks.is_main_process:
            look_at(folder, config, resume=resume, overwrite=overwrite, processes=ranks.num_processes)
        ranks.wait_for_everyone()
        if resume:
            config = _as_started(folder, config, console)
        checkpoint = last_checkpoint(folder / CHECKPOINTS) if resume else None
        return _Run(config, folder, read(config, folder, data), console).train(checkpoint, claim=not resume)


def _schedule(config: RunConfig, total: int) -> SamplingSchedule:
    """How the sampling probability grows over a run of `total` optimizer steps; it stays 0 where nothing is sampled."""
    mode, shape = config.component(registries.sampling), config.component(registries.schedules)
    if mode is None or shape is None:
        return SamplingSchedule(linear, 0.0, 0.0, 1)
    own: SampledSettings = mode.settings
    steps = own.max_steps_for_sampling or min(PAPER_SAMPLING_STEPS, max(1, total // 2))
    return SamplingSchedule(shape.make, own.p_min, own.p_max, steps)


def zero_shot(config: RunConfig, data: TrainingData) -> TrainedModel:
    """Return a model as it is before its first step; answers are under the constraint of the format that the training rows fix.

    Args:
        config: The settings; with `method` "generator" and `peft` "none" it is the base model.
        data: Rows; the training rows' targets fix labels and the numbers' grid, nothing else is taken from them.

    Raises:
        PredgenError: If settings, data or base model cannot be used.
    """
    trained = _Run(config, Path(), OneTarget(config, data), None).untrained()
    assert isinstance(trained, TrainedModel), "it has one target"
    return trained


def _as_started(folder: Path, config: RunConfig, console: PlainConsole | None) -> RunConfig:
    """The settings with which a run goes on; says where they are those of an earlier version."""
    started = settings_of_start(folder, config)
    before, now = config.to_dict(), started.to_dict()
    if console and (changed := [f"{key} {value!r}" for key, value in now.items() if before[key] != value]):
        range_of = " Range and standardisation of the numbers are this version's." * (config.kind == "regression")
        console.print(
            f"An earlier version started this run; it goes on with {', '.join(changed)}, as that version did.{range_of}",
            soft_wrap=True,
            highlight=False,
        )
    return started


def _folder_of_first_rank(folder: Path) -> Path:
    """The same folder on every rank."""
    return Path(str(broadcast_object_list([str(folder)])[0]))


class _Run:
    """The steps of one run; each method is one of them."""

    def __init__(self, config: RunConfig, folder: Path, subject: Subject, console: PlainConsole | None) -> None:
        self.config = config
        self.folder = folder
        self.console = console or PlainConsole(quiet=True)
        self.trackers = trackers(config)
        self.subject = subject
        self.method: PeftMethod = registries.peft_methods.get(config.peft)

    def train(self, checkpoint: Path | None, *, claim: bool = False) -> TrainedModel | TrainedTargets:
        """Run everything; with `claim`, take over the folder once data and model have proved usable."""
        self.subject.set_up()
        args = self._arguments()
        for said in self.subject.remarks():
            self.console.print(said, markup=False, highlight=False, soft_wrap=True)
        lengths = _Lengths.of(self.config, len(self.subject.train), args.world_size)
        trained = self._built(lengths)
        if origin := origin_of(trained.base.folder):
            self.console.print(f"Base: {origin.in_words()}.", soft_wrap=True)
        if trained.model.engine != trained.model.way:  # dearer than usual: said before hours are spent, too
            self.console.print(f"Answers: {trained.model.engine}.", markup=False, highlight=False, soft_wrap=True)
        rows = self.subject.encoded()
        if claim:
            if PartialState().is_main_process:
                claim_folder(self.folder, self.config)
            PartialState().wait_for_everyone()
        is_kept = (self.folder / CONFIG).is_file()
        with told_in_words(self.folder, "go on with --resume" if is_kept else ""):
            try:
                self._fit(trained, rows, args, lengths, checkpoint)
            finally:
                for tracker in self.trackers:
                    tracker.finish([self.folder / name for name in (CARD, CONFIG, LOG)])
        return trained

    def untrained(self) -> TrainedModel | TrainedTargets:
        """Build everything, and train nothing."""
        self.subject.set_up(trains=False)
        trained = self._built(_Lengths(1, 1))
        trained.model.eval()
        return replace(trained, trained_rows=None)

    def _built(self, lengths: _Lengths) -> TrainedModel | TrainedTargets:
        """The model before its first step."""
        set_seed(self.config.seed)  # before adapters and heads exist: their random start belongs to the seed
        base = load_base(
            self.config.model,
            dtype=self.config.dtype,
            quantize=self.config.quantize,
            trust_remote_code=self.config.trust_remote_code,
        )
        context = getattr(base.lm.config.get_text_config(), "max_position_embeddings", None)
        base.lm = apply_peft(
            self.method,
            base.lm,
            self.config.peft_settings(),
            total_optimizer_steps=lengths.total,
            seed=self.config.seed,
        )
        trained = self.subject.build(base, context)
        if self.config.gradient_checkpointing:
            trained.model.backbone.lm.activation_checkpointing_enable({"use_reentrant": False})
        return trained

    def _fit(
        self,
        trained: TrainedModel | TrainedTargets,
        rows: Sequence[Any],
        args: TrainingArguments,
        lengths: _Lengths,
        checkpoint: Path | None,
    ) -> None:
        """Train, load the best checkpoint, measure it, save."""
        start = time.perf_counter()
        display = self._display(args)
        looked = self._validation_rows(display)
        trainer = self._trainer(trained, rows, looked, args, lengths, display)
        trainer.keeps_checkpoints = (self.folder / CONFIG).is_file()
        if checkpoint is None:  # a run that goes on has what heads standardise by in its checkpoint
            plan = SamplingPlan(trainer.schedule.probability(0), self.config.seed, 0)
            self.subject.estimate_features(rows, plan)
        if checkpoint is None or not trainer.take_over_finished(checkpoint):
            _train_quietly(trainer, checkpoint)
        elif trainer.is_world_process_zero():
            cb.cut_log(self.folder / LOG, trainer.state.global_step)
        if any(isinstance(c, cb.Interrupt) and c.requested for c in trainer.callback_handler.callbacks):
            how = "; go on with --resume" if trainer.keeps_checkpoints else ""
            raise KeyboardInterrupt(f"stopped at optimizer step {trainer.state.global_step}{how}")
        best = trainer.state.best_global_step
        if best and best != trainer.state.global_step:
            trainer.restore_weights(trainer.run_folder / f"checkpoint-{best}")
        trainable = sum(p.numel() for p in trained.model.parameters() if p.requires_grad)
        if self.method.after_training is not None:
            self.method.after_training(trained.model.lm)
        trained.model.eval()
        seconds = time.perf_counter() - start
        selection = Selection.of(self.subject.metric, len(looked), trainer.state.log_history)
        if selection.remark:
            self.console.print(selection.remark, highlight=False)
        as_looked_at = None if self.method.after_training is not None else best or trainer.state.global_step
        report = self._report(trained, rows, trainer, self.subject.at_end(trainer, as_looked_at), seconds)
        trained.report = {**report, "selection": selection.to_dict(), "trainable_parameters": trainable}
        self.subject.calibrate(self.console)
        if trainer.is_world_process_zero() and trainer.keeps_checkpoints:
            trained.save(self.folder)
            finish(self.folder)
        trainer.accelerator.wait_for_everyone()

    def _validation_rows(self, display: cb.ProgressDisplay) -> Sequence[Any]:
        """Validation rows to look at while training, encoded."""
        rows = self.subject.validation
        most = self.config.eval_rows or max(LEAST_EVAL_ROWS, len(self.subject.train))
        looked = self.subject.begin(most, display)
        if len(looked) < len(rows):
            why = "`eval_rows`" if len(looked) == most else "`calibrate` has the others"
            self.console.print(
                f"While training, {len(looked)} of {len(rows)} validation rows are looked at ({why}); all of them at the end.",
            )
        return looked

    def _arguments(self) -> TrainingArguments:
        """Arguments of transformers for this run."""
        return trainer_arguments(
            self.config,
            self.folder / TRACKERS,  # checkpoints, which do not outlive the run, are moved beside it
            self.subject.metric if self.subject.validation else None,
            greater_is_better=self.subject.greater_is_better,
            **OF_PREDICTION_TRAINER,
            # The Predictor and the loss `director_only` give the output layer no gradient, and a batch may lack a question.
            ddp_find_unused_parameters=self.method.trains == "everything" or self.config.targets is not None,
        )

    def _trainer(
        self,
        trained: TrainedModel | TrainedTargets,
        rows: Sequence[Any],
        looked: Sequence[Any],
        args: TrainingArguments,
        lengths: _Lengths,
        display: cb.ProgressDisplay,
    ) -> PredictionTrainer:
        """Bring the trainer's parts together."""
        config = self.config
        hooks: list[TrainerCallback] = [cb.Interrupt(), cb.LogFile(self.folder / LOG), display, *self.trackers]
        hooks.append(cb.StepRows(rows_of_step(config, args.world_size)))
        hooks.append(cb.KeptCheckpoints(self.folder / CHECKPOINTS))  # behind the trackers, which may look at them
        if config.eval_steps and looked:
            hooks.append(cb.EvaluateAtEnd())
        if self.method.after_step is not None:
            hooks.append(cb.AfterStep(self.method.after_step))
        if not self.console.quiet:
            n_rows = len(looked), len(self.subject.validation) - len(looked)
            predict: Any = trained.predict_encoded if isinstance(trained, TrainedModel) else trained.predict_questions
            hooks.append(Forecast(self.console, n_rows, lambda: seconds_per_row(predict, looked)))
        if config.patience and looked:
            hooks.append(EarlyStoppingCallback(config.patience))
        return PredictionTrainer(
            trained.model,
            args,
            rows,
            run_folder=self.folder / CHECKPOINTS,
            pad_id=trained.pad_id,
            method=self.method,
            schedule=_schedule(trained.config, lengths.total),
            reduction=config.method_settings().get("reduction", "example"),
            evaluator=self.subject if looked else None,
            callbacks=hooks,
        )

    def _display(self, args: TrainingArguments) -> cb.ProgressDisplay:
        """What shows how far the run is."""
        config = self.config
        return cb.ProgressDisplay(
            self.console, rows_of_step(config, args.world_size), f"{config.method} {self.subject.title}"
        )

    def _report(
        self,
        trained: TrainedModel | TrainedTargets,
        rows: Sequence[Any],
        trainer: PredictionTrainer,
        measured: dict[str, float],
        seconds: float,
    ) -> dict[str, Any]:
        """Facts of the run."""
        return {
            "validation": measured,
            "validation_rows": len(self.subject.validation),
            "train_rows": len(rows),
            **self.subject.facts(rows, measured),
            "optimizer_steps": trainer.state.global_step,
            "best_step": trainer.state.best_global_step,
            "parameters": sum(p.numel() for p in trained.model.parameters()),
            "seconds": round(seconds, 1),
        }


def _train_quietly(trainer: PredictionTrainer, checkpoint: Path | None) -> None:
    """Train, and leave signals and the display as they were, whatever happens."""
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        for callback in trainer.callback_handler.callbacks:
            if isinstance(callback, cb.Interrupt):
                callback.restore()
            if isinstance(callback, cb.ProgressDisplay):
                callback.close()
