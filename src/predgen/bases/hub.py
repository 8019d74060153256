"""Snapshots of hub models: weights as safetensors, configuration, tokenizer; code only where it was asked for."""

from collections.abc import Sequence
from pathlib import Path

from predgen.errors import ModelError

WANTED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
"""Files that a model consists of."""


def is_in_hub_cache(name: str) -> bool:
    """Whether a hub model's configuration is in the hub's own cache: it has been used before."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError:
        return False


def is_hub_id(name: str) -> bool:
    """Whether a name has the form OWNER/NAME of the hub, and is that of nothing on this machine."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but not in its list

    if name.count("/") != 1 or name[:1] in "./~" or Path(name).exists():
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def hub_snapshot(name: str, *, with_code: bool = False, folder: Path | None = None) -> Path:
    """Bring a hub model's files here, or find them in the hub's own cache.

    Args:
        name: Hub id.
        with_code: Bring its Python files, too.
        folder: Where to write them; None: the hub's cache.

    Returns:
        The folder with the files.

    Raises:
        ModelError: If there is no such model, or the hub cannot be reached.
    """
    try:
        return fetched(name, [*WANTED, *(["*.py"] if with_code else [])], folder)
    except OSError as error:
        raise ModelError(
            f"base model {name!r} is neither a local folder nor to be had from the hub: {error}"
            " Give an existing folder, a hub id that is reachable, a GGUF file, or a name of `predgen models ls`."
        ) from error


def fetched(name: str, patterns: Sequence[str], folder: Path | None = None) -> Path:
    """Bring a hub repository's files of some names here, or find them in the hub's own cache.

    A transfer that breaks is gone on with where it stopped; where the hub breaks off for good, files that came whole are kept.

    Args:
        name: Hub id.
        patterns: Names of files.
        folder: Where to write them; None: the hub's cache.

    Raises:
        OSError: With the reason in one line, if there is no such repository, the hub cannot be reached, or broke off.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, local_dir=folder, allow_patterns=list(patterns)))
    except hub_errors() as error:
        raise OSError(str(error).strip().splitlines()[0]) from error


def hub_errors() -> tuple[type[Exception], ...]:
    """Return the classes of what is raised where the hub refuses or cannot be reached: the system's, and those of its HTTP client."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    return (OSError, HFValidationError, *(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)))
