"""The header of a GGUF file, read within the file's own bounds before any library sees it.

magic, version, counts -> key-value pairs -> names, shapes, types and places of the tensors, all checked against the size

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian.
"""

import math
import mmap
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from predgen.errors import ModelError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_PLAIN = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_MOST_TEXT = 1 << 22  # bytes of one string; a chat template is the longest
_MOST_ENTRIES = 1 << 20  # key-value pairs, and tensors; real files have a few hundred
_MOST_ELEMENTS = 1 << 24  # of one array; a vocabulary is the longest
_MOST_CONTEXT = 1 << 24  # tokens
_ALIGNMENT = 32


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's line in the header: its name, shape, type's name, and its bytes."""

    name: str
    shape: tuple[int, ...]
    type: str
    n_bytes: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says about itself.

    Attributes:
        architecture: Name of the architecture, as llama.cpp has it.
        values: Single values by their keys; of arrays the length.
        tensors: All tensors.
    """

    architecture: str
    values: dict[str, Any]
    tensors: Sequence[Tensor]

    @property
    def quantised(self) -> str:
        """The type that most of the file's weights are stored in."""
        weights: Counter[str] = Counter()
        for tensor in self.tensors:
            weights[tensor.type] += math.prod(tensor.shape)
        return weights.most_common(1)[0][0]


def read_header(path: Path) -> GgufHeader:
    """Read and check a GGUF file's header.

    Raises:
        ModelError: If the file is no GGUF file, is truncated or damaged, or claims a model that it has not the weights of.
    """
    size = path.stat().st_size
    if size < 24:
        raise ModelError(f"{str(path)!r} is no GGUF file: it has {size} bytes. Download it again.")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        reader = _Reader(content, path)
        if reader.take(4) != _MAGIC:
            raise ModelError(
                f"{str(path)!r} is no GGUF file: it does not start with {_MAGIC.decode()!r}. Give a GGUF file."
            )
        version = reader.number("<I")
        if version not in _VERSIONS:
            raise ModelError(
                f"{str(path)!r} has GGUF version {version}; versions 2 and 3, little-endian, are read. Convert the model anew."
            )
        n_tensors, n_values = reader.count(_MOST_ENTRIES, "tensors"), reader.count(_MOST_ENTRIES, "key-value pairs")
        values = dict(reader.pair() for _ in range(n_values))
        tensors = [reader.tensor() for _ in range(n_tensors)]
        reader.check_data(tensors, values)
    header = GgufHeader(_architecture(values, path), values, [tensor for tensor, _ in tensors])
    _check_claims(header, path)
    return header


class _Reader:
    """Takes values off the file's content; every length is compared with what is left before it is used."""

    def __init__(self, content: mmap.mmap, path: Path) -> None:
        self.content, self.path, self.at = content, path, 0

    def take(self, length: int) -> bytes:
        """The next bytes."""
        if not 0 <= length <= len(self.content) - self.at:
            raise self.damaged(f"{length:,} bytes are due at byte {self.at:,}, but the file has {len(self.content):,}")
        self.at += length
        return self.content[self.at - length : self.at]

    def number(self, form: str) -> Any:  # noqa: ANN401
        """The next number, in `struct`'s terms."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def count(self, most: int, what: str) -> int:
        """The next count, of things that take a byte each at least."""
        n = int(self.number("<Q"))
        if n > most or n > len(self.content):
            raise self.damaged(f"it announces {n:,} {what}")
        return n

    def text(self) -> str:
        """The next string."""
        return self.take(self.count(_MOST_TEXT, "characters")).decode("utf-8", errors="replace")

    def pair(self) -> tuple[str, Any]:
        """The next key with its value; of an array the length."""
        key, kind = self.text(), self.number("<I")
        if kind != _ARRAY:
            return key, self._value(kind)
        kind, n = self.number("<I"), self.count(_MOST_ELEMENTS, "elements of an array")
        if kind in _PLAIN:
            self.take(n * struct.calcsize(_PLAIN[kind]))
        elif kind == _STRING:
            for _ in range(n):
                self.take(self.count(_MOST_TEXT, "characters"))
        else:
            raise self.damaged(f"key {key[:80]!r} has an array of type {kind}")
        return key, n

    def _value(self, kind: int) -> Any:  # noqa: ANN401
        """A single value of a type."""
        if kind == _STRING:
            return self.text()
        if kind not in _PLAIN:
            raise self.damaged(f"type {kind} of a value is not known")
        return self.number(_PLAIN[kind])

    def tensor(self) -> tuple[Tensor, int]:
        """The next tensor, and where its data start among all data."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        name, n_dimensions = self.text(), self.number("<I")
        if not 1 <= n_dimensions <= 4:
            raise self.damaged(f"tensor {name[:80]!r} has {n_dimensions} dimensions")
        shape = tuple(int(self.number("<Q")) for _ in range(n_dimensions))
        kind, offset = self.number("<I"), int(self.number("<Q"))
        try:
            stored = GGMLQuantizationType(kind)
        except ValueError:
            raise self.damaged(f"tensor {name[:80]!r} has type {kind}, which is not known") from None
        block, block_bytes = GGML_QUANT_SIZES[stored]
        elements = math.prod(shape)
        if elements == 0 or shape[0] % block:
            raise self.damaged(f"tensor {name[:80]!r} of type {stored.name} has the shape {shape}")
        return Tensor(name, shape, stored.name, elements // block * block_bytes), offset

    def check_data(self, tensors: Sequence[tuple[Tensor, int]], values: dict[str, Any]) -> None:
        """Refuse tensors whose data are not in the file, or overlap."""
        alignment = values.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 16:
            raise self.damaged(f"general.alignment is {alignment!r}")
        start, end = math.ceil(self.at / alignment) * alignment, 0
        for tensor, offset in sorted(tensors, key=lambda one: one[1]):
            if offset < end or start + offset + tensor.n_bytes > len(self.content):
                raise self.damaged(
                    f"tensor {tensor.name[:80]!r} has its {tensor.n_bytes:,} bytes at {start + offset:,}, but the file has"
                    f" {len(self.content):,}, or another tensor is there"
                )
            end = offset + tensor.n_bytes

    def damaged(self, reason: str) -> ModelError:
        """The error that says what is wrong with the file."""
        return ModelError(f"GGUF file {str(self.path)!r} is damaged or cut off: {reason}. Download it again.")


def _architecture(values: dict[str, Any], path: Path) -> str:
    """Name of the architecture, one that transformers turns back into its own."""
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    found = values.get("general.architecture")
    renamed = {"qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe", "gpt-oss": "gpt_oss", "minimax-m2": "minimax_m2"}
    if not isinstance(found, str) or renamed.get(found, found) not in GGUF_SUPPORTED_ARCHITECTURES:
        raise ModelError(
            f"GGUF file {str(path)!r} is of architecture {str(found)[:80]!r}, which transformers cannot turn back; it can"
            f" {', '.join(sorted(GGUF_SUPPORTED_ARCHITECTURES))}. Take the model as a folder of safetensors."
        )
    return found


def _check_claims(header: GgufHeader, path: Path) -> None:
    """Refuse sizes that the file's tensors do not bear out: a model of that size would be made before that shows."""
    most = sum(math.prod(tensor.shape) for tensor in header.tensors)
    bounds = {"block_count": len(header.tensors), "expert_count": most, "context_length": _MOST_CONTEXT}
    bounds |= dict.fromkeys(("embedding_length", "feed_forward_length", "attention.head_count"), most)
    for name, bound in bounds.items():
        value = header.values.get(f"{header.architecture}.{name}", 0)
        if isinstance(value, int) and not 0 <= value <= bound:
            raise ModelError(
                f"GGUF file {str(path)!r} says {header.architecture}.{name} {value:,}, but its {len(header.tensors):,} tensors"
                f" allow {bound:,} at most. It is damaged: download it again."
            )
