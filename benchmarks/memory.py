"""Resident memory of this process, now and at its peak; the GPU's memory where a variant runs there."""

import resource
import sys
from pathlib import Path

MIB = 1 << 20
_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident_mib() -> float:
    """Resident memory now, in MiB; on systems without /proc, the peak so far."""
    return _from_status("VmRSS")


def peak_mib() -> float:
    """Highest resident memory so far, or since `forget_peak`, in MiB.

    Linux: VmHWM, which counts from the start of the program. `ru_maxrss`, used elsewhere, would there begin with the peak
    of the process that started this one.
    """
    return _from_status("VmHWM")


def forget_peak() -> None:
    """Let `peak_mib` start anew, so that loading a model does not hide what follows; on systems without /proc it cannot."""
    if _FORGET.exists():
        _FORGET.write_text("5", encoding="ascii")  # proc(5): resets VmHWM to the memory that is resident now


def _from_status(name: str) -> float:
    """A line of /proc/self/status in MiB."""
    if not _STATUS.exists():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / MIB if sys.platform == "darwin" else peak / 1024
    line = next(line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith(name + ":"))
    return int(line.split()[1]) / 1024  # the kernel counts in KiB


def gpu_mib(device: str, *, peak: bool) -> float:
    """Memory that torch has allocated on the GPU, now or at its peak, in MiB."""
    import torch  # not above: what is measured may be a command that does without it

    assert device == "cuda"
    return (torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()) / MIB
