"""Training on files of decisions: the language model itself learns to answer questions, each case its own.

cases -> prompts and answers as an `Asker` puts them -> one forest a case, with gradient -> cross-entropy against the file's
probabilities -> the trained model as a base, which any `Asker` may ask

What is asked differs from case to case, so that nothing but the language model is there to learn: no head, no set of targets.
"""

import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import TrainerCallback, set_seed

from predgen import registries
from predgen.asking.asker import Asker, Case, Prompted
from predgen.asking.judging import judge
from predgen.config import RunConfig, config_from
from predgen.engine.backbone import eval_state
from predgen.engine.base_model import BaseModel, load_base, without_progress_bars
from predgen.engine.forest import Asked, forest_log_probs, run_forest
from predgen.errors import ConfigError, DataError
from predgen.files import locked_folder, told_in_words, write_text
from predgen.models.base import Reduction, RowLosses, RowRunner
from predgen.peft_methods.base import apply_peft
from predgen.precision import with_precision
from predgen.questions.decisions import Decision
from predgen.questions.measures import accuracy_of, kl_of
from predgen.questions.wording import PLAIN_PROMPT
from predgen.sampling.draws import SamplingPlan
from predgen.sampling.schedule import SamplingSchedule, linear
from predgen.terminal import PlainConsole
from predgen.training import callbacks as cb
from predgen.training.arguments import OF_PREDICTION_TRAINER, trainer_arguments
from predgen.training.folder import CHECKPOINTS, LOG, TRACKERS, claim_folder, finish, look_at
from predgen.training.loop import PredictionTrainer

REPORT = "decisions.json"
"""What a run says of itself, beside the weights."""
_HELD_OUT = 0.1  # share of the cases that choose the checkpoint, where no others are given
_LEAST_HELD = 2  # fewer say nothing
_OWN_SETTINGS = (
    "model dtype peft epochs max_steps batch_size gradient_accumulation learning_rate lr_schedule warmup_ratio warmup_steps"
    " weight_decay optimizer max_grad_norm bf16 seed split_seed limit max_length eval_steps gradient_checkpointing adapt_layers"
    " eval_batch_tokens"
).split()  # settings that such a run has, beside those of its PEFT method


@dataclass(frozen=True, slots=True)
class CaseRow:
    """A case to train on.

    Attributes:
        prompted: What is run.
        gold: Of each question, the file's probabilities of its answers.
        weight: What the case counts: its number of questions.
    """

    prompted: Prompted
    gold: tuple[tuple[float, ...], ...]
    weight: float

    def unweighted(self) -> "CaseRow":
        """Return the case as one that counts nothing."""
        return replace(self, weight=0.0)


@dataclass(frozen=True)
class CaseBatch:
    """Cases as tensors.

    Attributes:
        prompt_ids: What each case's questions share, padded on the left.
        prompt_mask: True for prompt tokens.
        asked: Questions of each case.
        gold: Of each case and question, the file's probabilities.
        weight: What each case counts.
        row_id: Number of each case.
    """

    prompt_ids: Int[Tensor, "B P"]
    prompt_mask: Bool[Tensor, "B P"]
    asked: tuple[tuple[Asked, ...], ...]
    gold: tuple[tuple[tuple[float, ...], ...], ...]
    weight: Float[Tensor, " B"]
    row_id: Int[Tensor, " B"]

    def __len__(self) -> int:
        return len(self.row_id)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "CaseBatch":
        """Return the batch on a device, as a data loader asks for it."""
        names = ("prompt_ids", "prompt_mask", "weight", "row_id")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=non_blocking) for name in names})


def collate_cases(rows: Sequence[CaseRow], pad_id: int) -> CaseBatch:
    """Pad cases into a batch; `pad_id` only has to be a valid token id."""
    lines = [row.prompted.row.prompt_ids for row in rows]
    width = max(1, *map(len, lines))
    ids, mask = torch.full((len(rows), width), pad_id), torch.zeros((len(rows), width), dtype=torch.bool)
    for i, line in enumerate(lines):
        ids[i, width - len(line) :], mask[i, width - len(line) :] = torch.tensor(line, dtype=torch.long), True
    return CaseBatch(
        ids,
        mask,
        tuple(row.prompted.asked for row in rows),
        tuple(row.gold for row in rows),
        torch.tensor([row.weight for row in rows]),
        torch.tensor([row.prompted.row.row_id for row in rows]),
    )


class DecisionModel(RowRunner):
    """A language model whose loss is the cross-entropy of its answers' exact probabilities against a file's.

    Args:
        lm: The language model, possibly with adapters.
        max_tree_nodes: Most nodes of a case's questions to run in one pass.
    """

    def __init__(self, lm: Any, max_tree_nodes: int = 256) -> None:  # noqa: ANN401
        super().__init__(lm)
        self.max_tree_nodes = max_tree_nodes

    def forward(self, batch: CaseBatch, plan: SamplingPlan, reduction: Reduction) -> RowLosses:
        """Return -sum_a gold(a) log P(a), in nats, of each case: the mean over its questions."""
        groves = run_forest(
            self.backbone,
            batch.prompt_ids,
            batch.prompt_mask,
            batch.asked,
            obstacle=self.obstacle,
            max_nodes=self.max_tree_nodes,
        )
        told = forest_log_probs(groves, [len(of_case) for of_case in batch.asked])
        losses = torch.stack([_loss(of_case, gold) for of_case, gold in zip(told, batch.gold, strict=True)])
        return RowLosses((batch.weight * losses).sum(), losses.detach(), None)


def _loss(told: Sequence[Float[Tensor, " A"]], gold: Sequence[Sequence[float]]) -> Float[Tensor, ""]:
    """Mean cross-entropy of a case's questions; answers that the file gives no probability add nothing."""
    found = []
    for log_probs, shares in zip(told, gold, strict=True):
        share = torch.tensor(shares, dtype=log_probs.dtype, device=log_probs.device)
        found.append(-torch.where(share > 0, share * log_probs, 0.0).sum())
    return torch.stack(found).mean()


def decisions_config(given: Mapping[str, Any]) -> RunConfig:
    """Return the settings of a run on a file of decisions.

    Raises:
        ConfigError: If a setting is given that such a run has not.
    """
    read = {"method": "generator", "prompt": PLAIN_PROMPT, "target": "answers", "kind": "classification"}
    config = config_from({**read, **{n: value for n, value in given.items() if n in _OWN_SETTINGS}})
    allowed = {*_OWN_SETTINGS, *config.peft_settings()}
    if others := [name for name in given if name not in allowed]:
        raise ConfigError(
            f"`{others[0]}` does not go with a file of decisions, whose lines say what is asked and answered. Leave it out; allowed"
            f" are {', '.join(sorted(allowed))}."
        )
    return config_from({**read, **given})


def train_decisions(
    config: RunConfig,
    decisions: Sequence[Decision],
    out: str | Path,
    *,
    validation: Sequence[Decision] | None = None,
    format: str | None = None,
    overwrite: bool = False,
    console: PlainConsole | None = None,
) -> Asker:
    """Train a base to answer questions, each case its own, and write it into a folder as a base.

    Args:
        config: What `decisions_config` returned.
        decisions: What `read_decisions` returned; questions without an answer are left out.
        out: The folder; adapters are merged into the weights.
        validation: Cases that choose the checkpoint, by KL; None: a tenth of the others, by seed.
        format: "plain" or "chat"; see `Asker`. The trained model is asked in the same.
        overwrite: Replace a run that is already in the folder.
        console: Where progress is shown; None: nowhere.

    Returns:
        The trained model, which answers any questions.

    Raises:
        PredgenError: If settings, cases or base cannot be used, or training had to stop.
    """
    config, said = with_precision(config)
    console = console or PlainConsole(quiet=True)
    if said:
        console.print(said, soft_wrap=True)
    folder = Path(out)
    with locked_folder(folder):
        look_at(folder, config, resume=False, overwrite=overwrite)
        train, held = _split(config, decisions, validation)
        run = _Run(config, folder, format, console)
        claim_folder(folder, config)
        with told_in_words(folder):
            return run.train(train, held)


def _split(
    config: RunConfig, decisions: Sequence[Decision], validation: Sequence[Decision] | None
) -> tuple[list[Decision], list[Decision]]:
    """Cases to train on, and those that choose the checkpoint; only cases with an answer."""
    known = [one for one in decisions if one.answers]
    order = random.Random(config.rows_seed).sample(range(len(known)), len(known))
    count = 0 if validation is not None else round(_HELD_OUT * len(known))
    held = {*order[: count if count >= _LEAST_HELD else 0]}
    train = [i for i in order if i not in held][: config.limit or len(known)]
    if not train:
        raise DataError("no case has an answer to train on. Give a file whose lines have `answers`.")
    own = [known[i] for i in sorted(held)] if validation is None else [one for one in validation if one.answers]
    return [known[i] for i in sorted(train)], own


class _Run:
    """One run.

    Args:
        config: The settings.
        folder: Where it is written.
        format: How questions are put.
        console: Where progress is shown.
    """

    def __init__(self, config: RunConfig, folder: Path, format: str | None, console: PlainConsole) -> None:
        self.config, self.folder, self.console = config, folder, console
        self.method = registries.peft_methods.get(config.peft)
        set_seed(config.seed)  # before adapters exist: their random start belongs to the seed
        self.base = load_base(config.model, dtype=config.dtype, trust_remote_code=config.trust_remote_code)
        self.format = format
        self.asker = self._asker()

    def _asker(self) -> Asker:
        """Who puts the questions to the model as it is now."""
        own = self.config
        return Asker(self.base, format=self.format, max_length=own.max_length, batch_tokens=own.eval_batch_tokens)

    def train(self, train: Sequence[Decision], held: Sequence[Decision]) -> Asker:
        """Train, take the best checkpoint, write it."""
        start = time.perf_counter()
        rows = [self._row(index, one) for index, one in enumerate(train)]
        micro = -(-len(rows) // self.config.batch_size)
        steps = self.config.max_steps or round(self.config.epochs * -(-micro // self.config.gradient_accumulation))
        self.base.lm = apply_peft(
            self.method,
            self.base.lm,
            self.config.peft_settings(),
            total_optimizer_steps=max(1, steps),
            seed=self.config.seed,
        )
        self.asker = self._asker()
        model = DecisionModel(self.base.lm, self.asker.max_tree_nodes)
        if self.config.gradient_checkpointing:
            model.backbone.lm.activation_checkpointing_enable({"use_reentrant": False})
        trainer = self._trainer(model, rows, held)
        try:
            trainer.train()
        finally:
            _restore(trainer.callback_handler.callbacks)
        if any(isinstance(c, cb.Interrupt) and c.requested for c in trainer.callback_handler.callbacks):
            raise KeyboardInterrupt(f"stopped at optimizer step {trainer.state.global_step}; nothing was kept")
        best = trainer.state.best_global_step
        if best and best != trainer.state.global_step:
            trainer.restore_weights(trainer.run_folder / f"checkpoint-{best}")
        report = {
            "cases": len(train),
            "questions": sum(len(row.gold) for row in rows),
            "states_truncated": sum(row.prompted.row.is_truncated for row in rows),
            "validation_cases": len(held),
            "validation": self._figures(held),
            "optimizer_steps": trainer.state.global_step,
            "best_step": best,
            "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "format": self.format or "plain",
            "engine": self.asker.engine,
            "seconds": round(time.perf_counter() - start, 1),
        }
        return self._written(report)

    def _row(self, index: int, one: Decision) -> CaseRow:
        """A case with the questions that have an answer."""
        case = Case(one.state, {name: one.questions[name] for name in one.answers})
        return CaseRow(self.asker.prompted(index, case), tuple(one.answers.values()), float(len(one.answers)))

    def _trainer(self, model: DecisionModel, rows: Sequence[CaseRow], held: Sequence[Decision]) -> PredictionTrainer:
        """Bring the trainer's parts together."""
        config = self.config
        arguments = trainer_arguments(
            config,
            self.folder / TRACKERS,
            "kl" if held else None,
            greater_is_better=False,
            **OF_PREDICTION_TRAINER,
        )
        display = cb.ProgressDisplay(self.console, config.batch_size * config.gradient_accumulation, "decisions")
        hooks: list[TrainerCallback] = [cb.Interrupt(), cb.LogFile(self.folder / LOG), display]
        hooks.append(cb.KeptCheckpoints(self.folder / CHECKPOINTS))
        if config.eval_steps and held:
            hooks.append(cb.EvaluateAtEnd())
        if self.method.after_step is not None:
            hooks.append(cb.AfterStep(self.method.after_step))
        return PredictionTrainer(
            model,
            arguments,
            rows,
            run_folder=self.folder / CHECKPOINTS,
            pad_id=self.asker.pad_id,
            method=self.method,
            schedule=SamplingSchedule(linear, 0.0, 0.0, 1),
            reduction="example",
            evaluator=(lambda trainer: self._figures(held)) if held else None,
            callbacks=hooks,
            collator=collate_cases,
        )

    def _figures(self, held: Sequence[Decision]) -> dict[str, float]:
        """How good the answers are now; empty without cases."""
        if not held:
            return {}
        self.asker.forget()
        with eval_state(self.base.lm):
            judged = judge(self.asker, held).judged
        return {"kl": fmean(map(kl_of, judged)), "accuracy": fmean(map(accuracy_of, judged))}

    def _written(self, report: Mapping[str, Any]) -> Asker:
        """Write the model as a base, and return who asks it."""
        if self.method.after_training is not None:
            self.method.after_training(self.base.lm)
        lm = (
            self.base.lm.merge_and_unload(safe_merge=True)
            if hasattr(self.base.lm, "merge_and_unload")
            else self.base.lm
        )
        with without_progress_bars():
            lm.save_pretrained(str(self.folder), safe_serialization=True)
        self.base.tokenizer.save_pretrained(str(self.folder))
        write_text(self.folder / REPORT, json.dumps(report, indent=1) + "\n", is_held=True)
        finish(self.folder)
        self.base = BaseModel(lm.eval(), self.base.tokenizer, str(self.folder), self.folder)
        return self._asker()


def _restore(callbacks: Sequence[Any]) -> None:
    """Leave signals and the display as they were."""
    for callback in callbacks:
        if isinstance(callback, cb.Interrupt):
            callback.restore()
        if isinstance(callback, cb.ProgressDisplay):
            callback.close()
