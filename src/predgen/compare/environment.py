"""Where a run was made, and what it needed: versions, processor, threads, memory."""

import platform
import resource
import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from predgen.threads import available_cores

_PACKAGES = ("torch", "transformers", "peft", "accelerate", "numpy", "scikit-learn")
_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def environment() -> dict[str, Any]:
    """Return versions, platform, processor, threads and GPU, as plain data; no name of machine or user is among them."""
    from predgen import __version__

    return {
        "predgen": __version__,
        **{name: _version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def forget_peak() -> None:
    """Let `peak_bytes` start anew, where the system can (Linux, CUDA)."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    if _FORGET.exists():
        _FORGET.write_text("5", encoding="ascii")  # proc(5): resets VmHWM to the memory that is resident now


def peak_bytes() -> int:
    """Highest memory since `forget_peak`: torch's on a GPU, else that of the process, libraries and weights included."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _version(package: str) -> str | None:
    """A package's version, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@lru_cache
def _processor() -> str:
    """The processor's name, as Linux tells it, else as Python does."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
