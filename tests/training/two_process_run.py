"""One rank of a run with several processes; started by `torch.distributed.run`, see `test_exactness.py`.

Usage: two_process_run.py JOB.json, with the settings, the weights of the rows, the validation rows and where to write.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from predgen import train
from predgen.config import config_from
from predgen.training.loop import PredictionTrainer, trainable_state
from training.runs import in_memory


def main(job: dict[str, Any]) -> None:
    """Train as the job says; each rank writes the rows it saw, rank 0 the weights as well."""
    torch.set_num_threads(1)
    rank, seen = os.environ["RANK"], []
    compute_loss = PredictionTrainer.compute_loss

    def recorded(self: PredictionTrainer, model: Any, inputs: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        seen.append([self.epoch, inputs["row_id"].tolist(), inputs["weight"].tolist()])
        return compute_loss(self, model, inputs, *args, **kwargs)

    PredictionTrainer.compute_loss = recorded  # type: ignore[method-assign]
    config = config_from(job["settings"])
    data = in_memory(str(config.kind), len(job["weights"]), job["n_validation"], job["weights"])
    trained = train(config, job["out"], data=data)
    result = Path(job["result"])
    (result / f"rows-{rank}.json").write_text(json.dumps(seen), encoding="utf-8")
    (result / f"report-{rank}.json").write_text(json.dumps(trained.report), encoding="utf-8")
    save_file(trainable_state(trained.model), str(result / f"weights-{rank}.safetensors"))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
