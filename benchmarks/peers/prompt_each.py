"""Many yes/no questions about a state by one prompt each: batches of whole prompts, read at the two answers' first tokens."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks import inputs
from benchmarks.models import load_lm
from benchmarks.questions import asker_of
from benchmarks.settings import Setting
from predgen.questions.kinds import TypedQuestion
from predgen.questions.wording import question_text

PROMPTS_PER_BATCH = 16


@torch.no_grad()
def probabilities(lm: Any, batches: list[dict[str, Tensor]], answers: list[int]) -> Tensor:  # noqa: ANN401
    """P(yes) of each prompt, among yes and no, whose first tokens are `answers`.

    Generous to the peer: logits are computed at the last position only.
    """
    found = [lm(**batch, use_cache=False, logits_to_keep=1).logits[:, -1, answers] for batch in batches]
    return torch.cat(found).float().softmax(dim=-1)[:, 0]


def ask(questions: Mapping[str, TypedQuestion]) -> Callable[[Setting], Callable[[], Tensor]]:
    """Ask each question about each state of a batch, with whole prompts."""

    def make(setting: Setting) -> Callable[[], Tensor]:
        tokenizer, lm = asker_of(setting).tokenizer, load_lm(setting)
        states = inputs.states(setting, lambda text: len(tokenizer.encode(text)))
        texts = [f"{s}\n\nQuestion: {question_text(q)}\nAnswer:" for s in states for q in questions.values()]
        rows = [tuple(tokenizer.encode(text)) for text in texts]
        parts = [rows[i : i + PROMPTS_PER_BATCH] for i in range(0, len(rows), PROMPTS_PER_BATCH)]
        batches = [inputs.with_positions(part, setting.spec.device) for part in parts]
        answers = [tokenizer.encode(text, add_special_tokens=False)[0] for text in (" yes", " no")]
        return lambda: probabilities(lm, batches, answers)

    return make
