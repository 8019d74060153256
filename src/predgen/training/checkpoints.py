"""Checkpoints of a run: which are there, and which are whole. No torch here, so that a folder is judged before it loads."""

import json
import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open

WEIGHTS, PEFT_STATE = "trainable.safetensors", "peft_state.safetensors"
_PREFIX = "checkpoint-"  # as transformers names them (`trainer_utils.PREFIX_CHECKPOINT_DIR`)


def checkpoints(run: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    found = [p for p in run.glob(f"{_PREFIX}*") if p.name.removeprefix(_PREFIX).isdigit() and _is_complete(p)]
    return sorted(found, key=lambda path: int(path.name.removeprefix(_PREFIX)))


def last_checkpoint(run: Path) -> Path | None:
    """The newest complete checkpoint, or None."""
    found = checkpoints(run)
    return found[-1] if found else None


def _is_complete(checkpoint: Path) -> bool:
    """Whether all files of a checkpoint are there and none is cut off."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        for path in (checkpoint / WEIGHTS, *checkpoint.glob("*.safetensors")):
            with safe_open(str(path), "np"):
                pass
    except (OSError, ValueError, RecursionError, SafetensorError):
        return False
    states = list(checkpoint.glob("*.pt*"))  # optimizer.pt, scheduler.pt, and rng_state.pth or one such file per rank
    return len(states) >= 3 and all(map(zipfile.is_zipfile, states))
