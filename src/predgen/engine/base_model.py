"""Find, check and load the base language model. Safetensors only; no code of the model runs unless asked for."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.utils import logging

from predgen.bases.find import find_base
from predgen.engine.abilities import abilities_of
from predgen.errors import ConfigError, ModelError
from predgen.weights import MOST_TEXT_BYTES, require_finite

_MIB = 1 << 20
_MOST_HEADER = 100_000_000  # bytes; safetensors itself reads no larger one


@dataclass(slots=True)
class BaseModel:
    """A loaded base.

    Attributes:
        lm: The causal language model, in eval state.
        tokenizer: Its fast tokenizer.
        name: What the user asked for; see `bases.find.find_base`.
        folder: Where its files are.
    """

    lm: Any
    tokenizer: Any
    name: str
    folder: Path


def load_base(
    name: str, *, dtype: str = "float32", quantize: str | None = None, trust_remote_code: bool = False
) -> BaseModel:
    """Load a base model and its tokenizer.

    Args:
        name: See `bases.find.find_base`.
        dtype: Type of the weights in memory, "float32" or "bfloat16".
        quantize: "nf4" for linear layers in 4 bits, but the output layer; they are multiplied in `dtype`.
        trust_remote_code: Let the model's own Python code run.

    Raises:
        ModelError: If it is missing, damaged, has no fast tokenizer, or is not a causal language model.
    """
    if quantize is not None:
        _require_bitsandbytes()
    folder = find_base(name, trust_remote_code=trust_remote_code)
    _check_weights(folder, name)
    tokenizer = load_tokenizer(name, trust_remote_code=trust_remote_code)
    try:
        with without_progress_bars():
            config = without_dropout(AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code))
            _check_attention(config)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=getattr(torch, dtype),
                quantization_config=_quantisation(quantize, dtype),
                trust_remote_code=trust_remote_code,
                use_safetensors=True,
                output_loading_info=True,
            )
    except Exception as error:  # a damaged file makes transformers raise anything, IndexError and ImportError among it
        raise ModelError(
            f"base model {name!r} in {str(folder)!r} cannot be loaded: {error}. {_hint(folder, trust_remote_code)}It has to"
            " be a causal language model with safetensors weights."
        ) from error
    lm, loading = loaded
    _check_complete(loading, f"base model {name!r} in {str(folder)!r}")
    require_finite(lm.named_parameters(), f"base model {name!r} in {str(folder)!r}", error=ModelError)
    align_weights(lm)
    _check_vocabulary(lm, tokenizer, name)
    abilities_of(lm.eval())
    base = BaseModel(lm, tokenizer, name, folder)
    if not runs_own_code(base):
        _forget_code(base)
    return base


def _require_bitsandbytes() -> None:
    """Raise where 4 bits cannot be had.

    Raises:
        ConfigError: If bitsandbytes is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            "`quantize` needs the package 'bitsandbytes', and it is not installed: pip install 'predgen[quantize]'; or leave it"
            " out."
        )


def _quantisation(quantize: str | None, dtype: str) -> Any:  # noqa: ANN401
    """Transformers' words for it; None for weights as they are. Source: Dettmers et al. (2023), "QLoRA", arXiv:2305.14314."""
    if quantize is None:
        return None
    made: Any = BitsAndBytesConfig  # untyped
    return made(load_in_4bit=True, bnb_4bit_quant_type=quantize, bnb_4bit_compute_dtype=getattr(torch, dtype))


def _check_attention(config: Any) -> None:  # noqa: ANN401
    """Refuse a configuration that names compiled code to fetch from the hub: an attention or experts "kernel"."""
    for part in {id(c): c for c in (config, config.get_text_config())}.values():
        for field in ("_attn_implementation", "_experts_implementation"):
            wanted = getattr(part, field, None)
            if wanted is not None and not str(wanted).replace("_", "").isalnum():
                raise ModelError(
                    f"its config.json asks for the code {wanted!r} ({field[1:]}), which is not run; remove that key, and"
                    " the built-in code is taken."
                )


def _check_complete(loading: Mapping[str, Any], what: str) -> None:
    """Refuse weights that are not those of the configuration: transformers makes up what is missing, drops what is not used.

    Tensors that are tied to others, and those that a known architecture never uses, do not count.

    Raises:
        ModelError: If some are missing or too many.
    """
    for key, said in (("missing_keys", "lack"), ("unexpected_keys", "have, but the model has not,")):
        names = sorted(map(str, loading.get(key) or ()))
        if names:
            raise ModelError(
                f"{what}: its weights {said} {len(names)} tensors ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''}),"
                " by its config.json. They would be random or left out: take weights and config.json of one model."
            )


def _check_vocabulary(lm: Any, tokenizer: Any, name: str) -> None:  # noqa: ANN401
    """Refuse a tokenizer that can give ids for which the model has no embedding.

    Special tokens are spelled like any other text where they stand in one, so that of them only the beginning, the stop
    and the unknown token are ever given: a padding token beyond the embedding does no harm.
    """
    rows = lm.get_input_embeddings().weight.shape[0]
    special = {*tokenizer.all_special_ids} | {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    special -= {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}
    beyond = {token: i for token, i in tokenizer.get_vocab().items() if i >= rows and i not in special}
    if beyond:
        needed = max(beyond.values()) + 1
        raise ModelError(
            f"base model {name!r}: its tokenizer needs {needed} embeddings, but the model has {rows}; without one are"
            f" {', '.join(map(repr, sorted(beyond)[:5]))}. Call `model.resize_token_embeddings({needed})` and save the"
            " model again, or take the tokens that were added out of the tokenizer."
        )


def align_weights(model: torch.nn.Module) -> None:
    """Move weights that do not start at a multiple of 64 bytes to memory that does, as torch allocates it.

    Weights mapped from a safetensors file start anywhere; matrix products then take other paths on a CPU and round
    differently, so that a loaded model would not predict bit for bit what it predicted when it was saved.
    """
    for parameter in model.parameters():
        if parameter.data_ptr() % 64:
            parameter.data = parameter.data.clone()


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep transformers' bars ("Loading weights") from breaking into our own progress display."""
    shows_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shows_bars:
            logging.enable_progress_bar()


def without_dropout(config: Any) -> Any:  # noqa: ANN401
    """Set all dropout rates of a model configuration to 0, in place (docs/methods.md, scheduled sampling: sampling and training agree then).

    For the same reason RWKV's rescaling is switched off, which changes nothing but the size of its states: it divides
    weights in place whenever the model goes from train to eval state, and adapters on them would not follow.
    """
    for part in {id(c): c for c in (config, config.get_text_config())}.values():
        if hasattr(part, "rescale_every"):
            part.rescale_every = 0
        for name, value in vars(part).items():
            if ("dropout" in name or name.endswith("pdrop")) and isinstance(value, float):
                setattr(part, name, 0.0)
    return config


def load_tokenizer(name: str, *, trust_remote_code: bool = False) -> Any:  # noqa: ANN401
    """Load a base model's fast tokenizer alone.

    Raises:
        ModelError: If there is none.
    """
    folder = find_base(name, trust_remote_code=trust_remote_code)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # as above
        hint = _hint(folder, trust_remote_code)
        raise ModelError(f"the tokenizer of {name!r} in {str(folder)!r} cannot be loaded: {error}. {hint}") from error
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(f"the tokenizer of {name!r} has no fast (tokenizer.json) version, which predgen needs.")
    return tokenizer


def code_requests(folder: Path) -> list[str]:
    """What in a model's folder asks for Python code of its own, as "file: key" or a file's name.

    Transformers runs such code only when told to trust it; a model class that it knows itself takes precedence otherwise.
    """
    found = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.py"))]
    for path in sorted(folder.glob("*config*.json")):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            continue  # not JSON: loading says so
        if isinstance(data, dict):
            found += [f"{path.name}: {key}" for key in ("auto_map", "custom_generate") if key in data]
    return found


def runs_own_code(base: BaseModel) -> bool:
    """Whether a loaded base consists of Python code that came with it."""
    parts = (base.lm, base.lm.config, base.tokenizer)
    return any(c.__module__.startswith("transformers_modules") for part in parts for c in type(part).__mro__)


def _forget_code(base: BaseModel) -> None:
    """Drop the names of code that was not run, so that no copy of the model asks for it."""
    for config in {id(c): c for c in (base.lm.config, base.lm.config.get_text_config())}.values():
        if hasattr(config, "auto_map"):
            del config.auto_map
    base.tokenizer.init_kwargs.pop("auto_map", None)


def _hint(folder: Path, trust_remote_code: bool) -> str:
    """Name what asks for code that was not run."""
    asks = [] if trust_remote_code else code_requests(folder)
    if not asks:
        return ""
    return (
        f"Python code of its own was asked for ({', '.join(asks[:5])}) and not run: read it first, then allow it with"
        " `trust_remote_code` (--trust-remote-code). "
    )


def _check_weights(folder: Path, name: str) -> None:
    """Refuse weights that are missing, are pickles, or whose safetensors header is damaged."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise ModelError(
            f"base model {name!r} in {str(folder)!r} has no .safetensors weights. Pickled weights are refused, because"
            " loading them can run code; convert the model to safetensors."
        )
    for path in weights:
        _header(path)


def _header(path: Path) -> bytes:
    """Header of a safetensors file, checked against the file's size."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if length <= min(size - 8, _MOST_HEADER) else b""
    try:
        tensors = json.loads(header)
        end = max((t["data_offsets"][1] for k, t in tensors.items() if k != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError, IndexError):
        raise ModelError(f"weights file {str(path)!r} is damaged: its safetensors header cannot be read.") from None
    if end + 8 + length != size:
        raise ModelError(
            f"weights file {str(path)!r} is damaged: its header announces {end + 8 + length} bytes, but it has {size}."
            " Download or copy it again."
        )
    return header


def fingerprint(folder: Path) -> str:
    """SHA-256 that tells one base model from another without reading all of it.

    Covers config.json, the tokenizer's files, and of every safetensors file its name, header, size and first and last
    MiB.
    """
    digest = hashlib.sha256()
    names = ["config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "merges.txt"]
    for path in [folder / name for name in names]:
        if path.is_file():
            if path.stat().st_size > MOST_TEXT_BYTES:
                raise ModelError(
                    f"{str(path)!r} has {path.stat().st_size:,} bytes, but no such file needs more than {MOST_TEXT_BYTES:,}."
                    " It is damaged: download or copy it again."
                )
            digest.update(path.name.encode() + path.read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(path.name.encode() + size.to_bytes(8, "little") + _header(path))
        with path.open("rb") as file:
            digest.update(file.read(_MIB))
            file.seek(max(0, size - _MIB))
            digest.update(file.read(_MIB))
    return digest.hexdigest()
