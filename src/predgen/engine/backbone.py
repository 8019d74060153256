"""A causal language model seen as two functions: tokens -> last hidden states, and states -> vocabulary logits."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from predgen.errors import ModelError, NotFiniteError

_MASKED = ("sdpa", "eager")  # attention implementations that take any 4-D mask
_CACHES = ("past_key_values", "cache_params", "state")  # by what name decoders take their cache, and return it
_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")  # by what name models cap their logits
_LARGE = 100.0  # a logit beyond every soft cap in use (15 to 50)


def positions_of(mask: Bool[Tensor, "B L"]) -> Int[Tensor, "B L"]:
    """Position of every token counted from its row's first real token; 0 under padding."""
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)


def seen_by_rows(mask: Bool[Tensor, "B S"], n_queries: int) -> Bool[Tensor, "B L S"]:
    """What the last tokens of rows see of them: the real ones up to their own column.

    Padding sees itself: a softmax over nothing is not a number, and would spread through a cache.

    Args:
        mask: True for real tokens.
        n_queries: How many columns at the end are asked about, L.
    """
    columns = torch.arange(mask.shape[1], device=mask.device)
    own = columns[mask.shape[1] - n_queries :, None]
    return (columns <= own) & mask[:, None] | (columns == own)


@contextmanager
def eval_state(module: nn.Module) -> Iterator[None]:
    """Put a module into eval state, and afterwards every submodule back into the state in which it was found."""
    was_training = [part for part in module.modules() if part.training]
    if was_training:  # telling hundreds of modules what they know costs more than a small forward
        module.eval()
    try:
        yield
    finally:
        for part in was_training:
            part.training = True


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a base model cannot do, each with the reason; None: it can. `engine.abilities` finds it out.

    Attributes:
        batch: Rows change each other: each is run alone.
        padding: Rows change with the padding beside them: only rows of equal length are run together, without padding.
        cache: It cannot go on from a cache: all that has been written is run again with every token.
        tree: It cannot run all answers in one pass.
        copies: Nor level by level, on copies of its cache; asked only of models that run no tree.
        gradients: Gradients do not pass through such copies; asked only where copies are right.
    """

    batch: str | None = None
    padding: str | None = None
    cache: str | None = None
    tree: str | None = None
    copies: str | None = None
    gradients: str | None = None

    @property
    def by_level(self) -> bool:
        """Whether answers are run level by level, in place of a tree."""
        return self.tree is not None and self.detour is None and self.copies is None

    @property
    def detour(self) -> str | None:
        """How rows are run where it is not all in one batch, on a cache; with the reason."""
        if self.batch is not None:
            return f"rows are run one by one, without a cache: {self.batch}"
        if self.padding is not None:
            return f"only rows of equal length are run together, without a cache: {self.padding}"
        return None if self.cache is None else f"no cache is used: {self.cache}"


@dataclass(frozen=True, slots=True)
class Replay:
    """Stands in for a cache that a model has not, or that is wrong: the tokens to run again with those that follow."""

    ids: Int[Tensor, "B S"]


class Backbone:
    """Any `AutoModelForCausalLM`, adapters included, split before its output embeddings.

    Splitting lets callers read the states a director needs, and pay for vocabulary logits only where they are used.
    The model's own logits are the test: `check` compares them once per model.

    Args:
        lm: A causal language model of transformers (inside a `PeftModel`: its `get_base_model()`).
        abilities: What it cannot do: `states` then takes the detour that is right for it. The default trusts the model.

    Attributes:
        context: Most positions at which a token's state depends on nothing but the row up to it; None: no limit is known.
        limit: Why `context` is less than what the model declares, where it is.
        takes_positions: Whether positions can be given to the model.
        layer_types: Kinds of attention layers, each once, where the model's configuration names them.
        window: Width of sliding attention, in tokens; None: every layer sees everything.
    """

    def __init__(self, lm: Any, abilities: Abilities | None = None) -> None:  # noqa: ANN401  (models are untyped)
        self.lm = lm
        self.abilities = abilities or Abilities()
        self.decoder: nn.Module = _decoder_of(lm)
        self.hidden_size: int = lm.config.get_text_config().hidden_size
        self.vocabulary_size: int = lm.get_output_embeddings().weight.shape[0]
        config = lm.config.get_text_config()
        declared: int | None = getattr(config, "max_position_embeddings", None)
        switch = rope_switch(config)
        self.context = declared if switch is None else min(switch, declared or switch)
        self.limit: str | None = None
        if declared is not None and self.context is not None and self.context < declared:
            self.limit = (
                f"rows are kept within {self.context} of {declared} tokens, beyond which the base model's rotary embedding"
                " turns all positions of a batch by other frequencies"
            )
        parameters = inspect.signature(self.decoder.forward).parameters
        self.takes_positions = "position_ids" in parameters
        self.cache_name: str | None = next((name for name in _CACHES if name in parameters), None)
        self.layer_types: tuple[str, ...] = tuple(dict.fromkeys(getattr(config, "layer_types", None) or ()))
        slides = "sliding_attention" in self.layer_types if self.layer_types else True
        self.window: int | None = getattr(config, "sliding_window", None) if slides else None

    @property
    def device(self) -> torch.device:
        """Where token ids have to be."""
        device: torch.device = self.lm.get_input_embeddings().weight.device
        return device

    def states(
        self,
        ids: Int[Tensor, "B L"],
        mask: Bool[Tensor, "B S"],
        *,
        cache: Any = None,  # noqa: ANN401
        use_cache: bool = False,
    ) -> tuple[Float[Tensor, "B L H"], Any]:
        """Return the last hidden states after the final norm, and the grown cache.

        Args:
            ids: The tokens to run.
            mask: True for real tokens among those in the cache and `ids` together, S = cached + L.
            cache: What an earlier call returned, or an empty one; it is changed in place, unless it is a `Replay`.
            use_cache: Whether to return a cache although none was given: the model then makes one of its own kind.
        """
        is_replayed = isinstance(cache, Replay) or (cache is None and self.abilities.detour is not None)
        if is_replayed:
            return self._replayed(ids, mask, cache, keeps=use_cache or cache is not None)
        slides = self.window is not None and self.can_continue and self.abilities.tree is None
        if slides and _keeps_all(cache) and _has_gaps(mask):
            return self._run_by_position(ids, mask, cache), cache
        return self._run(ids, mask, cache, use_cache=use_cache or cache is not None)

    def _run(
        self,
        ids: Int[Tensor, "B L"],
        mask: Bool[Tensor, "B S"],
        cache: Any = None,  # noqa: ANN401
        *,
        use_cache: bool = False,
    ) -> tuple[Float[Tensor, "B L H"], Any]:
        """One forward; the cache goes in and out by the name that the model has for it."""
        extra: dict[str, Any] = {}
        if self.takes_positions:
            extra["position_ids"] = positions_of(mask)[:, -ids.shape[1] :]
        if self.cache_name is not None:
            extra |= {self.cache_name: cache, "use_cache": use_cache}
        if self.cache_name != "past_key_values":  # recurrent throughout: what lies behind is a state, without columns
            mask = mask[:, -ids.shape[1] :]
        output = self.decoder(input_ids=ids, attention_mask=mask.long(), return_dict=True, **extra)
        kept = getattr(output, self.cache_name, None) if use_cache and self.cache_name is not None else None
        return output.last_hidden_state, kept

    def _run_by_position(
        self,
        ids: Int[Tensor, "B L"],
        mask: Bool[Tensor, "B S"],
        cache: Any,  # noqa: ANN401
    ) -> Float[Tensor, "B L H"]:
        """One forward of rows in which padding stands between tokens, for layers that slide.

        The model's own sliding masks count columns, so that a window behind padding would be narrower than it is; these
        count positions.
        """
        positions, new = positions_of(mask), ids.shape[1]
        return self.masked_states(ids, positions[:, -new:], seen_by_rows(mask, new), positions, cache=cache)

    def _replayed(
        self,
        ids: Int[Tensor, "B L"],
        mask: Bool[Tensor, "B S"],
        before: Replay | None,
        *,
        keeps: bool,
    ) -> tuple[Float[Tensor, "B L H"], Replay | None]:
        """The detour: run everything from the start, rows that may not share a batch apart."""
        whole = ids if before is None else torch.cat([before.ids, ids], dim=1)
        is_apart = self.abilities.batch is not None or self.abilities.padding is not None
        states = self._apart(whole, mask) if is_apart else self._run(whole, mask)[0]
        return states[:, whole.shape[1] - ids.shape[1] :], Replay(whole) if keeps else None

    def _apart(self, ids: Int[Tensor, "B S"], mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B S H"]:
        """States of rows that are run without any padding, those of equal length together; 0 where there is padding."""
        lengths = mask.sum(dim=1)
        keys = lengths if self.abilities.batch is None else torch.arange(len(ids), device=ids.device)
        places = torch.arange(mask.numel(), device=ids.device).view(mask.shape)
        found, at = [], []
        for key in sorted({*keys.tolist()}):
            rows = (keys == key) & (lengths > 0)
            if rows.any():
                real = mask[rows]
                packed = ids[rows][real].view(len(real), -1)
                found.append(self._run(packed, torch.ones_like(packed, dtype=torch.bool))[0].flatten(0, 1))
                at.append(places[rows][real])
        states = torch.cat(found)
        flat = states.new_zeros(mask.numel(), states.shape[1]).index_copy(0, torch.cat(at), states)
        return flat.view(*mask.shape, -1)

    def masked_states(
        self,
        ids: Int[Tensor, "B L"],
        positions: Int[Tensor, "B L"],
        visible: Bool[Tensor, "B L S"],
        key_positions: Int[Tensor, "B S"],
        *,
        cache: Any = None,  # noqa: ANN401
    ) -> Float[Tensor, "B L H"]:
        """Return the last hidden states of tokens that see what `visible` says, in whatever order they stand.

        Args:
            ids: The tokens to run.
            positions: Their positions, counted from each row's first real token.
            visible: True where a token may look at a key, among those in the cache and `ids` together.
            key_positions: Positions of all keys; sliding layers hide those further back than their window.
            cache: Keys and values of earlier tokens, all of them kept (`full_cache`); it is changed in place.
        """
        with self._any_mask():
            output = self.decoder(
                input_ids=ids,
                attention_mask=self._masks(visible, positions, key_positions),
                position_ids=positions,
                past_key_values=cache,
                use_cache=cache is not None,
                return_dict=True,
            )
        states: Tensor = output.last_hidden_state
        return states

    def _masks(self, visible: Tensor, positions: Tensor, key_positions: Tensor) -> Any:  # noqa: ANN401
        """The 4-D mask, or one for each kind of layer where the model tells them apart."""
        full = self._mask(visible)
        if self.window is None:
            return dict.fromkeys(self.layer_types, full) if self.layer_types else full
        sliding = self._mask(visible & (positions[:, :, None] - key_positions[:, None] < self.window))
        if not self.layer_types:
            return sliding
        return {kind: sliding if kind == "sliding_attention" else full for kind in self.layer_types}

    def _mask(self, visible: Bool[Tensor, "B L S"]) -> Tensor:
        """True where visible; eager attention adds its mask instead."""
        if self.lm.config.get_text_config()._attn_implementation != "eager":
            return visible[:, None]
        dtype = self.lm.get_input_embeddings().weight.dtype
        return torch.zeros_like(visible, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)[:, None]

    @property
    def takes_any_mask(self) -> bool:
        """Whether the attention in use can be given a mask with gaps."""
        return self.lm.config.get_text_config()._attn_implementation in _MASKED

    @property
    def can_continue(self) -> bool:
        """Whether padding may stand between tokens, as it does behind a prefix shared by rows of unequal length."""
        return self.takes_positions and self.takes_any_mask

    @contextmanager
    def _any_mask(self) -> Iterator[None]:
        """Use torch's attention where the one in use (flash attention) takes no 4-D masks."""
        config = self.lm.config.get_text_config()
        usual = config._attn_implementation
        config._attn_implementation = usual if self.takes_any_mask else "sdpa"
        try:
            yield
        finally:
            config._attn_implementation = usual

    @property
    def drops_caches(self) -> bool:
        """Whether activation checkpointing is at work, under which transformers keeps no cache."""
        return any(getattr(part, "gradient_checkpointing", False) and part.training for part in self.decoder.modules())

    @property
    def runs_levels(self) -> bool:
        """Whether answers are run level by level on copies of the prompts' cache, now: with gradient where it is enabled."""
        has_gradients = not torch.is_grad_enabled() or self.abilities.gradients is None
        return self.abilities.by_level and has_gradients and not self.drops_caches

    def logits(self, states: Float[Tensor, "... H"]) -> Float[Tensor, "... V"]:
        """Vocabulary logits of states, in float32, with the architecture's own scaling and soft cap."""
        head = self.lm.get_output_embeddings()
        return self._scaled(head(states.to(head.weight.dtype)))

    def logits_of(self, states: Float[Tensor, "... H"], tokens: Int[Tensor, " U"]) -> Float[Tensor, "... U"]:
        """Vocabulary logits of some tokens alone: only their rows of the output embedding are multiplied."""
        head = self.lm.get_output_embeddings()
        if type(head) is not nn.Linear:  # wrapped or quantised: its rows cannot be taken out
            return self.logits(states)[..., tokens]
        bias = None if head.bias is None else head.bias[tokens]
        return self._scaled(functional.linear(states.to(head.weight.dtype), head.weight[tokens], bias))

    def _scaled(self, logits: Tensor) -> Tensor:
        """Scaling and soft cap of the architecture, in float32."""
        config = self.lm.config.get_text_config()
        scale = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
        scaled = logits.float() * scale
        cap = next((cap for name in _CAPS if (cap := getattr(config, name, None))), None)
        return finite(torch.tanh(scaled / cap) * cap if cap else scaled)

    @torch.no_grad()
    def check(self, row: Int[Tensor, " L"]) -> Float[Tensor, "1 L H"]:
        """Return the states of a row, having made sure that `logits` of them are the model's own, however large.

        The later half of the states is enlarged on its way to the output embedding, in the model as here: a soft cap
        bends small logits, such as untrained models have, by less than rounding may differ.

        Raises:
            ModelError: If they differ; such an architecture transforms its states or logits in a way unknown here.
        """
        mask, head = torch.ones_like(row, dtype=torch.bool)[None], self.lm.get_output_embeddings()
        with eval_state(self.lm):
            states, _ = self.states(row[None], mask)
            factors = torch.ones_like(states[..., :1])
            factors[:, len(row) // 2 :] = max(1.0, _LARGE / max(float(head(states).abs().max()), 1e-3))
            with _scaled_input(head, factors):
                own = self.lm(input_ids=row[None], attention_mask=mask.long(), use_cache=False).logits.float()
            ours = self.logits(states * factors)
        if own.shape != ours.shape or not torch.allclose(own, ours, atol=1e-3, rtol=1e-2):
            raise ModelError(
                f"{type(self.lm).__name__} computes its logits in a way predgen does not know: they are not its output"
                " embedding applied to its last hidden state. Use another base model, or report the architecture."
            )
        return states


@contextmanager
def _scaled_input(head: nn.Module, factors: Float[Tensor, "1 L 1"]) -> Iterator[None]:
    """Multiply the states that an output embedding is given by a factor for each position."""
    hook = head.register_forward_pre_hook(lambda _, given: (given[0] * factors, *given[1:]))
    try:
        yield
    finally:
        hook.remove()


_MAKES_ANSWERS: ContextVar[bool] = ContextVar("_MAKES_ANSWERS", default=False)


@contextmanager
def answers_only_from_finite_scores() -> Iterator[None]:
    """Within it, `finite` looks; training does without, for it watches its loss and says which step it was."""
    before = _MAKES_ANSWERS.set(True)
    try:
        yield
    finally:
        _MAKES_ANSWERS.reset(before)


def finite(scores: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return scores from which an answer may be made: the largest of others is some index, and would pass for one.

    Raises:
        NotFiniteError: If one is nan or infinite, where answers are made.
    """
    if _MAKES_ANSWERS.get() and not torch.isfinite(scores).all():
        raise NotFiniteError(
            "the model's scores are not finite (nan or infinity), so it has no answer: numbers inside it exceed their type."
            " Load it in another `dtype` (bfloat16 or float32), or train it anew with a lower `learning_rate`."
        )
    return scores


def _decoder_of(lm: Any) -> nn.Module:  # noqa: ANN401
    """The model without its output embeddings: its `base_model`, or the only model in it where that names another part."""
    if lm.base_model is not lm:
        found: nn.Module = lm.base_model
        return found
    return next((part for part in lm.children() if isinstance(part, PreTrainedModel)), lm)  # Llama 4


def rope_switch(config: Any) -> int | None:  # noqa: ANN401
    """Length beyond which a rotary embedding takes other frequencies for all positions; None: it never does.

    The kinds "longrope" and "dynamic" choose them by the longest row of a batch, so that the states of a row depend on
    its neighbours ("dynamic": on earlier batches, too), and those of early tokens on how many follow.

    Args:
        config: Text configuration of a model; its rope parameters may be given by kind of layer.
    """
    parameters = getattr(config, "rope_parameters", None) or {}
    kinds = [kind for kind in parameters.values() if isinstance(kind, Mapping)] or [parameters]
    ends = []
    for kind in kinds:
        name = kind.get("rope_type", "default")
        if name == "longrope" or "dynamic" in name:
            end = kind.get("original_max_position_embeddings") if name == "longrope" else None
            ends.append(end or getattr(config, "max_position_embeddings", None))
    return min((end for end in ends if end is not None), default=None)


def _keeps_all(cache: Any) -> bool:  # noqa: ANN401
    """Whether this is a cache that has every key in every layer, as `full_cache` makes them."""
    return isinstance(cache, DynamicCache) and all(type(layer) is DynamicLayer for layer in cache.layers)


def _has_gaps(mask: Bool[Tensor, "B S"]) -> bool:
    """Whether padding stands anywhere behind a real token."""
    return bool((mask[:, :-1] & ~mask[:, 1:]).any())


def full_cache(layers: Iterable[tuple[Tensor | None, Tensor | None]] = ()) -> DynamicCache:
    """A cache that keeps every key, in sliding layers too; given (keys, values) of each layer are taken, not copied."""
    cache = DynamicCache()
    for keys, values in layers:
        layer = DynamicLayer()
        if keys is not None and values is not None:
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = keys, values
        cache.layers.append(layer)
    return cache
