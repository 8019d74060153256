"""Texts as vectors of a frozen sentence encoder, for baselines that train no language model."""

import fnmatch
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from predgen.bases.find import find_base
from predgen.core import Example
from predgen.errors import ModelError

_BATCH = 32
_LONGEST = 256  # tokens: what sentence encoders of this size are trained for


class SentenceEncoder:
    """A frozen encoder. A text's vector is the mean of its tokens' last states, of length 1 (Reimers and Gurevych 2019, Sentence-BERT).

    Args:
        name: As `bases.find.find_base` takes it.

    Attributes:
        parameters: Number of its weights.

    Raises:
        ModelError: If it is missing or cannot be loaded.
    """

    def __init__(self, name: str) -> None:
        self._model, self._tokenizer = _loaded(name)
        self.parameters = sum(weight.numel() for weight in self._model.parameters())

    def features(self, rows: Sequence[Example]) -> Float[np.ndarray, "N D"]:
        """Return features of rows: of one prompt field its vector; of two |u - v|, u * v and their cosine; of more all vectors.

        The pair's features are those of InferSent (Conneau et al. 2017), with the cosine.

        Args:
            rows: Rows; all have the same fields.
        """
        names = list(rows[0].fields)
        texts = sorted({row.fields[name] for row in rows for name in names})
        place = {text: i for i, text in enumerate(texts)}
        vectors = self._vectors(texts)
        found = [vectors[[place[row.fields[name]] for row in rows]] for name in names]
        if len(found) == 2:
            u, v = found
            return np.concatenate([np.abs(u - v), u * v, (u * v).sum(1, keepdims=True)], axis=1)
        return np.concatenate(found, axis=1)

    def _vectors(self, texts: Sequence[str]) -> Float[np.ndarray, "N H"]:
        """Vectors of texts, in their order; texts of similar length run together."""
        import torch

        found: list[Any] = [None] * len(texts)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), _BATCH):
            places = order[start : start + _BATCH]
            some = [texts[i] for i in places]
            batch = self._tokenizer(some, padding=True, truncation=True, max_length=_LONGEST, return_tensors="pt")
            with torch.inference_mode():
                states = self._model(**batch).last_hidden_state
                mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
                means = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
                unit = torch.nn.functional.normalize(means, dim=-1)
            for i, vector in zip(places, unit.numpy(), strict=True):
                found[i] = vector
        return np.stack(found).astype(np.float64)


def _loaded(encoder: str) -> tuple[Any, Any]:
    """The encoder in eval state, and its tokenizer; safetensors only, none of its code runs."""
    from transformers import AutoModel, AutoTokenizer

    folder = find_base(encoder)
    try:
        loaded: Any = AutoModel.from_pretrained(folder, use_safetensors=True, output_loading_info=True)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # a damaged file makes transformers raise anything
        raise ModelError(
            f"encoder {encoder!r} in {str(folder)!r} cannot be loaded: {error}. It has to be a folder of transformers with"
            " safetensors."
        ) from error
    model, loading = loaded
    # A pooling layer may be missing: it stands behind the states that are read here.
    if missing := [name for name in loading["missing_keys"] if not fnmatch.fnmatch(name, "*pooler*")]:
        raise ModelError(f"encoder {encoder!r} lacks {len(missing)} tensors ({', '.join(sorted(missing)[:3])}).")
    tokenizer.padding_side = "right"  # encoders count positions from the first token, padding or not
    return model.eval(), tokenizer
