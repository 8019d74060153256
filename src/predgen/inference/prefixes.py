"""The instruction with which all prompts of a model start: run once, and kept from call to call."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer

from predgen.engine.backbone import Backbone
from predgen.engine.prompt_pass import SharedPrefix, share_prefix

MIN_SHARED_TOKENS = 16
"""A shorter common beginning costs more to hand around than to run again."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What calls have in common so far, the same as run, and what the model was then; never changed, only replaced."""

    seen: tuple[int, ...]
    prefix: SharedPrefix | None
    made_with: Any


class KeptPrefix:
    """The beginning that the prompts of all calls so far have in common.

    It is run again where a prompt starts otherwise, and where weights, adapters in use or device of the model have changed
    since (weights that are changed in place through `.data`, behind autograd's back, are not noticed). Many threads may use it at once.
    """

    def __init__(self) -> None:
        self._kept = _Kept((), None, None)

    def of(self, backbone: Backbone, prompts: Sequence[Sequence[int]]) -> SharedPrefix | None:
        """Return what the prompts of a call share with each other, and with those of earlier calls.

        Args:
            backbone: Runs it, where it is not at hand.
            prompts: Token ids of each prompt.

        Returns:
            The beginning, at least one token shorter than every prompt; None where it is too short, or where a single
            prompt is the first that is seen.
        """
        if not prompts:
            return None
        # What other threads keep meanwhile must not come back from here: all is read once, and written in one step.
        before, made_with = self._kept, _state_of(backbone)
        kept = before.prefix if before.made_with == made_with else None
        if kept is not None and all(len(p) > len(kept.ids) and tuple(p[: len(kept.ids)]) == kept.ids for p in prompts):
            return kept
        shared = _shared([*prompts, (*before.seen, -1)]) if before.seen else ()
        if len(shared) < MIN_SHARED_TOKENS:  # another instruction than before
            shared = _shared(prompts) if len(prompts) > 1 else ()
        if len(shared) < MIN_SHARED_TOKENS:
            if not before.seen:
                self._kept = _Kept(tuple(prompts[0]), None, None)
            return None
        prefix = share_prefix(backbone, shared)
        self._kept = _Kept(shared, prefix, made_with)
        return prefix


def _shared(prompts: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The common beginning; a token of its own is left to every prompt."""
    first, last = min(map(list, prompts)), max(map(list, prompts))  # all others lie between them
    equal = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return tuple(token for token, _ in equal)[: min(map(len, prompts)) - 1]


def _state_of(backbone: Backbone) -> Any:  # noqa: ANN401
    """What changes with what the model computes: its tensors, autograd's count of changes in place, adapters in use."""
    tensors = [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in backbone.lm.parameters()]
    layers = [layer for layer in backbone.lm.modules() if isinstance(layer, BaseTunerLayer)]
    adapters = [(x.disable_adapters, tuple(x.active_adapters), tuple(x.merged_adapters)) for x in layers]
    return backbone.device, tensors, adapters
