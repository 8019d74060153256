"""GGUF files for tests: the embedded model written as llama.cpp's converter would, and small ones made of nothing."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFWriter, LlamaFileType
from transformers import AutoModelForCausalLM, AutoTokenizer

from predgen.bases.find import EMBEDDED, find_base

_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_WHOLE = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}


def name_in_gguf(name: str) -> str:
    """A tensor's name as llama.cpp has it."""
    if name in _WHOLE:
        return _WHOLE[name]
    _, _, layer, *part = name.split(".")
    return f"blk.{layer}.{_NAMES['.'.join(part[:-1])]}.weight"


def permuted(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows in llama.cpp's order: it rotates neighbours, transformers halves.

    Args:
        weight: [heads * width, H].
        heads: Number of heads.
    """
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


@cache
def _contents(folder: Path) -> tuple[dict[str, torch.Tensor], object, dict[str, object]]:
    """Weights, configuration and tokenizer.json of the embedded model."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.state_dict(), model.config, json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))


def write_embedded(path: Path, *, leave_out: str = "", context: int | None = None) -> Path:
    """Write the embedded model as a GGUF file with float16 matrices.

    Args:
        path: The file.
        leave_out: Name of a tensor that is left out.
        context: Context length that it claims; None: the true one.
    """
    weights, config, tokenizer = _contents(find_base(EMBEDDED))
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(context or config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    vocabulary = tokenizer["model"]["vocab"]
    tokens = {**vocabulary, **{t["content"]: t["id"] for t in tokenizer["added_tokens"]}}
    special = {t["id"] for t in tokenizer["added_tokens"]}
    names = sorted(tokens, key=tokens.__getitem__)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(names)
    writer.add_token_types([3 if i in special else 1 for i in range(len(names))])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    for name, weight in weights.items():
        if name == "lm_head.weight":
            continue
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        part = name.split(".")[-2]
        stored = permuted(weight, heads[part]) if part in heads else weight
        kind = np.float16 if stored.ndim > 1 else np.float32
        if (written := name_in_gguf(name)) != leave_out:
            writer.add_tensor(written, stored.numpy().astype(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_small(path: Path, architecture: str = "llama", **values: int) -> Path:
    """Write a GGUF file with a header and one tensor of 64 numbers.

    Args:
        path: The file.
        architecture: What it says to be.
        values: Whole numbers by their keys below the architecture's.
    """
    writer = GGUFWriter(path, architecture)
    for key, value in values.items():
        writer.add_uint64(f"{architecture}.{key}", value)
    writer.add_token_list(["a", "b", "c"])
    writer.add_tensor("token_embd.weight", np.zeros((8, 8), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def embedded_tokenizer() -> object:
    """The embedded model's own tokenizer."""
    return AutoTokenizer.from_pretrained(find_base(EMBEDDED))
