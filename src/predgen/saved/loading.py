"""Reading the folder of a saved model: checked first, without pickles, and without its code."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from predgen import registries
from predgen.bases.cache import origin_of, place_of_gguf
from predgen.bases.find import find_base
from predgen.codecs.base import Codec
from predgen.config import RunConfig
from predgen.data.digests import RowDigests
from predgen.data.encode import Encoder
from predgen.engine.base_model import BaseModel, align_weights, code_requests, fingerprint, load_base
from predgen.errors import ModelError, PredgenError, SavedModelError
from predgen.models.base import ModelSetup, PredictionModel
from predgen.models.targets import TargetsModel
from predgen.peft_methods.base import load_adapter
from predgen.saved.contents import Contents, TargetContents
from predgen.saved.digests import QUESTIONS, check_digests, check_sealed
from predgen.saved.exchange import MANIFEST, TRAINED_ROWS
from predgen.saved.manifest import (
    Manifest,
    Parts,
    TargetsManifest,
    data_digest,
    parts_of,
    questions_in,
    read_manifest,
    read_manifest_of_targets,
)
from predgen.weights import read_weights


def read_folder(folder: Path, *, base: str | None, merge_adapter: bool, trust_remote_code: bool) -> Contents:
    """Read a model's folder; see `predgen.load`, which has the same arguments and errors."""
    stored = read_manifest(folder)
    trusts = stored.needs_remote_code and trust_remote_code
    _check_trust(folder, stored, trusts)
    parts = parts_of(stored, folder, trusts_code=trusts)
    check_digests(folder, stored)
    rows = folder / TRAINED_ROWS
    trained_rows = RowDigests.read(rows) if rows.is_file() else None
    found = _adapted(folder, _load_base(folder, stored, base, parts.config), parts.config)
    model = _built(folder, parts.setup, parts.codec, found)
    head = folder / "head.safetensors"
    _put_weights(folder, model, read_weights(head) if head.is_file() else {})
    if merge_adapter:
        _merge(model.lm, parts.config)
    return _contents(folder, stored, parts, model.eval(), found, trained_rows)


def read_targets_folder(
    folder: Path, *, base: str | None, merge_adapter: bool, trust_remote_code: bool
) -> TargetContents:
    """Read the folder of a model with several targets; see `predgen.load_targets`, which has the same arguments and errors."""
    stored, data = read_manifest_of_targets(folder)
    trusts = bool(stored.base.needs_remote_code) and trust_remote_code
    _check_trust(folder, stored, trusts)
    config, specs, manifests = questions_in(stored, folder, trusts_code=trusts)
    every = {name: parts_of(one, folder, trusts_code=trusts) for name, one in manifests.items()}
    check_sealed(folder, stored.digests, {QUESTIONS: data_digest({"questions": data["questions"]})})
    rows = folder / TRAINED_ROWS
    trained_rows = RowDigests.read(rows) if rows.is_file() else None
    found = _adapted(folder, _load_base(folder, stored, base, config), config)
    models = {name: _built(folder, parts.setup, parts.codec, found) for name, parts in every.items()}
    model = TargetsModel(found.lm, models)
    head = folder / "head.safetensors"
    _put_weights(folder, model, read_weights(head) if head.is_file() else {})
    if merge_adapter:
        _merge(found.lm, config)
    model.eval()
    questions = {
        name: _contents(folder, manifests[name], parts, models[name], found, trained_rows)
        for name, parts in every.items()
    }
    for name, part in questions.items():
        part.report = stored.report.get("targets", {}).get(name, {})
    return TargetContents(model, found, config, specs, questions, stored.report, trained_rows)


def _contents(
    folder: Path,
    stored: Manifest,
    parts: Parts,
    model: PredictionModel,
    base: BaseModel,
    trained_rows: RowDigests | None,
) -> Contents:
    """A model with what belongs to it."""
    config, setup, task = parts.config, parts.setup, parts.task
    try:
        encoder = Encoder(
            base.tokenizer,
            task.prompt,
            parts.codec,
            labels=setup.labels,
            max_length=stored.max_length,
            truncate_field=config.truncate_field,
            truncate=config.truncate,
            scale=setup.scale,
            frame=stored.frame,
        )
    except ValueError as error:  # a prompt template that cannot be filled
        raise SavedModelError(f"{str(folder / MANIFEST)!r} is damaged: task.prompt, {error}. Copy it again.") from error
    if stored.calibration is not None:
        model.temperature = stored.calibration.temperature
    return Contents(model, base, encoder, task, config, stored.report, trained_rows, stored.calibration)


def _merge(lm: Any, config: RunConfig) -> None:  # noqa: ANN401
    """Fold the adapter into the base's weights, where they take small updates and there is one."""
    is_exact = config.dtype == "float32" and config.quantize is None  # merging rounds to the base's type
    if is_exact and registries.peft_methods.get(config.peft).trains == "adapter":
        lm.merge_adapter()


def _check_trust(folder: Path, stored: Manifest | TargetsManifest, trusts: bool) -> None:
    """Refuse a folder that asks for code which the caller does not allow, and say what asks."""
    needs = stored.needs_remote_code if isinstance(stored, Manifest) else bool(stored.base.needs_remote_code)
    asks = [f"{MANIFEST}: base.needs_remote_code"] if needs else []
    asks += [f"base/{request}" for request in code_requests(folder / "base")]
    if asks and not trusts:
        repair = "Read that code, then allow it with `trust_remote_code=True` (--trust-remote-code)."
        raise SavedModelError(
            f"the saved model {str(folder)!r} asks for Python code of its base model {stored.base.name!r}"
            f" ({', '.join(asks[:5])}), which was not run: it could do whatever you can."
            f" {repair if needs else 'The model was trained without it, so take another copy.'}"
        )


def _load_base(folder: Path, stored: Manifest | TargetsManifest, base: str | None, config: RunConfig) -> BaseModel:
    """Load the base model and make sure it is the one the run was trained on."""
    is_full = (folder / "base").is_dir()
    name = str(folder / "base") if is_full else base or _name_here(stored)
    try:
        found = find_base(name, trust_remote_code=config.trust_remote_code)
        # Before the weights are read: another base may be large, or need what it does not get.
        if fingerprint(found) != stored.base.fingerprint and (is_full or not _is_of_one_file(found, stored)):
            raise SavedModelError(
                f"the saved model {str(folder)!r} was trained on another base model than the one now in"
                f" {str(found)!r} (base {stored.base.name!r}): configuration, tokenizer or weights differ."
                " Restore the original base, or give its place as `base`."
            )
        loaded = load_base(
            name, dtype=config.dtype, quantize=config.quantize, trust_remote_code=config.trust_remote_code
        )
    except ModelError as error:
        raise ModelError(
            f"the saved model {str(folder)!r} needs its base model: {error} Or give its place as `base`."
        ) from error
    return BaseModel(loaded.lm, loaded.tokenizer, stored.base.name, loaded.folder)


def _name_here(stored: Manifest | TargetsManifest) -> str:
    """The base's name; where its GGUF file is gone or lies elsewhere, what was made from it once is taken from the cache."""
    name, origin = stored.base.name, stored.base.origin
    if origin is None or origin.digest is None or name in registries.bases or Path(name).exists():
        return name
    place = place_of_gguf(origin.digest)
    return name if origin_of(place) is None else str(place)


def _is_of_one_file(found: Path, stored: Manifest | TargetsManifest) -> bool:
    """Whether a base was made from the GGUF file of the stored one: another version of transformers writes its folder otherwise."""
    origin, own = origin_of(found), stored.base.origin
    return own is not None and own.digest is not None and origin is not None and origin.digest == own.digest


def _adapted(folder: Path, base: BaseModel, config: RunConfig) -> BaseModel:
    """A base with the adapter that was trained on it."""
    method = registries.peft_methods.get(config.peft)
    if method.trains != "adapter" and (folder / "adapter").exists():
        raise SavedModelError(
            f"{str(folder / MANIFEST)!r}: `peft` is {config.peft!r}, which has no adapter, but the folder holds one, and without"
            " it the model would answer otherwise. The file is damaged: copy the model again."
        )
    if method.trains == "adapter":
        base.lm = load_adapter(method, base.lm, folder / "adapter", config.peft_settings(), seed=config.seed)
    return base


def _built(folder: Path, setup: ModelSetup, codec: Codec | None, base: BaseModel) -> PredictionModel:
    """Build a model, its head as it was before training."""
    _check_tokens(folder, codec, base)
    with _telling_of_damage(folder):
        model: PredictionModel = registries.methods.get(setup.method)(setup, base.lm, codec)
        return model


def _put_weights(folder: Path, model: PredictionModel | TargetsModel, head: dict[str, Tensor]) -> None:
    """Put the weights beside the language model in."""
    with _telling_of_damage(folder):
        model.load_head_state(head)
    align_weights(model)


@contextmanager
def _telling_of_damage(folder: Path) -> Iterator[None]:
    """What a damaged folder leads to is told as that."""
    try:
        yield
    except PredgenError:
        raise
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise SavedModelError(
            f"the saved model {str(folder)!r} is damaged: {error}. Train it again, or copy it again."
        ) from error


def _check_tokens(folder: Path, codec: Codec | None, base: BaseModel) -> None:
    """Refuse a codec that writes tokens which the base has not."""
    size = base.lm.get_input_embeddings().num_embeddings
    outside = sorted(token for token in (codec.token_ids if codec else ()) if not 0 <= token < size)
    if outside:
        raise SavedModelError(
            f"{str(folder / MANIFEST)!r}: codec has the token ids {outside[:5]}, but the base model's vocabulary ends at"
            f" {size - 1}. The file is damaged: copy the model again."
        )
