"""What a base model can do, found out when it is loaded: its rows on detours are held against one row run alone.

A handful of tiny forwards, once for every base. They need no knowledge of architectures, so that they hold for those that
are not known here, too; and they reach no further than their rows do: what a model does differently only after hundreds
of tokens is not seen.
"""

from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from predgen.engine.backbone import Abilities, Backbone, eval_state
from predgen.engine.level_pass import find_copy_obstacle, find_gradient_obstacle
from predgen.engine.tree_pass import checked_width, find_obstacle, reason_of, relative_error, tolerance_of
from predgen.errors import ModelError

_CHANGED = 2  # last tokens of a row that are exchanged: nothing before them may change
_STEPS = 2  # tokens that are run on the cache, one at a time
_known: WeakKeyDictionary[nn.Module, Abilities] = WeakKeyDictionary()


def abilities_of(lm: nn.Module) -> Abilities:
    """What a language model can do; found out once for each, whatever is built on it.

    Raises:
        ModelError: If it cannot be used at all.
    """
    if lm not in _known:
        _known[lm] = find_abilities(backbone_of(lm))
    return _known[lm]


def backbone_of(lm: nn.Module) -> Backbone:
    """Split a model before its output embeddings.

    Raises:
        ModelError: If its class lacks what that takes.
    """
    try:
        return Backbone(lm)
    except (AttributeError, TypeError) as error:
        raise _refusal(lm, f"it lacks what a causal language model of transformers has ({reason_of(error)})") from error


@torch.no_grad()
def find_abilities(backbone: Backbone) -> Abilities:
    """Run the checks.

    Raises:
        ModelError: If the model does not run, is not causal, or computes its logits in a way that is not known.
    """
    with eval_state(backbone.lm):
        row = torch.arange(2, 2 + checked_width(backbone), device=backbone.device) % backbone.vocabulary_size
        try:
            alone = backbone.check(row)
            batch = padding = cache = _tried(_differs_on_the_way, backbone, row, alone)
            if cache is not None:  # which of the three it is, one by one
                batch = _mixes_rows(backbone, row, alone)
                padding = batch or _tried(_minds_padding, backbone, row, alone)
                cache = padding or _tried(_loses_cache, backbone, row, alone)
        except ModelError:
            raise
        except Exception as error:  # whatever a model's code raises: it cannot be used
            raise _refusal(backbone.lm, f"it does not run on plain rows of tokens ({reason_of(error)})") from error
    tree = cache or find_obstacle(backbone)
    copies = cache or (find_copy_obstacle(backbone) if tree is not None else None)
    gradients = copies or (find_gradient_obstacle(backbone) if tree is not None else None)
    return Abilities(batch, padding, cache, tree, copies, gradients)


def _refusal(lm: nn.Module, reason: str) -> ModelError:
    """The base model cannot be used."""
    return ModelError(
        f"the base model is a {type(lm).__name__}, with which predictions cannot be computed: {reason}. Use another base"
        " model: a causal language model, which writes from left to right (`docs/methods.md` lists architectures)."
    )


def _tried(check: Any, backbone: Backbone, row: Tensor, alone: Tensor) -> str | None:  # noqa: ANN401
    """What a check says, or what the model's code raised in it: on that way it cannot be run."""
    try:
        found: str | None = check(backbone, row, alone)
    except Exception as refusal:  # whatever a model's code raises
        return reason_of(refusal)
    return found


def _differs_on_the_way(backbone: Backbone, row: Int[Tensor, " L"], alone: Float[Tensor, "1 L H"]) -> str | None:
    """Say whether anything that checks look for shows on the way that capable models take, which is that of predictions.

    A batch of the row and parts of it, padded on either side, whose last tokens are run one by one on the model's own
    cache. Each state has to be that of the row alone, in which later tokens stood behind it from the start: neighbours,
    padding, cache and a look ahead would all change it.
    """
    if backbone.cache_name is None:
        return "it takes none by a known name"
    ids, mask, expected = _padded_parts(row, alone)
    found = _stepwise(backbone, ids, mask)
    return None if relative_error(found[mask], expected) <= tolerance_of(backbone) else "a state differs"


def _padded_parts(
    row: Int[Tensor, " L"], alone: Float[Tensor, "1 L H"]
) -> tuple[Int[Tensor, "B L"], Bool[Tensor, "B L"], Float[Tensor, "N H"]]:
    """The row, and beginnings of it with padding before, behind or on both sides: tokens, mask, states of all real ones."""
    half = len(row) // 2
    spans = [(0, len(row)), (len(row) - half, len(row)), (0, half), (1, half), (2, len(row) - 1)]
    ids = row.repeat(len(spans), 1)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    for i, (start, end) in enumerate(spans):
        ids[i, start:end], mask[i, start:end] = row[: end - start], True
    return ids, mask, torch.cat([alone[0, : end - start] for start, end in spans])


def _stepwise(backbone: Backbone, ids: Int[Tensor, "B L"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L H"]:
    """States of rows whose last tokens are run one by one behind a cache.

    Raises:
        ModelError: If the model returns no cache.
    """
    width = ids.shape[1] - _STEPS
    states, cache = backbone.states(ids[:, :width], mask[:, :width], use_cache=True)
    if cache is None:
        raise ModelError("it returns none")
    parts = [states]
    for end in range(width + 1, ids.shape[1] + 1):
        states, cache = backbone.states(ids[:, end - 1 : end], mask[:, :end], cache=cache, use_cache=True)
        parts.append(states)
    return torch.cat(parts, dim=1)


def _mixes_rows(backbone: Backbone, row: Int[Tensor, " L"], alone: Float[Tensor, "1 L H"]) -> str | None:
    """Say whether a neighbour changes a row.

    Raises:
        ModelError: If later tokens change the states of earlier ones.
    """
    other = row.clone()
    other[-_CHANGED:] = (row[-_CHANGED:] + 17) % backbone.vocabulary_size
    ids = torch.stack([row, other])
    states, _ = backbone.states(ids, torch.ones_like(ids, dtype=torch.bool))
    allowed, before = tolerance_of(backbone), states[:, :-_CHANGED]
    if (error := relative_error(before[1], before[0])) > allowed:
        raise _refusal(
            backbone.lm, f"it is not causal: exchanging a row's last tokens changes the states before by {error:.1e}"
        )
    error = relative_error(states[0], alone[0])
    return None if error <= allowed else f"a neighbour in the batch changes a row's states by {error:.1e} of their norm"


def _minds_padding(backbone: Backbone, row: Int[Tensor, " L"], alone: Float[Tensor, "1 L H"]) -> str | None:
    """Say whether padding before, behind or on both sides of a row changes it."""
    ids, mask, expected = _padded_parts(row, alone)
    states, _ = backbone.states(ids, mask)
    error = relative_error(states[mask], expected)
    if error <= tolerance_of(backbone):
        return None
    return f"padding changes a row's states by {error:.1e} of their norm"


def _loses_cache(backbone: Backbone, row: Int[Tensor, " L"], alone: Float[Tensor, "1 L H"]) -> str | None:
    """Say whether tokens that are run one by one behind a cache differ from those of one forward.

    The second row is padded on the left, as prompts are.
    """
    if backbone.cache_name is None:
        return "it takes none by a known name"
    width, short = len(row) - _STEPS, len(row) // 2 - 1
    ids = torch.stack([row, row.roll(width - short)])
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, : width - short] = False
    found = _stepwise(backbone, ids, mask)
    expected = torch.cat([alone[0], alone[0, : short + _STEPS]])
    error = relative_error(found[mask], expected)
    if error <= tolerance_of(backbone):
        return None
    return f"what is run behind its cache differs from one forward by {error:.1e} of a state's norm"
