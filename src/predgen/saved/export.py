"""Giving a model away: as a plain Hugging Face folder, or on the hub."""

import copy
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from predgen.engine.base_model import without_progress_bars
from predgen.errors import ConfigError
from predgen.saved.contents import Contents, TargetContents
from predgen.saved.saving import write_folder

AnyContents = TypeVar("AnyContents", bound=Contents | TargetContents)


def merge(trained: Contents, folder: str | Path) -> Path:
    """Write the fine-tuned language model, adapters merged, as a plain Hugging Face folder without predgen's head.

    It serves wherever causal language models do (the Generator's path); a Predictor's or director's head stays behind.

    Raises:
        ConfigError: If the base is in 4 bits: merged, the adapters would be rounded to 4 bits, too.
    """
    if trained.config.quantize is not None:
        raise ConfigError(
            f"this model's base is kept in 4 bits (`quantize` {trained.config.quantize!r}): merging would round the adapters to 4 bits"
            " as well. Use the model's folder as it is, or train without `quantize`."
        )
    folder = Path(folder)
    lm = trained.model.lm
    if hasattr(lm, "merge_and_unload"):
        lm = copy.deepcopy(lm).merge_and_unload(safe_merge=True)
    with without_progress_bars():
        lm.save_pretrained(str(folder), safe_serialization=True)
    trained.base.tokenizer.save_pretrained(str(folder))
    return folder


def push_to_hub(trained: Contents, repo_id: str, *, private: bool = True) -> str:
    """Upload the saved model, with its card, to the Hugging Face hub; returns its address.

    Private unless asked otherwise: prompts, labels and column names travel with the model. Folders of this machine do not:
    of a local base model or data file the name alone is uploaded.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    address = str(api.create_repo(repo_id, private=private, exist_ok=True))
    with tempfile.TemporaryDirectory() as folder:
        write_folder(without_folders(trained), folder)
        api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Upload predgen model")
    return address


def without_folders(trained: AnyContents) -> AnyContents:
    """Return the same model, its base and its data named without the folders they lie in: it leaves this machine."""
    config = trained.config
    named = {name: getattr(config, name) for name in ("data", "data_dir", "validation_data")}
    named = {name: value and Path(value).name for name, value in named.items()}
    name = trained.base.name
    public = Path(name).name if Path(name).is_dir() or name.count("/") > 1 or name[:1] in "./~" else name
    return replace(trained, base=replace(trained.base, name=public), config=replace(config, model=public, **named))
