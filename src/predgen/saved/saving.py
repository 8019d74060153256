"""Writing a model into a folder: atomically, without pickles.

RUN/predgen.json        everything but weights, and the digests of all that follows (`manifest`); written last
RUN/adapter/            PEFT's adapter_config.json and adapter_model.safetensors (methods with an adapter)
RUN/base/               the whole fine-tuned model with its tokenizer (peft "full")
RUN/head.safetensors    weights beside the language model (methods with a head); of several targets QUESTION/NAME
RUN/trained-rows.json   digests of the training rows, so that no one measures on them unawares
RUN/README.md           model card
"""

import json
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors.torch import save as serialise

from predgen import __version__, registries
from predgen.bases.cache import origin_of
from predgen.engine.base_model import fingerprint, runs_own_code, without_progress_bars
from predgen.errors import SavedModelError
from predgen.files import locked, told_in_words, write_text
from predgen.peft_methods.base import save_adapter
from predgen.saved.contents import Contents, TargetContents
from predgen.saved.digests import CALIBRATION, QUESTIONS, digests_inside, digests_of
from predgen.saved.exchange import CARD, MANIFEST, TRAINED_ROWS, exchanging
from predgen.saved.manifest import (
    MANIFEST_VERSION,
    TARGETS_VERSION,
    calibration_data,
    codec_data,
    codec_digest,
    data_digest,
    read_manifest,
    read_manifest_of_targets,
    task_data,
)
from predgen.saved.model_card import card_of_targets, model_card


def write_folder(trained: Contents | TargetContents, folder: str | Path) -> Path:
    """Write a trained model into a folder; a reader sees the old model, or the new one, never a mixture.

    Raises:
        StorageError: If the folder cannot be written, or the disk is full.
        BusyError: If another process is writing there.
    """
    folder = Path(folder)
    with told_in_words(folder, only_writes=True), exchanging(folder) as staging, without_progress_bars():
        _write_parts(trained, staging)
    return folder


def _write_parts(trained: Contents | TargetContents, folder: Path) -> None:
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
    if isinstance(trained, TargetContents):
        card, data = card_of_targets(trained), manifest_of_targets(trained, folder)
    else:
        card, data = model_card(trained), manifest(trained, folder)
    (folder / CARD).write_text(card, encoding="utf-8")
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def manifest(trained: Contents, folder: Path) -> dict[str, Any]:
    """Everything about a trained model but its weights, as plain JSON data."""
    codec, calibration = codec_data(trained.encoder.codec), calibration_data(trained.calibration)
    return {
        "format_version": MANIFEST_VERSION,
        "predgen_version": __version__,
        "setup": trained.model.setup.to_dict(),
        "codec": codec,
        "task": task_data(trained.task),
        **_origin(trained, folder),
        "max_length": trained.encoder.max_length,
        "frame": trained.encoder.frame and asdict(trained.encoder.frame),
        "calibration": calibration,
        "report": trained.report,
        "versions": _versions(),
        "digests": {**digests_of(folder), **digests_inside(codec, calibration)},
    }


def manifest_of_targets(trained: TargetContents, folder: Path) -> dict[str, Any]:
    """The same of a model with several targets: what belongs to a question stands in `questions`, in the order of their names."""
    of_question = {name: (spec, label) for spec in trained.specs for name, label in spec.questions()}
    questions = [
        {
            "target": of_question[name][0].to_dict(),
            "label": of_question[name][1],
            "setup": part.model.setup.to_dict(),
            "codec": codec_data(part.encoder.codec),
            "task": task_data(part.task),
            "calibration": calibration_data(part.calibration),
        }
        for name, part in trained.parts.items()
    ]
    encoder = next(iter(trained.parts.values())).encoder
    return {
        "format_version": TARGETS_VERSION,
        "predgen_version": __version__,
        "targets": [spec.name for spec in trained.specs],
        "questions": questions,
        **_origin(trained, folder),
        "max_length": encoder.max_length,
        "frame": encoder.frame and asdict(encoder.frame),
        "report": trained.report,
        "versions": _versions(),
        "digests": {**digests_of(folder), QUESTIONS: data_digest({"questions": questions})},
    }


def _origin(trained: Contents | TargetContents, folder: Path) -> dict[str, Any]:
    """Settings and base."""
    source = folder / "base" if (folder / "base").is_dir() else trained.base.folder
    origin = origin_of(trained.base.folder)
    return {
        "config": {name: value for name, value in trained.config.to_dict().items() if name != "trust_remote_code"},
        "base": {
            "name": trained.base.name,
            "fingerprint": fingerprint(source),
            "needs_remote_code": trained.config.trust_remote_code and runs_own_code(trained.base),
            "origin": origin and asdict(origin),
        },
    }


def _versions() -> dict[str, str]:
    """Versions of what computes."""
    names = ("torch", "transformers", "peft", "safetensors", "numpy")
    return {name: version(name) for name in names} | {"python": platform.python_version()}


def write_calibration(trained: Contents, folder: Path) -> None:
    """Put a model's calibration in the place of the one in its folder, in one step; weights are not touched.

    Raises:
        SavedModelError: If another model lies there now.
        StorageError: If the folder cannot be written.
        BusyError: If another process is writing there.
    """
    calibration = calibration_data(trained.calibration)
    with told_in_words(folder), locked(folder):
        stored, setup = read_manifest(folder), trained.model.setup
        own = (setup.labels, setup.target_mean, setup.target_std, codec_digest(codec_data(trained.encoder.codec)))
        there = (stored.setup.labels, stored.setup.target_mean, stored.setup.target_std)
        if (*there, codec_digest(None if stored.codec is None else asdict(stored.codec))) != own:
            raise SavedModelError(
                f"the model in {str(folder)!r} was exchanged while it was being calibrated. Calibrate the one that is there now."
            )
        data: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        data["calibration"] = calibration
        data["report"]["calibration"] = trained.report["calibration"]
        if data.get("digests") is not None:
            data["digests"][CALIBRATION] = data_digest(calibration)
        write_text(
            folder / MANIFEST, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=True) + "\n", is_held=True
        )


def write_calibrations(trained: TargetContents, folder: Path) -> None:
    """The same for a model with several targets: the calibration of each question.

    Raises:
        SavedModelError: If another model lies there now.
        StorageError: See `write_calibration`.
        BusyError: See `write_calibration`.
    """
    with told_in_words(folder), locked(folder):
        _, data = read_manifest_of_targets(folder)
        mine = [(part.model.setup.to_dict(), codec_data(part.encoder.codec)) for part in trained.parts.values()]
        there = [(question["setup"], question["codec"]) for question in data["questions"]]
        if data_digest({"of": mine}) != data_digest({"of": there}):
            raise SavedModelError(
                f"the model in {str(folder)!r} was exchanged while it was being calibrated. Calibrate the one that is there now."
            )
        for question, (name, part) in zip(data["questions"], trained.parts.items(), strict=True):
            question["calibration"] = calibration_data(part.calibration)
            if "calibration" in part.report:
                data["report"].setdefault("targets", {}).setdefault(name, {})["calibration"] = part.report[
                    "calibration"
                ]
        data["digests"][QUESTIONS] = data_digest({"questions": data["questions"]})
        text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=True)
        write_text(folder / MANIFEST, text + "\n", is_held=True)
