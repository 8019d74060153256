"""What our tuners share: configuration, a linear layer with adapters, and the model that puts such layers in.

A tuner says which weights an adapter has, how they correct the layer's output, and what merging them does to W.
Freezing, saving, loading, switching and unloading are PEFT's own.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer, _get_in_out_features, check_adapters_to_merge
from peft.utils import (
    TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING,
    get_quantization_kwargs,
    resolve_quantization_backend,
)
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from predgen.errors import ConfigError
from predgen.peft_methods.tuners.peft_types import peft_type


@dataclass
class TunerConfig(PeftConfig):
    """Configuration of an adapter on linear layers; the fields mean what they mean for PEFT's own methods.

    Attributes:
        target_modules: Layers to adapt: names, a regular expression, or "all-linear" (all but the output embedding).
        exclude_modules: Layers to leave out.
        modules_to_save: Further modules that train in full and are saved.
        layers_to_transform: Numbers of the decoder layers to adapt; all by default.
        layers_pattern: Name of the list of decoder layers, where it is an unusual one.
        bias: Which biases of the base train: "none", "all", or those of the adapted layers ("<method>_only").
    """

    method: ClassVar[str]

    target_modules: set[str] | list[str] | str | None = field(default=None)
    exclude_modules: set[str] | list[str] | str | None = field(default=None)
    modules_to_save: list[str] | None = field(default=None)
    layers_to_transform: list[int] | int | None = field(default=None)
    layers_pattern: list[str] | str | None = field(default=None)
    bias: str = field(default="none")

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[no-untyped-call]
        self.peft_type = peft_type(self.method)
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)
        if isinstance(self.exclude_modules, list):
            self.exclude_modules = set(self.exclude_modules)
        allowed = ("none", "all", f"{self.method}_only")
        if self.bias not in allowed:
            raise ConfigError(f"`bias` is {self.bias!r}; allowed: {', '.join(allowed)}.")


@dataclass
class LowRankConfig(TunerConfig):
    """Configuration of a low-rank update.

    Attributes:
        r: Rank.
        alpha: The update is scaled by alpha / r.
    """

    r: int = field(default=8)
    alpha: float = field(default=16.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.r < 1:
            raise ConfigError(f"`r` is {self.r}, but must be at least 1.")

    @property
    def scale(self) -> float:
        """Factor of the update."""
        return self.alpha / self.r


class TunerLayer(nn.Module, BaseTunerLayer):
    """A frozen linear layer y = W x + b (W is o x i) with adapters that correct its output.

    Subclasses have "Linear" in their names: by that PEFT finds them when "all-linear" gets a further adapter.
    It works over `nn.Linear`, GPT-2's `Conv1D` and quantised layers alike, because W is only rebuilt to merge.

    Args:
        base_layer: The layer.
        adapter_name: Its first adapter.
        config: That adapter's configuration.
        key: The layer's name in the model.
        **quantization: What PEFT needs to quantise merged weights again.
    """

    other_param_names: tuple[str, ...] = ("settings",)

    def __init__(
        self,
        base_layer: nn.Module,
        adapter_name: str,
        config: TunerConfig,
        key: str,
        **quantization: Any,  # noqa: ANN401
    ) -> None:
        super().__init__()
        self.base_layer = base_layer
        inputs, outputs = _get_in_out_features(self.get_base_layer())
        assert inputs is not None, "a linear layer has sizes"
        assert outputs is not None, "a linear layer has sizes"
        self.in_features, self.out_features = inputs, outputs
        self.quantization_backend = resolve_quantization_backend(self.get_base_layer(), **quantization)
        self._disable_adapters = False
        self._active_adapter = adapter_name
        self.merged_adapters = []
        self.settings: dict[str, Any] = {}
        self.make_stores()
        self.update_layer(adapter_name, config, key)

    def make_stores(self) -> None:
        """Make the dictionaries that hold each adapter's weights."""
        for name in self.adapter_layer_names:
            setattr(self, name, nn.ParameterDict())

    def update_layer(self, adapter_name: str, config: TunerConfig, key: str) -> None:
        """Add an adapter."""
        self.settings[adapter_name] = config
        self.make_weights(adapter_name, config, key)
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def make_weights(self, adapter: str, config: Any, key: str) -> None:  # noqa: ANN401  (the method's configuration)
        """Put an adapter's fresh weights, which change nothing yet, into the dictionaries `adapter_layer_names`."""
        raise NotImplementedError(f"{type(self).__name__} must define make_weights")

    def weights(self, adapter: str) -> list[Tensor]:
        """An adapter's trained weights, in the order of `adapter_layer_names`."""
        return [getattr(self, name)[adapter] for name in self.adapter_layer_names]

    def corrected(self, result: Tensor, x: Tensor, adapter: str) -> Tensor:
        """The layer's output as an adapter changes it."""
        raise NotImplementedError(f"{type(self).__name__} must define corrected")

    def merged_weights(
        self, adapter: str, weight: Tensor, bias: Tensor | None, *, undo: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The base layer's weight and bias with an adapter merged in or, with `undo`, taken out again."""
        raise NotImplementedError(f"{type(self).__name__} must define merged_weights")

    @property
    def is_transposed(self) -> bool:
        """Whether the base layer stores W as i x o."""
        return isinstance(self.get_base_layer(), Conv1D)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401
        """Return the layer's output, corrected by the active adapters in turn."""
        if self.disable_adapters and self.merged:
            self.unmerge()
        result: Tensor = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters or self.merged:
            return result
        dtype = result.dtype
        if self.quantization_backend is not None:
            result = self.quantization_backend.maybe_clone_base_result(result)
        for adapter in self.active_adapters:
            if adapter in self.settings:
                result = self.corrected(result, x, adapter)
        return result.to(dtype)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Write adapters into the base layer.

        Args:
            safe_merge: Check that the merged weights are finite before they replace the old ones.
            adapter_names: Which adapters; None: the active ones.

        Raises:
            ValueError: If `safe_merge` finds a number that is not finite.
        """
        for adapter in check_adapters_to_merge(self, adapter_names):
            if adapter in self.settings:
                self._rewrite(adapter, undo=False, checks=safe_merge)
                self.merged_adapters.append(adapter)

    def unmerge(self) -> None:
        """Take all merged adapters out of the base layer again, the last one first."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
        while self.merged_adapters:
            self._rewrite(self.merged_adapters[-1], undo=True, checks=False)
            self.merged_adapters.pop()

    def _rewrite(self, adapter: str, *, undo: bool, checks: bool) -> None:
        """Replace the base layer's weight and bias."""
        bias = getattr(self.get_base_layer(), "bias", None)
        weight = self.get_base_weight()
        new_weight, new_bias = self.merged_weights(adapter, weight, bias, undo=undo)
        if checks and not bool(torch.isfinite(new_weight).all()):
            raise ValueError(f"adapter {adapter!r} cannot be merged: the merged weights are not finite.")
        self.set_base_weight(new_weight.to(weight.dtype))
        if bias is not None and new_bias is not None:
            bias.data = new_bias.detach().to(bias.dtype)


class AdditiveLayer(TunerLayer):
    """A layer whose adapters add a matrix to W."""

    def get_delta_weight(self, adapter: str) -> Tensor:
        """What an adapter adds to W, laid out as the base layer stores W."""
        delta = self.delta(adapter)
        return delta.T if self.is_transposed else delta

    def delta(self, adapter: str) -> Tensor:
        """What an adapter adds to W, o x i."""
        raise NotImplementedError(f"{type(self).__name__} must define delta")

    def merged_weights(
        self, adapter: str, weight: Tensor, bias: Tensor | None, *, undo: bool
    ) -> tuple[Tensor, Tensor | None]:
        delta = self.get_delta_weight(adapter).detach()
        return (weight - delta if undo else weight + delta), bias

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """Whether PEFT's `convert_to_lora` applies: exact from the rank of the added matrix on."""
        return True


class TunerModel(BaseTuner):
    """A model with a tuner's layers; what `PeftModel.base_model` is.

    Raises:
        TypeError: If a target is no linear layer.
        ConfigError: If a target shares its weight with the input embeddings.
    """

    tuner_layer_cls: type[TunerLayer]
    target_module_mapping = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING  # type: ignore[assignment]  # Sequence, list

    def _create_and_replace(
        self,
        peft_config: Any,  # noqa: ANN401  (the method's configuration)
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        """Put an adapter on a layer."""
        if isinstance(target, self.tuner_layer_cls):
            target.update_layer(adapter_name, peft_config, current_key)
            return
        self._check_target(target, current_key)
        kwargs = get_quantization_kwargs(self)
        layer = self.tuner_layer_cls(target, adapter_name, peft_config, current_key, **kwargs)
        self._replace_module(parent, target_name, layer, target)

    def _check_target(self, target: Any, key: str) -> None:  # noqa: ANN401
        """Refuse what an adapter cannot sit on, or where merging would change the input embeddings, too."""
        base = target.get_base_layer() if isinstance(target, BaseTunerLayer) else target
        backend = None if isinstance(base, nn.Linear | Conv1D) else resolve_quantization_backend(base)
        if not isinstance(base, nn.Linear | Conv1D) and getattr(backend, "layer_type", None) != "linear":
            raise TypeError(f"target {key!r} is a {type(base).__name__}, but {self.prefix[:-1]} adapts linear layers.")
        embeddings = getattr(self.model, "get_input_embeddings", lambda: None)()
        if embeddings is not None and getattr(base, "weight", None) is embeddings.weight:
            raise ConfigError(
                f"target {key!r} shares its weight with the input embeddings. Leave it out of `target_modules`, or load"
                " the model with `tie_word_embeddings=False`."
            )

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:  # noqa: ANN401
        """Refuse batches whose rows use different adapters, which PEFT would ignore in silence."""
        if kwargs.get("adapter_names") is not None:
            raise ValueError(
                f"`adapter_names` per row is not supported by {self.prefix[:-1]}; use one adapter a batch."
            )
        yield
