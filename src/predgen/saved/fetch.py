"""Saved models on the hub: brought here as files, then read as any folder."""

from pathlib import Path

from predgen.bases.hub import WANTED, fetched, hub_errors, is_hub_id
from predgen.errors import SavedModelError, some_of
from predgen.saved.exchange import MANIFEST

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")


def folder_of(model: str | Path) -> Path:
    """Return the folder of a saved model: it itself, or where a hub model's files are now.

    Args:
        model: A folder; as text also a hub id, OWNER/NAME, if no such folder is here. Of a repository JSON and safetensors are
            brought, and no pickle.

    Raises:
        SavedModelError: If the hub has no such model, cannot be reached or broke off, or the repository holds none of predgen's.
    """
    if isinstance(model, Path) or not is_hub_id(model):
        return Path(model)
    try:
        folder = fetched(model, WANTED)
    except OSError as error:
        raise SavedModelError(
            f"{model!r} is neither a folder here nor to be had from the hub: {error} Give the folder that `predgen train --out` wrote,"
            " or a hub id that is reachable; if it broke off, the same call brings what is missing."
        ) from error
    if not (folder / MANIFEST).is_file():
        raise SavedModelError(
            f"the hub's {model!r} holds no model of predgen: there is no {MANIFEST}.{_pickles_in(model)} Give the id of a repository that"
            " `push_to_hub` wrote; a base model is named by `--model`."
        )
    return folder


def _pickles_in(model: str) -> str:
    """A sentence on the pickles of a repository; nothing where there are none, or nobody can tell."""
    from huggingface_hub import HfApi

    try:
        names = [name for name in HfApi().list_repo_files(model) if name.endswith(_PICKLES)]
    except hub_errors():
        return ""
    return f" It holds pickles ({some_of(names, 3)}), which are never opened." if names else ""
