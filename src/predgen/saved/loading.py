"""Reading the folder of a saved model: checked first, without pickles, and without its code."""

from pathlib import Path

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
from predgen.peft_methods.base import load_adapter
from predgen.saved.contents import Contents
from predgen.saved.digests import check_digests
from predgen.saved.exchange import MANIFEST, TRAINED_ROWS
from predgen.saved.manifest import Manifest, parts_of, read_manifest
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
    found = _load_base(folder, stored, base, parts.config)
    config, setup, task = parts.config, parts.setup, parts.task
    model = _model(folder, setup, parts.codec, found, config)
    is_exact = config.dtype == "float32" and config.quantize is None  # merging rounds to the base's type
    if merge_adapter and is_exact and registries.peft_methods.get(config.peft).trains == "adapter":
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
            frame=stored.frame,
        )
    except ValueError as error:  # a prompt template that cannot be filled
        raise SavedModelError(f"{str(folder / MANIFEST)!r} is damaged: task.prompt, {error}. Copy it again.") from error
    if stored.calibration is not None:
        model.temperature = stored.calibration.temperature
    return Contents(model.eval(), found, encoder, task, config, stored.report, trained_rows, stored.calibration)


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


def _name_here(stored: Manifest) -> str:
    """The base's name; where its GGUF file is gone or lies elsewhere, what was made from it once is taken from the cache."""
    name, origin = stored.base.name, stored.base.origin
    if origin is None or origin.digest is None or name in registries.bases or Path(name).exists():
        return name
    place = place_of_gguf(origin.digest)
    return name if origin_of(place) is None else str(place)


def _is_of_one_file(found: Path, stored: Manifest) -> bool:
    """Whether a base was made from the GGUF file of the stored one: another version of transformers writes its folder otherwise."""
    origin, own = origin_of(found), stored.base.origin
    return own is not None and own.digest is not None and origin is not None and origin.digest == own.digest


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
