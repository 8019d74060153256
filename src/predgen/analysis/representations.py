"""What a trained model knows about a row, as one vector: the Z of I(Y; Z) (docs/mutual_information.md).

Predictor: the pooled prompt state. Generator and PredGen: the states at the first m_max content tokens that the model
writes greedily. All are last hidden states, after the final norm.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import AutoModelForCausalLM

from predgen import registries
from predgen.data.collate import Batch
from predgen.data.encode import Encoded
from predgen.engine.base_model import without_dropout
from predgen.engine.prompt_pass import SharedPrefix
from predgen.errors import ConfigError, DataError, ModelError
from predgen.inference.batching import run_encoded
from predgen.inference.trained import TrainedModel
from predgen.models.base import PredictionModel
from predgen.models.predictor import pool
from predgen.models.writer import WritingModel

POOLINGS = ("last", "mean", "first")
MOST_TOKENS = 16
"""m_max where none is given: content tokens of an answer beyond these are left out (rationales of math answers)."""

Vectors = npt.NDArray[np.float32]
_T = TypeVar("_T")
OnBatch = Callable[[int], None] | None


@dataclass(frozen=True, slots=True)
class TokenStates:
    """States of some tokens of every row.

    Attributes:
        states: Rows x slots x H; zeros in slots without a token.
        mask: True where a slot holds a token.
    """

    states: Float[np.ndarray, "N M H"]
    mask: Bool[np.ndarray, "N M"]

    def flat(self) -> Vectors:
        """Rows x (slots * H): the states side by side."""
        return self.states.reshape(len(self.states), -1)


def writes(trained: TrainedModel) -> bool:
    """Whether a model writes answers with states to read; False for the Predictor.

    Raises:
        ConfigError: If it scores the answers that it is given, and writes none of its own.
    """
    model = trained.model
    if isinstance(model, WritingModel) and not model.writes_own:
        raise ConfigError(
            f"a run of method {model.setup.method!r} scores the answers that it is given and writes none of its own, so it has"
            " no states to analyse. Use a run of another method."
        )
    return isinstance(model, WritingModel)


def answer_slots(trained: TrainedModel, wanted: int | None = None) -> int:
    """m_max, the content tokens to read of each answer.

    Args:
        trained: A model that writes.
        wanted: Most tokens to read; None: 16, or the codec's longest answer where that is shorter.

    Raises:
        ConfigError: If `wanted` is below 1.
    """
    require_tokens(wanted)
    codec = trained.encoder.codec
    assert codec is not None, "a model that writes has a codec"
    return min(wanted or MOST_TOKENS, codec.max_tokens - 1)


def require_tokens(wanted: int | None) -> None:
    """Refuse an m_max below 1.

    Raises:
        ConfigError: If it is.
    """
    if wanted is not None and wanted < 1:
        raise ConfigError(
            f"`answer_tokens` (m_max) is {wanted}, but a representation needs the state of at least 1 content token; leave"
            f" it out for the whole answer, {MOST_TOKENS} tokens at most."
        )


def represent(
    trained: TrainedModel, rows: Sequence[Encoded], answer_tokens: int | None = None, on_batch: OnBatch = None
) -> Vectors:
    """Return each row's representation by the model's own method.

    Args:
        trained: Predictor: its own pooling. Generator and PredGen: flattened states of what it writes greedily.
        rows: Encoded rows; targets are not looked at.
        answer_tokens: m_max, see `answer_slots`; the Predictor has no use for it.
        on_batch: Called with the number of rows after each batch.

    Returns:
        Rows x H (Predictor), or rows x (m_max * H).

    Raises:
        ConfigError: If m_max is below 1, or the run writes no answers of its own.
        ModelError: If states are not finite.
    """
    if writes(trained):
        return written_states(trained, rows, answer_slots(trained, answer_tokens), on_batch).flat()
    return pooled_states(trained, rows, trained.model.setup.own.pooling, on_batch)


def pooled_states(
    trained: TrainedModel, rows: Sequence[Encoded], pooling: str, on_batch: OnBatch = None
) -> Float[np.ndarray, "N H"]:
    """Return each prompt's pooled state, whatever the model's method.

    Raises:
        ConfigError: If the pooling is unknown.
        ModelError: If states are not finite.
    """
    if pooling not in POOLINGS:
        raise ConfigError(f"`pooling` is {pooling!r}. Allowed: {', '.join(POOLINGS)}.")

    def run(batch: Batch, prefix: SharedPrefix | None) -> list[Vectors]:
        states, mask = trained.model.prompt_states(batch, prefix)
        return list(pool(states, mask, pooling).cpu().numpy())

    vectors = _run(trained, rows, run, on_batch)
    return _finite(np.stack(vectors), rows)


def prompt_states(trained: TrainedModel, rows: Sequence[Encoded], slots: int, on_batch: OnBatch = None) -> TokenStates:
    """Return the states of each prompt's last `slots` tokens, the last one in the last slot.

    Raises:
        ModelError: If states are not finite.
    """

    def run(batch: Batch, prefix: SharedPrefix | None) -> list[tuple[Vectors, npt.NDArray[np.bool_]]]:
        states, mask = trained.model.prompt_states(batch, prefix)
        order = mask.long().argsort(dim=1, stable=True)[:, -slots:]  # padding first, then the tokens in their order
        kept = states.gather(1, order[..., None].expand(-1, -1, states.shape[2]))
        return _slots(kept, mask.gather(1, order), slots, at_end=True)

    return _stacked(_run(trained, rows, run, on_batch), rows)


def written_states(trained: TrainedModel, rows: Sequence[Encoded], slots: int, on_batch: OnBatch = None) -> TokenStates:
    """Return the states at the first `slots` content tokens that the model writes greedily, the first in slot 0.

    Raises:
        ModelError: If states are not finite.
    """
    model = trained.model
    assert isinstance(model, WritingModel), "checked by `writes`"

    def run(batch: Batch, prefix: SharedPrefix | None) -> list[tuple[Vectors, npt.NDArray[np.bool_]]]:
        states, mask = model.own_states(batch, prefix)
        return _slots(states[:, :slots], mask[:, :slots], slots, at_end=False)

    return _stacked(_run(trained, rows, run, on_batch), rows)


def _slots(
    states: Float[Tensor, "B M H"], mask: Bool[Tensor, "B M"], slots: int, *, at_end: bool
) -> list[tuple[Vectors, npt.NDArray[np.bool_]]]:
    """Bring states to a fixed number of slots per row, zeros where no token stands."""
    missing = slots - states.shape[1]
    side = (missing, 0) if at_end else (0, missing)
    zeroed = torch.where(mask[..., None], states.float(), 0.0)
    wide = torch.nn.functional.pad(zeroed, (0, 0, *side)).cpu().numpy()
    return list(zip(wide, torch.nn.functional.pad(mask, side).cpu().numpy(), strict=True))


def _stacked(found: list[tuple[Vectors, npt.NDArray[np.bool_]]], rows: Sequence[Encoded]) -> TokenStates:
    """All rows in one array."""
    return TokenStates(_finite(np.stack([states for states, _ in found]), rows), np.stack([mask for _, mask in found]))


@torch.no_grad()
def _run(
    trained: TrainedModel,
    rows: Sequence[Encoded],
    run: Callable[[Batch, SharedPrefix | None], list[_T]],
    on_batch: OnBatch,
) -> list[_T]:
    """Run rows in batches of the run's own size."""
    if not rows:
        raise DataError("there are no rows to analyse. Give a file or a split with rows.")
    config = trained.config
    return run_encoded(
        trained.model,
        rows,
        run,
        answer_nodes=[trained.model.answer_nodes()] * len(rows),
        pad_id=trained.pad_id,
        batch_tokens=config.eval_batch_tokens,
        batch_size=config.eval_batch_size,
        on_batch=on_batch,
    )


def _finite(states: npt.NDArray[np.float32], rows: Sequence[Encoded]) -> npt.NDArray[np.float32]:
    """Refuse states that are not finite numbers."""
    is_bad = ~np.isfinite(states).reshape(len(states), -1).all(axis=1)
    if is_bad.any():
        first = rows[int(is_bad.argmax())].row_id + 1
        raise ModelError(
            f"the states of {int(is_bad.sum())} of {len(rows)} rows are not finite numbers, first in row {first}: the"
            " model's weights have diverged, or their type is too narrow. Train the run again with a lower"
            " `learning_rate`, or with `dtype` float32."
        )
    return states


def with_random_weights(trained: TrainedModel, seed: int) -> TrainedModel:
    """Return the same method, architecture, tokenizer and codec with weights that have seen nothing, as a control.

    The base model is initialised anew by its own architecture's rule, without an adapter, which would start as nothing;
    so is the head. Torch's global generator is left as it was found.
    """
    model = trained.model
    config = without_dropout(copy.deepcopy(model.backbone.lm.config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        lm = AutoModelForCausalLM.from_config(config).float()
        fresh: PredictionModel = registries.methods.get(model.setup.method)(model.setup, lm, model.codec)
    return replace(trained, model=fresh.to(model.backbone.device).eval(), base=replace(trained.base, lm=lm))
