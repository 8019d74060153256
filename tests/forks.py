"""Python processes that start as forks of this one: what they would import for seconds is there already.

While a test uses `forked_python`, whatever starts Python by `subprocess` (`[sys.executable, "-m", MODULE, ...]`, `-c CODE` or a
script) gets a fork that runs the module, code or script as its main program: with its own pipes, environment, directory,
process id, signals and exit status, and with nothing open that an ordinary child would not have. It keeps what this process has
imported and registered, so a test of just that (what is imported when, what a new process knows) takes an ordinary child.
"""

import gc
import os
import runpy
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import type_checks


class ForkedPython(subprocess.Popen[Any]):
    """`subprocess.Popen`, which forks where it is asked for this Python and is itself otherwise."""

    def _execute_child(self, args: Any, *rest: Any) -> None:
        names = "executable preexec_fn close_fds pass_fds cwd env startupinfo creationflags shell p2cread p2cwrite"
        names += " c2pread c2pwrite errread errwrite restore_signals gid gids uid umask start_new_session process_group"
        given = dict(zip(names.split(), rest, strict=True))  # subprocess's own order, that of Python 3.11 to 3.14
        if isinstance(args, str | bytes | os.PathLike) or args[0] != sys.executable or given["shell"]:
            super()._execute_child(args, *rest)  # type: ignore[misc]
            return
        words = [os.fsdecode(word) for word in args[1:]]
        self.pid = os.fork()
        if self.pid == 0:
            _be_python(words, given)
        self._child_created = True
        for theirs, ours in (("p2cread", "p2cwrite"), ("c2pwrite", "c2pread"), ("errwrite", "errread")):
            if given[ours] != -1:  # a pipe, not a file of the caller's
                os.close(given[theirs])
        self._closed_child_pipe_fds = True


def _be_python(words: Sequence[str], given: Mapping[str, Any]) -> None:
    """Become the child: run a program and end."""
    status = 1
    try:
        gc.freeze()
        _take_places(given)
        status = _run(words)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:  # the reader has gone
                status = status or 120
        if status == -signal.SIGINT:  # as Python ends where nothing catches Ctrl-C
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        os._exit(status)


def _take_places(given: Mapping[str, Any]) -> None:
    """Streams, open files, signals, environment and directory of a new process."""
    if given["start_new_session"]:
        os.setsid()
    for number, source in enumerate((given["p2cread"], given["c2pwrite"], given["errwrite"])):
        if source != -1:
            os.dup2(source, number)
    kept = {0, 1, 2, *given["pass_fds"]}
    for name in os.listdir("/dev/fd"):
        if int(name) not in kept and not _outlives_exec(int(name)):
            os.close(int(name))
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if given["preexec_fn"] is not None:
        given["preexec_fn"]()
    if given["env"] is not None:
        os.environ.clear()
        os.environ.update(given["env"])
    if given["cwd"] is not None:
        os.chdir(given["cwd"])
    sys.stdin = open(0, encoding="utf-8", closefd=False)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)


def _outlives_exec(descriptor: int) -> bool:
    """Whether an ordinary child would have it, too; True also for what is closed already."""
    try:
        return os.get_inheritable(descriptor)
    except OSError:
        return True


def _run(words: Sequence[str]) -> int:
    """Run a module, code or a script as the main program; returns its exit status."""
    warnings.resetwarnings()
    warnings.simplefilter("ignore")
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, type_checks.Finder)]
    try:
        if words[0] == "-m":
            sys.path.insert(0, os.getcwd())
            if not hasattr(sys.modules.get(words[1]), "__path__"):
                sys.modules.pop(words[1], None)  # found anew, without the checks of tests, unless it is a package
            sys.argv[:] = list(words[1:])
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        elif words[0] == "-c":
            sys.path.insert(0, "")
            sys.argv[:] = ["-c", *words[2:]]
            exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.path.insert(0, os.path.dirname(words[0]))
            sys.argv[:] = list(words)
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except KeyboardInterrupt:
        traceback.print_exc()
        return -signal.SIGINT
    return 0
