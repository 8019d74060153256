"""The run that `test_resume` kills: python killed_run.py BASE OUT."""

import sys
import time
from pathlib import Path

import torch
from transformers import TrainerCallback

from predgen.training import callbacks
from tiny_runs import RESUMABLE, tiny_data, tiny_run


class _Slow(TrainerCallback):
    """Gives the killer time."""

    def on_step_end(self, args: object, state: object, control: object, **kwargs: object) -> None:
        time.sleep(0.1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    callbacks.LogFile = lambda path: _Slow()  # type: ignore[assignment,misc,return-value]
    tiny_run(Path(sys.argv[1]), "regression", tiny_data("regression", 64), Path(sys.argv[2]), **RESUMABLE)
