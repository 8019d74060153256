"""Tiny models of architectures beyond `tiny_models.FAMILIES`: those that can run trees, and those that cannot."""

from collections.abc import Callable
from typing import Any

import torch
import transformers as hf

from tiny_models import CONTEXT, END_ID, HEADS, HIDDEN, LAYERS, PAD_ID, SLIDING_WINDOW, STD

LONG_FROM = 24  # tokens from which on rotary embeddings of kinds "longrope" and "dynamic" take other frequencies
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


def _mamba_config(kind: type[hf.PretrainedConfig]) -> hf.PretrainedConfig:
    return kind(**_IDS, hidden_size=HIDDEN, num_hidden_layers=LAYERS, state_size=8, initializer_range=STD)


def _mamba() -> hf.PreTrainedModel:
    return hf.MambaForCausalLM(_mamba_config(hf.MambaConfig))


def _mamba2() -> hf.PreTrainedModel:
    sizes = {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "state_size": 8, "num_heads": 8, "head_dim": 8}
    return hf.Mamba2ForCausalLM(hf.Mamba2Config(**_IDS, **sizes, n_groups=2, chunk_size=8, initializer_range=STD))


def _falcon_mamba() -> hf.PreTrainedModel:
    return hf.FalconMambaForCausalLM(_mamba_config(hf.FalconMambaConfig))


def _rwkv() -> hf.PreTrainedModel:
    sizes = {"hidden_size": HIDDEN, "attention_hidden_size": HIDDEN, "num_hidden_layers": LAYERS}
    return hf.RwkvForCausalLM(hf.RwkvConfig(**_IDS, **sizes, intermediate_size=64, context_length=CONTEXT))


def _recurrent_gemma() -> hf.PreTrainedModel:
    sizes = {"hidden_size": HIDDEN, "num_hidden_layers": 3, "num_attention_heads": HEADS, "num_key_value_heads": 2}
    sizes |= {"lru_width": HIDDEN, "intermediate_size": 64, "head_dim": 8, "attention_window_size": SLIDING_WINDOW}
    return hf.RecurrentGemmaForCausalLM(hf.RecurrentGemmaConfig(**_IDS, **sizes, initializer_range=STD))


def _xlstm() -> hf.PreTrainedModel:
    sizes = {"hidden_size": HIDDEN, "embedding_dim": HIDDEN, "num_heads": HEADS, "num_blocks": LAYERS, "chunk_size": 8}
    return hf.xLSTMForCausalLM(hf.xLSTMConfig(**_IDS, **sizes, autocast_kernel_dtype="float32"))


def _jamba() -> hf.PreTrainedModel:
    sizes = {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8, "mamba_dt_rank": 4, "num_experts": 4}
    return hf.JambaForCausalLM(hf.JambaConfig(**_LLAMA_LIKE, **sizes, use_mamba_kernels=False))


def _llama4() -> hf.PreTrainedModel:
    sizes = {"head_dim": 8, "intermediate_size_mlp": 64, "num_local_experts": 4, "attention_chunk_size": 16}
    return hf.Llama4ForCausalLM(hf.Llama4TextConfig(**_LLAMA_LIKE, **sizes))


def _xlnet() -> hf.PreTrainedModel:
    return hf.XLNetLMHeadModel(hf.XLNetConfig(**_IDS, d_model=HIDDEN, n_layer=LAYERS, n_head=HEADS, d_inner=64))


def _bert() -> hf.PreTrainedModel:
    return hf.BertGenerationDecoder(hf.BertGenerationConfig(**_IDS, **_SIZES, intermediate_size=64))


def _phi3_long() -> hf.PreTrainedModel:
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
    sizes = {**_LLAMA_LIKE, "rope_parameters": rope, "original_max_position_embeddings": LONG_FROM}
    return hf.Phi3ForCausalLM(hf.Phi3Config(**sizes))


def _llama_dynamic() -> hf.PreTrainedModel:
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}
    sizes = {**_LLAMA_LIKE, "max_position_embeddings": LONG_FROM, "rope_parameters": rope}
    return hf.LlamaForCausalLM(hf.LlamaConfig(**sizes))


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
# Their recurrent states, convolutions or caches want something else than attention does.
RECURRENT: dict[str, Callable[[], Any]] = {
    "mamba": _mamba,
    "mamba2": _mamba2,
    "falcon_mamba": _falcon_mamba,
    "rwkv": _rwkv,
    "recurrent_gemma": _recurrent_gemma,
    "jamba": _jamba,
    "lfm2_convolutions": _lfm2,
}
NOT_CAUSAL: dict[str, Callable[[], Any]] = {"xlnet": _xlnet, "bert-generation": _bert}
LONG: dict[str, Callable[[], Any]] = {"phi3_long": _phi3_long, "llama_dynamic": _llama_dynamic}
OTHERS = {**CAPABLE, **INCAPABLE, **RECURRENT, **NOT_CAUSAL, **LONG, "llama4": _llama4, "xlstm": _xlstm}


def other_model(name: str, seed: int = 0) -> hf.PreTrainedModel:
    """Build one of `OTHERS`, in float32 and eval mode; torch's generator is left as it was found."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return OTHERS[name]().to(torch.float32).eval()
