"""Tiny randomly initialised models of several families, for tests that need a real transformers model.

>>> from tiny_models import tiny_model
>>> model = tiny_model("gemma3", vocab_size=100)

All have width 32, 2 layers (1 where they are saved, but for gemma3), context 512, float32, eval mode. Pad is token 0, bos and eos are token 1, whatever the
family: the same ids fit every model, and pad differs from eos, so that a mask taken from the wrong one shows.

What differs, on purpose:
- llama: grouped keys and values, untied output layer.
- gpt2: learned absolute positions (position_ids matter directly), tied output layer, Conv1D instead of Linear.
- gpt_neox: rotary on a quarter of each head, parallel residual, fused query-key-value, untied.
- qwen3: head width given apart from the model's (4 x 16 from 32), query and key norms, tied.
- gemma3: one sliding and one full attention layer, window 16 (longer prompts leave it), scaled embeddings, tied.

Random weights of the usual size make logits almost flat, and flat logits hide mistakes in masks and positions; weights
are therefore drawn with standard deviation 0.2 instead of 0.02.
"""

import json
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertModel,
    BloomConfig,
    BloomForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen3Config,
    Qwen3ForCausalLM,
)

FAMILIES = ("llama", "gpt2", "gpt_neox", "qwen3", "gemma3")
HIDDEN, LAYERS, HEADS, CONTEXT, SLIDING_WINDOW = 32, 2, 4, 512, 16
PAD_ID, END_ID = 0, 1
STD = 0.2

_COMMON = {
    "hidden_size": HIDDEN,
    "intermediate_size": 64,
    "num_attention_heads": HEADS,
    "max_position_embeddings": CONTEXT,
    "initializer_range": STD,
}


def tiny_model(
    name: str, vocab_size: int = 128, seed: int = 0, pad_id: int = PAD_ID, end_id: int = END_ID, layers: int = LAYERS
) -> PreTrainedModel:
    """Build a tiny model of one of `FAMILIES`; the same arguments always give the same weights.

    Torch's global generator is left as it was found.
    """
    ids = {"vocab_size": vocab_size, "pad_token_id": pad_id, "bos_token_id": end_id, "eos_token_id": end_id}
    ids["num_hidden_layers"] = layers
    builders = {"llama": _llama, "gpt2": _gpt2, "gpt_neox": _gpt_neox, "qwen3": _qwen3, "gemma3": _gemma3}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return builders[name](ids).to(torch.float32).eval()


def save_tiny(name: str, folder: Path, tokenizer: PreTrainedTokenizerBase, seed: int = 0, layers: int = 1) -> Path:
    """Write a tiny model and `tokenizer` as an ordinary Hugging Face folder; special ids are the tokenizer's.

    It has one layer: what tests do with folders is train, save and load, whose time goes with the number of modules. That
    layers work together is seen by tests of `tiny_model`. (gemma3 is two kinds of layers.) A tokenizer without pad token gets a model whose pad is eos, as users of GPT-2 have it.
    """
    end_id = tokenizer.eos_token_id
    pad_id = end_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    layers = LAYERS if name == "gemma3" else layers
    tiny_model(name, len(tokenizer), seed, pad_id, end_id, layers).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_first_layer(source: Path, folder: Path) -> Path:
    """Write what a trained Llama is with its first layer alone: its tokenizer and embeddings, at a fraction of the time."""
    shutil.copytree(source, folder)
    weights = load_file(source / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if re.match(r"model\.layers\.(?!0\.)", name) is None}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}), encoding="utf-8")
    return folder


def save_bloom(folder: Path, tokenizer: PreTrainedTokenizerBase, seed: int = 0) -> Path:
    """Write a tiny BLOOM, as `save_tiny` does: its ALiBi refuses 4-D masks, so that it cannot run trees."""
    ids = {
        "bos_token_id": tokenizer.eos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = BloomConfig(
        **ids, vocab_size=len(tokenizer), hidden_size=HIDDEN, n_layer=LAYERS, n_head=HEADS, initializer_range=STD
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BloomForCausalLM(config).to(torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_bert(folder: Path, tokenizer: PreTrainedTokenizerBase, seed: int = 0) -> Path:
    """Write a tiny BERT without a pooling layer, as sentence encoders have it."""
    sizes = {"hidden_size": 16, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": 32}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertModel(BertConfig(vocab_size=len(tokenizer), **sizes), add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _llama(ids: dict[str, int]) -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**_COMMON, **ids, num_key_value_heads=2, tie_word_embeddings=False))


def _gpt2(ids: dict[str, int]) -> PreTrainedModel:
    ids = {"n_layer" if name == "num_hidden_layers" else name: value for name, value in ids.items()}
    sizes = {"n_embd": HIDDEN, "n_head": HEADS, "n_positions": CONTEXT}
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(**sizes, **dropout, **ids, initializer_range=STD))


def _gpt_neox(ids: dict[str, int]) -> PreTrainedModel:
    return GPTNeoXForCausalLM(GPTNeoXConfig(**_COMMON, **ids, tie_word_embeddings=False))


def _qwen3(ids: dict[str, int]) -> PreTrainedModel:
    return Qwen3ForCausalLM(Qwen3Config(**_COMMON, **ids, num_key_value_heads=2, head_dim=16, tie_word_embeddings=True))


def _gemma3(ids: dict[str, int]) -> PreTrainedModel:
    config = Gemma3TextConfig(
        **_COMMON,
        **ids,
        num_key_value_heads=2,
        head_dim=8,
        query_pre_attn_scalar=8,
        sliding_window=SLIDING_WINDOW,
        layer_types=["sliding_attention", "full_attention"],
    )
    return Gemma3ForCausalLM(config)
