"""One rank of a two-process run: python -m torch.distributed.run ... two_processes.py BASE OUT METHOD KIND PEFT.

Writes the run to OUT, and per rank OUT.RANK.json (its micro-batches) and OUT.RANK.safetensors (its weights at the end).
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from predgen.data.collate import Batch
from predgen.sampling.draws import SamplingPlan
from predgen.training.loop import PredictionTrainer, trainable_state
from tiny_runs import tiny_data, tiny_run

WEIGHTS = [1.0, 2.0, 0.5, 1.0, 1.0, 3.0, 1.0, 1.0, 0.25, 1.0, 1.0, 1.0, 2.0, 1.0]
SETTINGS: dict[str, Any] = {"p_min": 0.5, "head_norm": "standard"}


class Recording(PredictionTrainer):
    """Writes down the rows of each micro-batch, their weights and their random numbers."""

    seen: list[dict[str, Any]]

    def training_step(self, model: Any, inputs: Batch, *args: Any, **kwargs: Any) -> torch.Tensor:
        plan = SamplingPlan(self.schedule.probability(self.state.global_step), self.args.seed, self.epoch)
        columns = (inputs.row_id.tolist(), inputs.weight.tolist(), plan.uniforms(inputs.row_id, 3).tolist())
        rows = [list(row) for row in zip(*columns, strict=True)]
        self.seen.append({"step": self.state.global_step, "epoch": plan.epoch, "p": plan.probability, "rows": rows})
        return super().training_step(model, inputs, *args, **kwargs)


if __name__ == "__main__":
    from predgen.training import run

    base, out, method, kind, peft = sys.argv[1:]
    torch.set_num_threads(1)
    Recording.seen = []
    run.PredictionTrainer = Recording  # type: ignore[misc]
    data = tiny_data(kind, 14, 6, weights=WEIGHTS)
    trained = tiny_run(Path(base), kind, data, Path(out), method=method, peft=peft, batch_size=2, **SETTINGS)
    rank = os.environ["RANK"]
    save_file(trainable_state(trained.model), f"{out}.{rank}.safetensors")
    Path(f"{out}.{rank}.json").write_text(
        json.dumps({"seen": Recording.seen, "report": trained.report}), encoding="utf-8"
    )
