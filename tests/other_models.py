"""Tiny models of architectures beyond `tiny_models.FAMILIES`: those that can run trees, and those that cannot."""

from collections.abc import Callable
from typing import Any

import torch
import transformers as hf

from tiny_models import CONTEXT, END_ID, HEADS, HIDDEN, LAYERS, PAD_ID, SLIDING_WINDOW, STD

_IDS = {"vocab_size": 128, "pad_token_id": PAD_ID, "bos_token_id": END_ID, "eos_token_id": END_ID}
_SIZES = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": CONTEXT,
    "initializer_range": STD,
}
_LLAMA_LIKE = {**_IDS, **_SIZES, "intermediate_size": 64, "num_key_value_heads": 2}


def _mistral(window: int | None) -> hf.PreTrainedModel:
    return hf.MistralForCausalLM(hf.MistralConfig(**_LLAMA_LIKE, head_dim=8, sliding_window=window))


def _phi3() -> hf.PreTrainedModel:
    rope = {"original_max_position_embeddings": CONTEXT}
    return hf.Phi3ForCausalLM(hf.Phi3Config(**_LLAMA_LIKE, **rope, sliding_window=SLIDING_WINDOW))


def _opt() -> hf.PreTrainedModel:
    sizes = {"word_embed_proj_dim": HIDDEN, "ffn_dim": 64, "dropout": 0.0, "init_std": STD}
    return hf.OPTForCausalLM(hf.OPTConfig(**_IDS, **_SIZES, **sizes))


def _gemma2() -> hf.PreTrainedModel:
    sizes = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": SLIDING_WINDOW}
    layers = ["sliding_attention", "full_attention"]
    return hf.Gemma2ForCausalLM(hf.Gemma2Config(**_LLAMA_LIKE, **sizes, layer_types=layers))


def _gpt_neo() -> hf.PreTrainedModel:
    sizes = {"hidden_size": HIDDEN, "num_layers": LAYERS, "num_heads": HEADS, "max_position_embeddings": CONTEXT}
    layers = [[["global", "local"], 1]]
    config = hf.GPTNeoConfig(**_IDS, **sizes, attention_types=layers, window_size=4, initializer_range=STD)
    return hf.GPTNeoForCausalLM(config)


def _bloom() -> hf.PreTrainedModel:
    return hf.BloomForCausalLM(hf.BloomConfig(**_IDS, hidden_size=HIDDEN, n_layer=LAYERS, n_head=HEADS))


def _falcon() -> hf.PreTrainedModel:
    sizes = {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    return hf.FalconForCausalLM(hf.FalconConfig(**_IDS, **sizes, alibi=True))


def _mamba() -> hf.PreTrainedModel:
    return hf.MambaForCausalLM(hf.MambaConfig(**_IDS, hidden_size=HIDDEN, num_hidden_layers=LAYERS, state_size=8))


def _lfm2() -> hf.PreTrainedModel:
    return hf.Lfm2ForCausalLM(hf.Lfm2Config(**_LLAMA_LIKE, layer_types=["conv", "full_attention"]))


CAPABLE: dict[str, Callable[[], Any]] = {
    "mistral": lambda: _mistral(None),
    "mistral_sliding": lambda: _mistral(SLIDING_WINDOW),
    "phi3_sliding": _phi3,
    "opt": _opt,
    "gemma2": _gemma2,
}
INCAPABLE: dict[str, Callable[[], Any]] = {
    "bloom": _bloom,
    "falcon_alibi": _falcon,
    "mamba": _mamba,
    "gpt_neo_local": _gpt_neo,
    "lfm2_convolutions": _lfm2,
}


def other_model(name: str, seed: int = 0) -> hf.PreTrainedModel:
    """Build one of `CAPABLE` or `INCAPABLE`, in float32 and eval mode; torch's generator is left as it was found."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {**CAPABLE, **INCAPABLE}[name]().to(torch.float32).eval()
