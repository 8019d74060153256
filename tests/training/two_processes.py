"""One rank of a two-process run: python -m torch.distributed.run ... two_processes.py BASE OUT METHOD KIND."""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny_runs import tiny_data, tiny_run

from predgen.training.loop import trainable_state

if __name__ == "__main__":
    base, out, method, kind = sys.argv[1:]
    torch.set_num_threads(1)
    trained = tiny_run(Path(base), kind, tiny_data(kind, 14, 6), method=method, batch_size=2, p_min=0.5)
    if os.environ["RANK"] == "0":
        save_file(trainable_state(trained.model), f"{out}.safetensors")
