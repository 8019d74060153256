"""`AutoModelForSequenceClassification`: one forward, a linear head on the last token."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import inputs
from benchmarks.models import load_classifier
from benchmarks.settings import Setting


def forward(n_classes: int) -> Callable[[Setting], Callable[[], Tensor]]:
    """Class probabilities of one batch. No cache is made: nothing follows that could use it."""

    def make(setting: Setting) -> Callable[[], Tensor]:
        model = load_classifier(setting, n_classes)
        batch = inputs.masked(inputs.prompts(setting), model.config.pad_token_id, "right", setting.spec.device)

        @torch.no_grad()
        def run() -> Tensor:
            logits: Tensor = model(**batch, use_cache=False).logits
            return logits.softmax(dim=-1).cpu()

        return run

    return make
