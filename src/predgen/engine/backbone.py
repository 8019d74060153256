"""A causal language model seen as two functions: tokens -> last hidden states, and states -> vocabulary logits."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from predgen.errors import ModelError


def positions_of(mask: Bool[Tensor, "B L"]) -> Int[Tensor, "B L"]:
    """Position of every token counted from its row's first real token; 0 under padding."""
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)


@contextmanager
def eval_state(module: nn.Module) -> Iterator[None]:
    """Put a module into eval state, and afterwards every submodule back into the state in which it was found."""
    was_training = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in was_training:
            part.training = training


class Backbone:
    """Any `AutoModelForCausalLM`, adapters included, split before its output embeddings.

    Splitting lets callers read the states a director needs, and pay for vocabulary logits only where they are used.
    The model's own logits are the test: `check` compares them once per model.

    Args:
        lm: A causal language model of transformers (inside a `PeftModel`: its `get_base_model()`).
    """

    def __init__(self, lm: Any) -> None:  # noqa: ANN401  (transformers models are untyped)
        self.lm = lm
        self.decoder: nn.Module = lm.base_model
        self.hidden_size: int = lm.config.get_text_config().hidden_size
        self.vocabulary_size: int = lm.get_output_embeddings().weight.shape[0]
        self.context: int | None = getattr(lm.config.get_text_config(), "max_position_embeddings", None)
        self._takes_positions = "position_ids" in inspect.signature(self.decoder.forward).parameters

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
            cache: What an earlier call returned; it is changed in place.
            use_cache: Whether to return a cache.
        """
        extra = {"position_ids": positions_of(mask)[:, -ids.shape[1] :]} if self._takes_positions else {}
        output = self.decoder(
            input_ids=ids,
            attention_mask=mask.long(),
            past_key_values=cache,
            use_cache=use_cache,
            return_dict=True,
            **extra,
        )
        return output.last_hidden_state, getattr(output, "past_key_values", None)

    def logits(self, states: Float[Tensor, "... H"]) -> Float[Tensor, "... V"]:
        """Vocabulary logits of states, in float32, with the architecture's own scaling and soft cap."""
        config = self.lm.config.get_text_config()
        head = self.lm.get_output_embeddings()
        logits: Tensor = head(states.to(head.weight.dtype)).float()
        logits = (
            logits * (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
        )
        cap = getattr(config, "final_logit_softcapping", None)
        return torch.tanh(logits / cap) * cap if cap else logits

    @torch.no_grad()
    def check(self) -> None:
        """Make sure that `logits(states(x))` are the model's own logits.

        Raises:
            ModelError: If they differ; such an architecture transforms its states or logits in a way unknown here.
        """
        ids = torch.arange(2, 8, device=self.device)[None] % self.vocabulary_size
        mask = torch.ones_like(ids, dtype=torch.bool)
        with eval_state(self.lm):
            own = self.lm(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits.float()
            ours = self.logits(self.states(ids, mask)[0])
        if own.shape != ours.shape or not torch.allclose(own, ours, atol=1e-3, rtol=1e-2):
            raise ModelError(
                f"{type(self.lm).__name__} computes its logits in a way predgen does not know: they are not its output"
                " embedding applied to its last hidden state. Use another base model, or report the architecture."
            )
