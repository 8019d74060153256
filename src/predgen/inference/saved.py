"""The folder of a saved model: written atomically, checked when read, without pickles.

RUN/predgen.json        everything but weights, and the digests of all that follows (`manifest`); written last
RUN/adapter/            PEFT's adapter_config.json and adapter_model.safetensors (methods with an adapter)
RUN/base/               the whole fine-tuned model with its tokenizer (peft "full")
RUN/head.safetensors    weights beside the language model (methods with a head)
RUN/trained-rows.json   digests of the training rows, so that no one measures on them unawares
RUN/README.md           model card
"""

import copy
import hashlib
import json
import platform
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import save as serialise

from predgen import __version__, registries
from predgen.codecs.base import Codec
from predgen.config import RunConfig
from predgen.data.digests import RowDigests
from predgen.data.encode import Encoder
from predgen.errors import ModelError, PredgenError, SavedModelError, UnverifiedWarning
from predgen.files import told_in_words
from predgen.inference.exchange import MANIFEST, TRAINED_ROWS, exchanging
from predgen.inference.manifest import (
    FORMAT_VERSION,
    Manifest,
    codec_data,
    codec_digest,
    parts_of,
    read_manifest,
    task_data,
)
from predgen.inference.model_card import model_card
from predgen.inference.trained import TrainedModel
from predgen.models.base import ModelSetup, PredictionModel
from predgen.models.base_model import (
    BaseModel,
    align_weights,
    code_requests,
    find_base,
    fingerprint,
    load_base,
    runs_own_code,
    without_progress_bars,
)
from predgen.peft_methods.base import load_adapter, save_adapter
from predgen.weights import MOST_TEXT_BYTES, facts_of_file, read_weights

_SEALED = ("adapter", "base", "head.safetensors", TRAINED_ROWS)
_CODEC = f"{MANIFEST}: codec"


def save(trained: TrainedModel, folder: str | Path) -> Path:
    """Write a trained model into a folder; a reader sees the old model, or the new one, never a mixture.

    Raises:
        StorageError: If the folder cannot be written, or the disk is full.
        BusyError: If another process is writing there.
    """
    folder = Path(folder)
    with told_in_words(folder, only_writes=True), exchanging(folder) as staging, without_progress_bars():
        _write_parts(trained, staging)
    return folder


def _write_parts(trained: TrainedModel, folder: Path) -> None:
    """Write all files of a saved model."""
    trains = registries.peft_methods.get(trained.config.peft).trains
    if trains == "adapter":
        save_adapter(trained.model.lm, folder / "adapter", trained.base.name)
    elif trains == "everything":
        trained.model.lm.save_pretrained(str(folder / "base"), safe_serialization=True)
        trained.base.tokenizer.save_pretrained(str(folder / "base"))
    head = {name: value.detach().cpu().contiguous() for name, value in trained.model.head_state().items()}
    if head:
        (folder / "head.safetensors").write_bytes(serialise(head))
    if trained.trained_rows is not None:
        trained.trained_rows.write(folder / TRAINED_ROWS)
    (folder / "README.md").write_text(model_card(trained), encoding="utf-8")
    text = json.dumps(manifest(trained, folder), indent=1, ensure_ascii=False, allow_nan=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def manifest(trained: TrainedModel, folder: Path) -> dict[str, Any]:
    """Everything about a trained model but its weights, as plain JSON data."""
    codec = codec_data(trained.encoder.codec)
    is_full = (folder / "base").is_dir()
    source = folder / "base" if is_full else trained.base.folder
    return {
        "format_version": FORMAT_VERSION,
        "predgen_version": __version__,
        "setup": trained.model.setup.to_dict(),
        "codec": codec,
        "task": task_data(trained.task),
        "config": {name: value for name, value in trained.config.to_dict().items() if name != "trust_remote_code"},
        "base": {
            "name": trained.base.name,
            "fingerprint": fingerprint(source),
            "needs_remote_code": trained.config.trust_remote_code and runs_own_code(trained.base),
        },
        "max_length": trained.encoder.max_length,
        "report": trained.report,
        "versions": {name: version(name) for name in ("torch", "transformers", "peft", "safetensors", "numpy")}
        | {"python": platform.python_version()},
        "digests": {**digests_of(folder), _CODEC: codec_digest(codec)},
    }


def digests_of(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a saved model that is read when it is loaded, by its path in the folder."""
    found = {}
    for name, path in _sealed(folder).items():
        with path.open("rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _sealed(folder: Path) -> dict[str, Path]:
    """The files of a saved model that are read when it is loaded, by their path in the folder."""
    parts = [folder / part for part in _SEALED]
    paths = [path for part in parts for path in (part, *sorted(part.rglob("*"))) if path.is_file()]
    # A name that starts with a dot is such as a file manager leaves behind.
    return {path.relative_to(folder).as_posix(): path for path in paths if not path.name.startswith(".")}


def _require_sizes(folder: Path, names: Iterable[str]) -> None:
    """Refuse files that would take hours to read, before one is: a file of any size costs its author nothing.

    Raises:
        SavedModelError: If weights are larger or smaller than their header says, or another file is larger than any needs.
    """
    for name in names:
        path = folder / name
        if path.suffix == ".safetensors":
            facts_of_file(path)
        elif path.stat().st_size > MOST_TEXT_BYTES:
            raise SavedModelError(
                f"{str(path)!r} has {path.stat().st_size:,} bytes, but no such file needs more than {MOST_TEXT_BYTES:,}. The"
                " saved model is damaged or changed: copy it again."
            )


def _check_digests(folder: Path, stored: Manifest) -> None:
    """Refuse files that are not those that were saved; an older version kept no digests.

    Raises:
        SavedModelError: If one is missing, changed, or was not there.
    """
    if stored.digests is None:
        warnings.warn(
            f"the saved model {str(folder)!r} was written by predgen {stored.predgen_version}, which kept no digests of its"
            " files: damage to them may go unnoticed. Save it again to add them.",
            UnverifiedWarning,
            stacklevel=3,
        )
        return
    there = _sealed(folder)
    known = there.keys() == stored.digests.keys() - {_CODEC}
    _require_sizes(folder, there)
    codec = None if stored.codec is None else asdict(stored.codec)
    # Where a file is missing, or one too many, their names are told; no need to read the others.
    digests = digests_of(folder) if known else {name: stored.digests.get(name, "") for name in there}
    found = {**digests, _CODEC: codec_digest(codec)}
    wrong = [
        f"{name} is {'missing' if name not in found else 'changed' if name in stored.digests else 'not among the files saved'}"
        for name in sorted(stored.digests.keys() | found.keys())
        if stored.digests.get(name) != found.get(name)
    ]
    if wrong:
        raise SavedModelError(
            f"the saved model {str(folder)!r} is damaged: {', '.join(wrong[:5])}, by the digests in {MANIFEST}. Train it"
            " again, or copy it again."
        )


def load(
    folder: str | Path, *, base: str | None = None, merge_adapter: bool = False, trust_remote_code: bool = False
) -> TrainedModel:
    """Read a saved model back; it predicts what it predicted before, bit for bit in float32 on the same machine.

    Args:
        folder: What `predgen train --out` or `TrainedModel.save` wrote.
        base: Where the base model lies now, if no longer where it was.
        merge_adapter: Fold the adapter into the base's weights: faster, and equal up to rounding (about 1e-6). Only for
            weights in float32, since others would round away small updates; they stay as they are.
        trust_remote_code: Let a model that was trained with Python code of its base run that code. Nothing in the folder
            can allow it.

    Raises:
        SavedModelError: If the folder is no complete saved model, is damaged, the base model is another one, or it needs
            code that the caller does not allow.
        ModelError: If the base model is missing.
    """
    folder = Path(folder)
    stored = read_manifest(folder)
    trusts = stored.needs_remote_code and trust_remote_code
    _check_trust(folder, stored, trusts)
    parts = parts_of(stored, folder, trusts_code=trusts)
    _check_digests(folder, stored)
    rows = folder / TRAINED_ROWS
    trained_rows = RowDigests.read(rows) if rows.is_file() else None
    found = _load_base(folder, stored, base, parts.config)
    config, setup, task = parts.config, parts.setup, parts.task
    model = _model(folder, setup, parts.codec, found, config)
    if merge_adapter and config.dtype == "float32" and registries.peft_methods.get(config.peft).trains == "adapter":
        model.lm.merge_adapter()
    try:
        encoder = Encoder(
            found.tokenizer,
            task.prompt,
            parts.codec,
            labels=setup.labels,
            max_length=stored.max_length,
            truncate_field=config.truncate_field,
            truncate=config.truncate,
            scale=setup.scale,
        )
    except ValueError as error:  # a prompt template that cannot be filled
        raise SavedModelError(f"{str(folder / MANIFEST)!r} is damaged: task.prompt, {error}. Copy it again.") from error
    return TrainedModel(model.eval(), found, encoder, task, config, stored.report, trained_rows)


def _check_trust(folder: Path, stored: Manifest, trusts: bool) -> None:
    """Refuse a folder that asks for code which the caller does not allow, and say what asks."""
    asks = [f"{MANIFEST}: base.needs_remote_code"] if stored.needs_remote_code else []
    asks += [f"base/{request}" for request in code_requests(folder / "base")]
    if asks and not trusts:
        repair = "Read that code, then allow it with `trust_remote_code=True` (--trust-remote-code)."
        raise SavedModelError(
            f"the saved model {str(folder)!r} asks for Python code of its base model {stored.base.name!r}"
            f" ({', '.join(asks[:5])}), which was not run: it could do whatever you can."
            f" {repair if stored.needs_remote_code else 'The model was trained without it, so take another copy.'}"
        )


def _load_base(folder: Path, stored: Manifest, base: str | None, config: RunConfig) -> BaseModel:
    """Load the base model and make sure it is the one the run was trained on."""
    is_full = (folder / "base").is_dir()
    name = str(folder / "base") if is_full else base or stored.base.name
    try:
        found = find_base(name, trust_remote_code=config.trust_remote_code)
        # Before the weights are read: another base may be large, or need what it does not get.
        if fingerprint(found) != stored.base.fingerprint:
            raise SavedModelError(
                f"the saved model {str(folder)!r} was trained on another base model than the one now in"
                f" {str(found)!r} (base {stored.base.name!r}): configuration, tokenizer or weights differ."
                " Restore the original base, or give its place as `base`."
            )
        loaded = load_base(name, dtype=config.dtype, trust_remote_code=config.trust_remote_code)
    except ModelError as error:
        raise ModelError(
            f"the saved model {str(folder)!r} needs its base model: {error} Or give its place as `base`."
        ) from error
    return BaseModel(loaded.lm, loaded.tokenizer, stored.base.name, loaded.folder)


def _model(folder: Path, setup: ModelSetup, codec: Codec | None, base: BaseModel, config: RunConfig) -> PredictionModel:
    """Build the model and put its weights in."""
    method = registries.peft_methods.get(config.peft)
    _check_tokens(folder, codec, base)
    if method.trains != "adapter" and (folder / "adapter").exists():
        raise SavedModelError(
            f"{str(folder / MANIFEST)!r}: `peft` is {config.peft!r}, which has no adapter, but the folder holds one, and without"
            " it the model would answer otherwise. The file is damaged: copy the model again."
        )
    if method.trains == "adapter":
        base.lm = load_adapter(method, base.lm, folder / "adapter", config.peft_settings(), seed=config.seed)
    head = folder / "head.safetensors"
    try:
        model: PredictionModel = registries.methods.get(setup.method)(setup, base.lm, codec)
        model.load_head_state(read_weights(head) if head.is_file() else {})
    except PredgenError:
        raise
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise SavedModelError(
            f"the saved model {str(folder)!r} is damaged: {error}. Train it again, or copy it again."
        ) from error
    align_weights(model)
    return model


def _check_tokens(folder: Path, codec: Codec | None, base: BaseModel) -> None:
    """Refuse a codec that writes tokens which the base has not."""
    size = base.lm.get_input_embeddings().num_embeddings
    outside = sorted(token for token in (codec.token_ids if codec else ()) if not 0 <= token < size)
    if outside:
        raise SavedModelError(
            f"{str(folder / MANIFEST)!r}: codec has the token ids {outside[:5]}, but the base model's vocabulary ends at"
            f" {size - 1}. The file is damaged: copy the model again."
        )


def merge(trained: TrainedModel, folder: str | Path) -> Path:
    """Write the fine-tuned language model, adapters merged, as a plain Hugging Face folder without predgen's head.

    It serves wherever causal language models do (the Generator's path); a Predictor's or director's head stays behind.
    """
    folder = Path(folder)
    lm = trained.model.lm
    if hasattr(lm, "merge_and_unload"):
        lm = copy.deepcopy(lm).merge_and_unload(safe_merge=True)
    with without_progress_bars():
        lm.save_pretrained(str(folder), safe_serialization=True)
    trained.base.tokenizer.save_pretrained(str(folder))
    return folder


def push_to_hub(trained: TrainedModel, repo_id: str, *, private: bool = True) -> str:
    """Upload the saved model, with its card, to the Hugging Face hub; returns its address.

    Private unless asked otherwise: prompts, labels and column names travel with the model. Folders of this machine do not:
    of a local base model or data file the name alone is uploaded.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    address = str(api.create_repo(repo_id, private=private, exist_ok=True))
    with tempfile.TemporaryDirectory() as folder:
        save(_without_folders(trained), folder)
        api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Upload predgen model")
    return address


def _without_folders(trained: TrainedModel) -> TrainedModel:
    """The same model, its base and its data named without the folders they lie in."""
    config = trained.config
    named = {name: getattr(config, name) for name in ("data", "data_dir", "validation_data")}
    named = {name: value and Path(value).name for name, value in named.items()}
    name = trained.base.name
    public = Path(name).name if Path(name).is_dir() or name.count("/") > 1 or name[:1] in "./~" else name
    return replace(trained, base=replace(trained.base, name=public), config=replace(config, model=public, **named))
