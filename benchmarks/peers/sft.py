"""Supervised fine-tuning to write the answer: transformers' Trainer, and a lean step of one's own."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import Trainer, TrainingArguments

from benchmarks import inputs, ours
from benchmarks.inputs import Ids
from benchmarks.models import load_lm, with_lora
from benchmarks.settings import Setting
from benchmarks.steps import back, training_step

IGNORED = -100  # transformers' mark for positions without a loss


def sft_batch(prompts: Sequence[Ids], answers: Sequence[Ids], pad_id: int, device: str) -> dict[str, Tensor]:
    """Prompts with their answers, padded on the right, labels on the answer's tokens only."""
    rows = [(*prompt, *answer) for prompt, answer in zip(prompts, answers, strict=True)]
    labels = [[IGNORED] * len(prompt) + list(answer) for prompt, answer in zip(prompts, answers, strict=True)]
    return {**inputs.masked(rows, pad_id, "right", device), "labels": inputs.pad(labels, IGNORED, "right", device)}


def lean_batch(prompts: Sequence[Ids], answers: Sequence[Ids], device: str) -> tuple[dict[str, Tensor], Tensor]:
    """Prompts with their answers but the stop, padded on the left, and the answers, all of the same length."""
    rows = [(*prompt, *answer[:-1]) for prompt, answer in zip(prompts, answers, strict=True)]
    return inputs.with_positions(rows, device), torch.tensor(answers, device=device)


def lean_loss(lm: Any, batch: dict[str, Tensor], answers: Tensor) -> Tensor:  # noqa: ANN401
    """The same loss as transformers', with logits at the positions that predict an answer token, and nowhere else.

    All answers have the same length and rows are padded on the left, so that these positions are the last ones.
    """
    logits = lm(**batch, use_cache=False, logits_to_keep=answers.shape[1]).logits
    return cross_entropy(logits.float().flatten(0, 1), answers.flatten())


def lean_step(setting: Setting) -> Callable[[], None]:
    """A LoRA step with `lean_loss`."""
    lm = with_lora(load_lm(setting)).train()
    batch, answers = lean_batch(*_rows(setting), setting.spec.device)
    return training_step(lm.parameters(), back(lambda: lean_loss(lm, batch, answers)))


def trainer_step(setting: Setting) -> Callable[[], None]:
    """A LoRA step by `Trainer.training_step`, with transformers' default loss: logits at every position."""
    lm = with_lora(load_lm(setting)).train()
    prompts, answers = _rows(setting)
    batch = sft_batch(prompts, answers, lm.config.pad_token_id, setting.spec.device)
    n_labels = (batch["labels"] != IGNORED).sum()
    trainer = Trainer(
        lm, TrainingArguments(str(setting.folder / "trainer"), report_to="none", use_cpu=_is_cpu(setting))
    )
    return training_step(lm.parameters(), lambda: trainer.training_step(lm, dict(batch), n_labels))


def _rows(setting: Setting) -> tuple[list[Ids], list[Ids]]:
    """The prompts and answers that ours is trained on."""
    return inputs.prompts(setting), ours.answer_ids(setting, inputs.numbers(setting.batch_size))


def _is_cpu(setting: Setting) -> bool:
    """Whether the model stays on the CPU."""
    return setting.spec.device == "cpu"
