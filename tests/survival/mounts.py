"""Real read-only and full disks: mounts that only the calling process sees, in a namespace of its own (Linux).

A child made by `kills.run_child` calls `alone` and then mounts what it likes: with its end everything is gone. Root may do so
mostly, others where the system lets users have namespaces.
"""

import ctypes
import os
from pathlib import Path

import pytest

from kills import run_child

_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000  # linux/sched.h
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4096, 16384, 1 << 18  # linux/mount.h


def _call(name: str, *arguments: object) -> None:
    """Call the C library."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _mount(source: str, target: Path, kind: str, flags: int, options: str = "") -> None:
    _call("mount", source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode())


def alone() -> None:
    """Let nobody else see what this process mounts."""
    user, group = os.getuid(), os.getgid()
    _call("unshare", _NEW_MOUNTS if user == 0 else _NEW_MOUNTS | _NEW_USER)
    if user:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            Path("/proc/self", name).write_text(text)
    _mount("none", Path("/"), "", _RECURSIVE | _PRIVATE)


def read_only(folder: Path) -> None:
    """Let nothing be written in a folder any more, not by root either."""
    _mount(str(folder), folder, "", _BIND)
    _mount("none", folder, "", _BIND | _REMOUNT | _READ_ONLY)


def small_disk(folder: Path, size: int, *, again: bool = False) -> None:
    """Put an empty disk of `size` bytes in the place of a folder, or, again, give the one there another size."""
    _mount("tmpfs", folder, "tmpfs", _REMOUNT if again else 0, f"size={size}")


def require_mounts(folder: Path) -> None:
    """Skip a test where the system permits no mounts."""

    def tried() -> None:
        alone()
        small_disk(folder, 1 << 20)
        read_only(folder)

    if refusal := run_child(tried, folder).error:
        pytest.skip(f"no mounts here: {refusal}")
