"""What a PEFT method is here: what trains, the adapter's configuration, and hooks for what PEFT leaves to callers."""

import copy
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from pydantic import Field
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from predgen.errors import ConfigError, SavedModelError
from predgen.plain_data import read_json, shortened, typed
from predgen.weights import TensorFacts, facts_of_file, read_weights, require_same

_READ_BY_MIXERS = ("x_proj", "dt_proj", "out_proj")
_WEIGHTS = "adapter_model.safetensors"
# These say nothing about the weights. PEFT's AutoPeftModel alone reads `auto_mapping`, which configurations without a task type get.
_PLACES = ("base_model_name_or_path", "revision", "inference_mode", "peft_version", "auto_mapping")
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.\-]{1,256}$")]


@dataclass(frozen=True)
class Recorded:
    """What a run adds to the configuration that its settings make, and a saved model brings along.

    Attributes:
        target_modules: Names of the adapted layers: plain names, for PEFT reads a text as a regular expression.
        exclude_modules: Names of layers that are left out.
    """

    target_modules: list[_Name] | None = None
    exclude_modules: list[_Name] | None = None


@dataclass(frozen=True, slots=True)
class PeftSettings:
    """What adapters are made from.

    Attributes:
        options: The settings of `RunConfig` that the method's line in the registry names, with their values.
        seed: Seed of the run, for choices that are not drawn from torch's generator.
        total_optimizer_steps: Length of the run, for methods that change what trains on the way.
        is_conv1d: Whether the base stores linear layers transposed (GPT-2).
    """

    options: Mapping[str, Any]
    seed: int
    total_optimizer_steps: int
    is_conv1d: bool


@dataclass(frozen=True, slots=True)
class PeftMethod:
    """A way to fine-tune the base model.

    All hooks get the model that `apply_peft` returned, and may be None. In the order in which a run calls them:
    `after_injection`; then `extra_loss` and `after_step` in each step, `state` where a checkpoint is written and `restore`
    where one is read; `after_training`.

    Attributes:
        name: Registry name.
        trains: What of the base trains: an "adapter", "everything" or "nothing".
        adapter: Makes the adapter's configuration; None without an adapter.
        after_injection: Called on the model whenever its adapter was made or loaded.
        extra_loss: A term that is added to the mean loss of each batch, with its weight.
        after_step: Called with the number of optimizer steps before this one, when the weights were changed and their
            gradients are still there.
        state: What a run needs to go on besides the weights that train, as tensors by name.
        restore: Puts back what `state` returned.
        state_of_0_1: Reads the same from a checkpoint of version 0.1; None where that one has nothing of the kind.
        after_training: Called with the weights that the run ends with.
        recorded: What a run adds to the adapter's configuration, with its types.
        saved_shapes: From the tensors of a new adapter to those of a saved one; None: they are the same.
    """

    name: str
    trains: Literal["adapter", "everything", "nothing"]
    adapter: Callable[[PeftSettings], PeftConfig] | None = None
    after_injection: Callable[[PeftModel], None] | None = None
    extra_loss: Callable[[PeftModel], Tensor] | None = None
    after_step: Callable[[PeftModel, int], None] | None = None
    state: Callable[[PeftModel], dict[str, Tensor]] | None = None
    restore: Callable[[PeftModel, Mapping[str, Tensor]], None] | None = None
    state_of_0_1: Callable[[Path], dict[str, Tensor] | None] | None = None
    after_training: Callable[[PeftModel], None] | None = None
    recorded: type[Recorded] = Recorded
    saved_shapes: Callable[[Mapping[str, TensorFacts], PeftConfig], dict[str, TensorFacts]] | None = None


def apply_peft(
    method: PeftMethod,
    lm: Any,  # noqa: ANN401
    options: Mapping[str, Any],
    *,
    total_optimizer_steps: int,
    seed: int = 0,
) -> Any:  # noqa: ANN401
    """Return the model with the method's trainable weights, everything else frozen.

    Adapters go on the Hugging Face model itself, never on a wrapper with heads: heads train in full.

    Args:
        method: The method.
        lm: A causal language model; it is changed.
        options: The method's settings, by name (`RunConfig.peft_settings`).
        total_optimizer_steps: Length of the run.
        seed: Seed of the run.

    Raises:
        ConfigError: If an option does not fit a layer's size.
    """
    if method.trains == "everything":
        return lm.requires_grad_(True)
    lm.requires_grad_(False)
    if method.adapter is None:
        return lm
    with _quiet_peft():
        return _finish(method, get_peft_model(lm, _made(method, lm, options, seed, total_optimizer_steps)))


def save_adapter(lm: PeftModel, folder: Path, base_name: str) -> None:
    """Write a model's adapter as PEFT does, for `load_adapter`; safetensors only.

    Args:
        lm: What `apply_peft` returned.
        folder: Where to write.
        base_name: What the base is called. PEFT knows the folder it was read from: of a hub model, this machine's cache.
    """
    with _quiet_peft():
        lm.peft_config["default"].base_model_name_or_path = base_name
        lm.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty card


def load_adapter(method: PeftMethod, lm: Any, folder: Path, options: Mapping[str, Any], *, seed: int = 0) -> Any:  # noqa: ANN401
    """Return the model with an adapter that `save_pretrained` wrote; safetensors only.

    The adapter is made from the settings, as in training, and never from the folder's configuration: that one only has to
    agree (`_recorded`). So PEFT meets no value that a folder has brought along, but numbers of the right shape.

    Args:
        method: The method.
        lm: A causal language model; it is changed.
        folder: Where the adapter is.
        options: The method's settings, by name.
        seed: Seed of the run that trained it.

    Raises:
        SavedModelError: If the adapter is missing or damaged, or is another one than the settings make.
    """
    path = folder / _WEIGHTS
    if not path.is_file():
        pickled = " Its pickled weights (adapter_model.bin) are not read: opening a pickle can run code."
        raise SavedModelError(
            f"the adapter {str(folder)!r} has no {_WEIGHTS}.{pickled if (folder / 'adapter_model.bin').exists() else ''}"
            " The folder is damaged: copy it again, or train the model again."
        )
    lm.requires_grad_(False)
    with _quiet_peft():
        config = _recorded(method, lm, folder / "adapter_config.json", options, seed)
        _check_shapes(method, lm, config, path)
        weights = read_weights(path)
        model = get_peft_model(lm, config)
        _check_choices(model, weights, path)
        set_peft_model_state_dict(model, weights)
    for name, parameter in model.named_parameters():
        saved = weights.get(name.replace(".default", ""))
        if saved is not None:  # PEFT 0.21 has rounded pruned AdaLoRA weights to the base's type, bfloat16
            parameter.data = saved.to(parameter.device)
    return _finish(method, model.eval())


def _made(method: PeftMethod, lm: Any, options: Mapping[str, Any], seed: int, steps: int) -> PeftConfig:  # noqa: ANN401
    """The adapter's configuration that the settings make."""
    assert method.adapter is not None, f"{method.name} has no adapter"
    is_conv1d = any(isinstance(module, Conv1D) for module in lm.modules())
    config: Any = method.adapter(PeftSettings(options, seed, max(1, steps), is_conv1d))
    left_out = uncalled_layers(lm) | layers_below(lm, options.get("adapt_layers"))
    if hasattr(config, "exclude_modules") and left_out:
        config.exclude_modules = sorted({*(config.exclude_modules or ()), *left_out})
    made: PeftConfig = config
    return made


def uncalled_layers(lm: nn.Module) -> set[str]:
    """Linear layers, by the ends of their names, that an adapter cannot sit on: their state-space mixer never calls them.

    Mamba, Mamba-2 and the hybrids built on them hand the weights of these layers to their kernels, or multiply by them
    themselves: an adapter there would not be applied, on some devices or on all. Their `in_proj` is called, and adapted.
    """
    mixers = [(name, part) for name, part in lm.named_modules() if hasattr(part, "A_log") and hasattr(part, "D")]
    return {
        f"{name.rpartition('.')[2]}.{layer}"
        for name, mixer in mixers
        for layer in _READ_BY_MIXERS
        if isinstance(getattr(mixer, layer, None), nn.Linear)
    }


def layers_below(lm: Any, uppermost: int | None) -> set[str]:  # noqa: ANN401
    """Names of the linear layers below the `uppermost` layers of a base; none for None.

    Raises:
        ConfigError: If the base has fewer layers.
    """
    if uppermost is None:
        return set()
    n_layers = lm.config.get_text_config().num_hidden_layers
    stacks = ((n, m) for n, m in lm.named_modules() if isinstance(m, nn.ModuleList) and len(m) == n_layers)
    name, stack = next(stacks, ("", nn.ModuleList()))
    if uppermost > len(stack):
        raise ConfigError(
            f"`adapt_layers` is {uppermost}, but this base has {n_layers} layers"
            f"{'' if len(stack) else ', in no one list'}. Give a smaller number, or leave it out to adapt all."
        )
    lower = ((f"{name}.{i}", layer) for i, layer in enumerate(stack[: n_layers - uppermost]))
    return {
        f"{at}.{inner}"
        for at, layer in lower
        for inner, module in layer.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    }


def _recorded(method: PeftMethod, lm: Any, path: Path, options: Mapping[str, Any], seed: int) -> PeftConfig:  # noqa: ANN401
    """The configuration that the settings make, with what the run added to it; all else in the file has to agree.

    Fields that this PEFT does not have are those of another version: unused, they are null, false or empty.
    """
    stored: dict[str, Any] = read_json(path, dict[str, Any])
    config = _made(method, lm, options, seed, 1)
    config.inference_mode = True
    made = json.loads(json.dumps(config.to_dict(), default=list))
    kept = {f.name: stored.pop(f.name) for f in fields(method.recorded) if f.name in stored}
    recorded = typed(method.recorded, kept, repr(str(path)))
    for name in kept:
        value = getattr(recorded, name)
        setattr(config, name, set(value) if isinstance(value, list) else value)
    for name, value in stored.items():
        if name not in _PLACES and (value != made[name] if name in made else value):
            raise SavedModelError(
                f"{str(path)!r}: `{name}` is {shortened(value)}, but the settings of this model (peft {method.name!r}) make"
                f" it {shortened(made.get(name))}. The file is damaged or changed: copy the model again."
            )
    return config


def _check_shapes(method: PeftMethod, lm: Any, config: PeftConfig, path: Path) -> None:  # noqa: ANN401
    """Compare the file's tensors with those of the adapter, made without memory: its sizes are what a folder says.

    Raises:
        SavedModelError: If some are missing, too many or of another shape, or the adapter does not fit the model.
    """
    whole = copy.deepcopy(config)
    if hasattr(whole, "rank_pattern"):
        whole.rank_pattern = {}
    try:
        with torch.device("meta"):
            skeleton = get_peft_model(type(lm)(copy.deepcopy(lm.config)), whole)
        made = get_peft_model_state_dict(skeleton, save_embedding_layers=False)
    except (ValueError, RuntimeError, TypeError) as error:  # among them ConfigError, and PEFT's own for unknown layers
        raise SavedModelError(f"the adapter {str(path)!r} does not fit its base model: {error}") from error
    expected = {name: TensorFacts.of(tensor) for name, tensor in made.items()}
    if method.saved_shapes is not None:
        expected = method.saved_shapes(expected, config)
    require_same(facts_of_file(path), expected, repr(str(path)))


def _check_choices(model: PeftModel, weights: Mapping[str, Tensor], path: Path) -> None:
    """Which rows or columns train follows from settings and seed: others, perhaps outside the layer, are damage."""
    made = {name.replace(".default", ""): buffer for name, buffer in model.named_buffers()}
    for name, saved in weights.items():
        if not saved.is_floating_point() and not torch.equal(saved, made[name].to(saved.device)):
            raise SavedModelError(
                f"{str(path)!r}: tensor {name!r} is {shortened(saved.tolist())}, but the settings of this model choose"
                f" {shortened(made[name].tolist())}. The file is damaged or changed: copy the model again."
            )


@contextmanager
def _quiet_peft() -> Iterator[None]:
    """Silence what users can do nothing about: PEFT 0.21 calls a deprecated name, and doubts AdaLoRA's own ranks.

    It takes layers that were pruned to rank 0 for unfinished shards.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "The following rank_pattern keys did not match", RuntimeWarning)
        warnings.filterwarnings("ignore", ".*LoRA tensor.s. have invalid shape")
        yield


def _finish(method: PeftMethod, model: PeftModel) -> PeftModel:
    """Run the method's hook."""
    if method.after_injection is not None:
        method.after_injection(model)
    return model
