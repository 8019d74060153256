"""Memory is what the kernel says, and commands that fail say why."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.memory import forget_peak, peak_mib, resident_mib
from benchmarks.processes import ROOT, Command, run_command, run_variant
from benchmarks.settings import Setting


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_peak_outlives_the_memory_and_can_be_forgotten() -> None:
    before = resident_mib()
    block = bytearray(b"x") * (200 << 20)
    del block
    assert peak_mib() > before + 190
    forget_peak()
    assert peak_mib() < before + 100


def test_peak_of_a_child_does_not_begin_at_its_parents() -> None:
    block = bytearray(b"x") * (400 << 20)
    code = "import benchmarks.memory as m; print(m.peak_mib())"
    child = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(child.stdout) < peak_mib()
    assert len(block) == 400 << 20


def test_a_step_has_a_peak_above_what_is_loaded(setting: Setting) -> None:
    memory = run_variant("memory", "peer", setting)
    assert 100 < memory.loaded < memory.peak < 2000


def test_command_is_timed_with_its_memory(setting: Setting) -> None:
    outcome = run_command(Command("timeit", ("-n", "1", "-r", "1", "b'x' * (150 << 20)")), setting)
    assert outcome.seconds > 0.01
    assert outcome.peak_mib > 150


def test_command_that_fails_says_why(setting: Setting) -> None:
    with pytest.raises(RuntimeError, match="No module named no_such_module"):
        run_command(Command("no_such_module", ()), setting)
