"""Weights in safetensors files: what a file says it holds, before anything is made of it, and whether its numbers are numbers."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from predgen.errors import PredgenError, SavedModelError

_KINDS = {"F64": "float", "F32": "float", "F16": "float", "BF16": "float", "I64": "whole", "I32": "whole"}
_NAMED = 3

MOST_TEXT_BYTES = 256 << 20
"""Most bytes of a file of a model that holds no weights: the largest tokenizers have some 40 million."""


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """What a tensor is, without its numbers.

    Attributes:
        shape: Its sizes.
        kind: "float", "whole", or what the file calls another type.
    """

    shape: tuple[int, ...]
    kind: str

    @classmethod
    def of(cls, tensor: Tensor) -> "TensorFacts":
        """Describe a tensor, on whatever device it is."""
        return cls(tuple(tensor.shape), "float" if tensor.is_floating_point() else "whole")


def facts_of_file(path: Path, *, error: type[PredgenError] = SavedModelError) -> dict[str, TensorFacts]:
    """Read what a safetensors file holds, from its header alone.

    Raises:
        PredgenError: Of class `error`, where the file is missing or damaged.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}
            return {
                name: TensorFacts(tuple(found.get_shape()), _KINDS.get(found.get_dtype(), found.get_dtype()))
                for name, found in slices.items()
            }
    except (OSError, SafetensorError, ValueError) as reason:
        raise error(f"{str(path)!r} is damaged: {reason}. Copy it again, or train the model again.") from reason


def read_weights(path: Path, *, error: type[PredgenError] = SavedModelError) -> dict[str, Tensor]:
    """Read a safetensors file whose numbers are all finite.

    Raises:
        PredgenError: Of class `error`, where the file is missing or damaged, or holds a number that is not finite.
    """
    facts_of_file(path, error=error)  # with a message of ours, before anything is allocated
    weights = load_file(str(path))
    require_finite(weights.items(), repr(str(path)), error=error)
    return weights


def require_finite(
    tensors: Iterable[tuple[str, Tensor]], where: str, *, error: type[PredgenError] = SavedModelError
) -> None:
    """Refuse weights that are infinite or nan; smallest and largest number tell, in one pass without a copy.

    Raises:
        PredgenError: Of class `error`, naming the first tensor that is not finite.
    """
    for name, tensor in tensors:
        if tensor.is_floating_point() and tensor.numel() and tensor.element_size() > 1 and not tensor.is_meta:
            if not all(math.isfinite(float(end)) for end in torch.aminmax(tensor.detach())):
                raise error(
                    f"{where}: tensor {name!r} holds a number that is infinite or nan, so every answer would be. Copy the"
                    " file again, or train the model again."
                )


def require_same(
    found: Mapping[str, TensorFacts],
    expected: Mapping[str, TensorFacts],
    where: str,
    *,
    error: type[PredgenError] = SavedModelError,
) -> None:
    """Refuse tensors that are missing, too many, or of another shape or type than the configuration says.

    Raises:
        PredgenError: Of class `error`, naming the first few.
    """
    faults = {
        "are missing": sorted(expected.keys() - found.keys()),
        "are not known": sorted(found.keys() - expected.keys()),
        "have another shape or type": [
            f"{name} {_text(found[name])} instead of {_text(facts)}"
            for name, facts in expected.items()
            if name in found and found[name] != facts
        ],
    }
    said = [f"{len(names)} tensors {what} ({_some(names)})" for what, names in faults.items() if names]
    if said:
        raise error(
            f"{where} does not fit the configuration: {'; '.join(said)}. Copy the model again, or train it again."
        )


def _text(facts: TensorFacts) -> str:
    return f"{facts.kind} {'x'.join(map(str, facts.shape))}"


def _some(names: list[Any]) -> str:
    """The first few names."""
    return ", ".join(str(name)[:120] for name in names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
