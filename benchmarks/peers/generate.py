"""`model.generate`: greedy decoding without constraint, as long as a number of the grid."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import inputs, ours
from benchmarks.models import load_lm
from benchmarks.settings import Setting


def greedy(setting: Setting) -> Callable[[], Tensor]:
    """Write as many tokens as the answer has, on transformers' own cache."""
    lm = load_lm(setting)
    width = len(ours.answer_ids(setting, [0.0])[0])
    batch = inputs.masked(inputs.prompts(setting), lm.config.pad_token_id, "left", setting.spec.device)

    @torch.no_grad()
    def run() -> Tensor:
        written: Tensor = lm.generate(**batch, do_sample=False, max_new_tokens=width, min_new_tokens=width)
        return written[:, batch["input_ids"].shape[1] :]

    return run
