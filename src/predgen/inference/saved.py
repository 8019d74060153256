"""The folder of a saved model: written atomically, checked when read, without pickles.

RUN/predgen.json        format, setup, codec, task, config, base model's fingerprint, report, versions; written last
RUN/adapter/            PEFT's adapter_config.json and adapter_model.safetensors (methods with an adapter)
RUN/base/               the whole fine-tuned model with its tokenizer (peft "full")
RUN/head.safetensors    weights beside the language model (methods with a head)
RUN/trained-rows.json   digests of the training rows, so that no one measures on them unawares
RUN/README.md           model card
"""

import copy
import json
import os
import platform
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise

from predgen import __version__, registries
from predgen.codecs.base import Codec
from predgen.config import config_from, peft_setting_owners
from predgen.core import FileSpec, HubSpec, TaskSpec
from predgen.data.digests import RowDigests
from predgen.data.encode import Encoder
from predgen.errors import ModelError, PredgenError, SavedModelError
from predgen.inference.model_card import model_card
from predgen.inference.trained import TrainedModel
from predgen.models.base import ModelSetup, PredictionModel
from predgen.models.base_model import (
    BaseModel,
    align_weights,
    code_requests,
    fingerprint,
    load_base,
    runs_own_code,
    without_progress_bars,
)
from predgen.peft_methods.base import load_adapter

FORMAT_VERSION = 1
MANIFEST = "predgen.json"
TRAINED_ROWS = "trained-rows.json"
_IN_MEMORY = "(in memory)"  # what the first version called the file of rows in memory
_PARTS = ("adapter", "base", "head.safetensors", TRAINED_ROWS, "README.md")


def save(trained: TrainedModel, folder: str | Path) -> Path:
    """Write a trained model into a folder; a reader sees the old model, or the new one, never a mixture.

    Raises:
        SavedModelError: If the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".saving-", dir=folder))
        try:
            with without_progress_bars():
                _write_parts(trained, staging)
            _exchange(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise SavedModelError(
            f"cannot write the model to {str(folder)!r}: {error}. Choose a folder you may write to."
        ) from error
    return folder


def _exchange(new: Path, folder: Path) -> None:
    """Put new files in the place of the old ones, which come back if that fails. The manifest goes first, comes last."""
    old = new / "old"
    old.mkdir()
    before = [name for name in (MANIFEST, *_PARTS) if (folder / name).exists()]
    try:
        for name in before:
            os.replace(folder / name, old / name)
        for name in (*_PARTS, MANIFEST):
            if (new / name).exists():
                os.replace(new / name, folder / name)
    except BaseException:
        for name in (*_PARTS, MANIFEST):
            if (old / name).exists() or name not in before:
                _remove(folder / name)
            if (old / name).exists():
                os.replace(old / name, folder / name)
        raise


def _remove(path: Path) -> None:
    """Delete a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write_parts(trained: TrainedModel, folder: Path) -> None:
    """Write all files of a saved model."""
    trains = registries.peft_methods.get(trained.config.peft).trains
    if trains == "adapter":
        with warnings.catch_warnings():  # PEFT takes layers that AdaLoRA pruned to rank 0 for unfinished shards
            warnings.filterwarnings("ignore", ".*LoRA tensor.s. have invalid shape")
            trained.model.lm.save_pretrained(str(folder / "adapter"), safe_serialization=True)
        (folder / "adapter" / "README.md").unlink(missing_ok=True)  # PEFT's empty card; ours lies one level up
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
    codec = trained.encoder.codec
    is_full = (folder / "base").is_dir()
    source = folder / "base" if is_full else trained.base.folder
    return {
        "format_version": FORMAT_VERSION,
        "predgen_version": __version__,
        "setup": trained.model.setup.to_dict(),
        "codec": {"name": codec.name, "data": codec.to_dict()} if codec else None,
        "task": _task_data(trained.task),
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
    }


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
    data = read_manifest(folder)
    try:
        trusts = _needs_remote_code(data) and trust_remote_code
        config = config_from(_settings(data), {"trust_remote_code": trusts})
        setup = ModelSetup(**{**data["setup"], "labels": tuple(data["setup"]["labels"])})
        task = _task(data["task"])
        codec = _codec(data["codec"])
        max_length, report = data["max_length"], data["report"]
        found = _load_base(folder, data, base, trusts)
    except (KeyError, TypeError) as error:
        raise SavedModelError(f"{str(folder / MANIFEST)!r} is incomplete or damaged: {error!r}.") from error
    model = _model(folder, setup, codec, found, config.peft)
    if merge_adapter and config.dtype == "float32" and registries.peft_methods.get(config.peft).trains == "adapter":
        model.lm.merge_adapter()
    encoder = Encoder(
        found.tokenizer,
        task.prompt,
        codec,
        labels=setup.labels,
        max_length=max_length,
        truncate_field=config.truncate_field,
    )
    rows = folder / TRAINED_ROWS
    trained_rows = RowDigests.read(rows) if rows.is_file() else None
    return TrainedModel(model.eval(), found, encoder, task, config, report, trained_rows)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check `predgen.json`.

    Raises:
        SavedModelError: If it is missing, damaged or of a newer format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise SavedModelError(
            f"{str(folder)!r} holds no saved model: there is no {MANIFEST}. Give the folder that `predgen train --out`"
            " wrote; an unfinished run can be resumed with `predgen train --resume`."
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        found = data["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise SavedModelError(f"{str(path)!r} is damaged: {error}.") from error
    if found != FORMAT_VERSION:
        raise SavedModelError(
            f"{str(path)!r} has format version {found}, but predgen {__version__} reads version {FORMAT_VERSION}."
            " Use the predgen version that wrote it."
        )
    return dict(data)


def _settings(data: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a saved model.

    A record holds the PEFT method's settings in full; those at the default count as not given again. The first version
    stored rank and alpha for PEFT methods that have neither, and a word in place of a file for rows in memory.
    """
    config = data["config"]
    own = registries.peft_methods.facts(config["peft"]).get("settings", {})
    not_given = [name for name in peft_setting_owners() if name not in own or config.get(name) == own[name]]
    if config.get("data") == _IN_MEMORY:
        not_given.append("data")
    return {**config, **dict.fromkeys(not_given)}


def _needs_remote_code(data: Mapping[str, Any]) -> bool:
    """Whether a model was trained with Python code of its base; the first version stored the permission instead."""
    return bool(data["base"].get("needs_remote_code", data["config"].get("trust_remote_code", False)))


def _check_trust(folder: Path, data: Mapping[str, Any], trusts: bool) -> None:
    """Refuse a folder that asks for code which the caller does not allow, and say what asks."""
    needs = _needs_remote_code(data)
    asks = [f"{MANIFEST}: base.needs_remote_code"] if needs else []
    asks += [f"base/{request}" for request in code_requests(folder / "base")]
    if asks and not trusts:
        repair = "Read that code, then allow it with `trust_remote_code=True` (--trust-remote-code)."
        raise SavedModelError(
            f"the saved model {str(folder)!r} asks for Python code of its base model {data['base']['name']!r}"
            f" ({', '.join(asks[:5])}), which was not run: it could do whatever you can."
            f" {repair if needs else 'The model was trained without it, so take another copy.'}"
        )


def _load_base(folder: Path, data: Mapping[str, Any], base: str | None, trusts: bool) -> BaseModel:
    """Load the base model and make sure it is the one the run was trained on."""
    _check_trust(folder, data, trusts)
    is_full = (folder / "base").is_dir()
    name = str(folder / "base") if is_full else base or data["base"]["name"]
    try:
        found = load_base(name, dtype=data["config"]["dtype"], trust_remote_code=trusts)
    except ModelError as error:
        raise ModelError(
            f"the saved model {str(folder)!r} needs its base model: {error} Or give its place as `base`."
        ) from error
    if fingerprint(found.folder) != data["base"]["fingerprint"]:
        raise SavedModelError(
            f"the saved model {str(folder)!r} was trained on another base model than the one now in"
            f" {str(found.folder)!r} (base {data['base']['name']!r}): configuration, tokenizer or weights differ."
            " Restore the original base, or give its place as `base`."
        )
    return BaseModel(found.lm, found.tokenizer, data["base"]["name"], found.folder)


def _model(folder: Path, setup: ModelSetup, codec: Codec | None, base: BaseModel, peft: str) -> PredictionModel:
    """Build the model and put its weights in."""
    method = registries.peft_methods.get(peft)
    try:
        if method.trains == "adapter":
            base.lm = load_adapter(method, base.lm, str(folder / "adapter"))
        model: PredictionModel = registries.methods.get(setup.method)(setup, base.lm, codec)
        head = folder / "head.safetensors"
        model.load_head_state(load_file(str(head)) if head.is_file() else {})
    except PredgenError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise SavedModelError(
            f"the saved model {str(folder)!r} is damaged: {error}. Train it again, or copy it again."
        ) from error
    align_weights(model)
    return model


def _task_data(task: TaskSpec) -> dict[str, Any]:
    """A task as JSON data. Its extractor is code, so it is not named, but the registered task that has it.

    Raises:
        SavedModelError: If another task is registered under its name.
    """
    name = None if task.extract is None else task.name
    if name is not None and name in registries.tasks and registries.tasks.get(name).extract != task.extract:
        raise SavedModelError(
            f"task {name!r} has the extractor {task.extract!r}, but the task registered under that name has another one."
            " Give the task a name of its own, and register it."
        )
    return {**asdict(task), "extract": name}


def _extract(data: Mapping[str, Any]) -> str | None:
    """The extractor of a registered task, by that task's name; nothing else in a manifest leads to code.

    The first version stored the extractor's own name, which is looked at only to see that the task still has it.
    """
    stored = data["extract"]
    if stored is None:
        return None
    name = data["name"] if ":" in stored else stored
    known: str | None = registries.tasks.get(name).extract if name in registries.tasks else None
    if known is None or (":" in stored and stored != known):
        raise SavedModelError(
            f"{MANIFEST}: task.extract is {stored!r}, but rows are only changed by the extractor of a registered task, and"
            f" {name!r} is none that has this one. Register the task before its models are loaded, see docs/extending.md."
        )
    return known


def _task(data: Mapping[str, Any]) -> TaskSpec:
    """Rebuild a task from JSON data."""
    files = {
        split: tuple(
            FileSpec(**{**f, "paths": tuple(f["paths"]), "header": tuple(f["header"]) if f["header"] else None})
            for f in specs
        )
        for split, specs in data["files"].items()
    }
    changes = {
        "files": files,
        "hub": HubSpec(**data["hub"]) if data["hub"] else None,
        "scale": tuple(data["scale"]) if data["scale"] else None,
        "metrics": tuple(data["metrics"]),
        "group": tuple(data["group"]),
        "options": tuple(data.get("options", ())),
        "extract": _extract(data),
    }
    return TaskSpec(**{**data, **changes})


def _codec(data: Mapping[str, Any] | None) -> Codec | None:
    """Rebuild a codec from JSON data."""
    if data is None:
        return None
    codec: Codec = registries.codecs.get(data["name"]).from_dict(data["data"])
    return codec


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

    Private unless asked otherwise: prompts, labels and column names travel with the model.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    address = str(api.create_repo(repo_id, private=private, exist_ok=True))
    with tempfile.TemporaryDirectory() as folder:
        save(trained, folder)
        api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Upload predgen model")
    return address
