"""Snapshots of hub models: weights as safetensors, configuration, tokenizer; code only where it was asked for."""

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
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = [*WANTED, *(["*.py"] if with_code else [])]
    try:
        return Path(snapshot_download(name, local_dir=folder, allow_patterns=patterns))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"base model {name!r} is neither a local folder nor to be had from the hub: {reason}"
            " Give an existing folder, a hub id that is reachable, a GGUF file, or a name of `predgen models ls`."
        ) from error
