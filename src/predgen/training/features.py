"""What heads standardise their features by: one look at training rows before the first step."""

from collections.abc import Sequence

import numpy as np
import torch

from predgen.data.collate import collate
from predgen.data.encode import Encoded
from predgen.directors.heads import estimating, feature_norms
from predgen.engine.backbone import eval_state
from predgen.models.base import PredictionModel
from predgen.sampling.draws import SamplingPlan

MOST_ROWS = 512
"""Rows to look at: a standard deviation is then known to 3 % (one standard error, normal features)."""


@torch.no_grad()
def estimate_features(
    model: PredictionModel, rows: Sequence[Encoded], *, pad_id: int, batch_size: int, plan: SamplingPlan, bf16: bool
) -> None:
    """Estimate mean and variance of the features that a model's heads read; without such heads nothing is run.

    Args:
        model: The model before its first step.
        rows: Training rows; a choice of at most `MOST_ROWS`, by the plan's seed, is run.
        pad_id: Any valid token id.
        batch_size: Rows to run at once.
        plan: The first step's moment of scheduled sampling: heads read what they will read then.
        bf16: Run the matrix products in bfloat16, as training does.
    """
    if not feature_norms(model):
        return
    # Every rank looks at the same rows, so that all have the same figures. Rows of similar length run together.
    generator = np.random.Generator(np.random.Philox(key=[plan.seed, 0], counter=[0, 0, 0, 2]))
    chosen = [rows[i] for i in generator.permutation(len(rows))[:MOST_ROWS]]
    chosen.sort(key=lambda row: len(row.prompt_ids))
    device = model.backbone.device
    with eval_state(model), estimating(model), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        for start in range(0, len(chosen), batch_size):
            model(collate(chosen[start : start + batch_size], pad_id, device), plan, "example")
