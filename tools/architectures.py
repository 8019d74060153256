"""Hold predictions on tiny random models of many architectures against scoring answer by answer; write what was found.

    python tools/architectures.py              # all of them, into docs/architectures.json
    python tools/architectures.py llama mamba  # print what is found for some

`tools/make_docs.py` makes the table of docs/methods.md from that file. A model has a few thousand weights; which path it
takes, and what is refused, is decided by the checks that every base model goes through when it is loaded.
"""

import argparse
import json
import logging
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from predgen.codecs.trie import Trie
from predgen.engine.abilities import abilities_of
from predgen.engine.answer_tree import AnswerTree
from predgen.engine.backbone import Backbone
from predgen.engine.node_pass import start_pass
from predgen.engine.scores import AnswerScores
from predgen.engine.sequential import write
from predgen.errors import ModelError

FOUND = Path(__file__).parent.parent / "docs" / "architectures.json"

STOP = 1
# What a configuration calls its sizes differs; those that it has are set.
SIZES: dict[str, Any] = {
    **{"vocab_size": 128, "pad_token_id": 0, "bos_token_id": STOP, "eos_token_id": STOP, "initializer_range": 0.2},
    **dict.fromkeys(["hidden_size", "n_embd", "d_model", "attention_hidden_size", "lru_width"], 32),
    **dict.fromkeys(["num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers"], 2),
    **dict.fromkeys(["num_attention_heads", "n_head", "n_heads", "num_heads"], 4),
    **dict.fromkeys(["decoder_attention_heads", "encoder_attention_heads"], 4),
    **dict.fromkeys(["intermediate_size", "ffn_dim", "decoder_ffn_dim", "encoder_ffn_dim"], 64),
    **dict.fromkeys(["max_position_embeddings", "n_positions", "n_ctx"], 512),
    **dict.fromkeys(["num_experts", "num_local_experts", "n_routed_experts"], 4),
    **dict.fromkeys(["moe_intermediate_size", "shared_expert_intermediate_size", "q_lora_rank", "kv_lora_rank"], 16),
    **dict.fromkeys(["head_dim", "kv_channels", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "state_size"], 8),
    **dict.fromkeys(["mamba_d_state", "mamba_n_heads", "mamba_d_head"], 8),
    **{"num_key_value_heads": 2, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "rotary_dim": 4},
    **{"sliding_window": 16, "mamba_expand": 2, "mamba_d_conv": 4, "num_memory_blocks": 1, "first_k_dense_replace": 1},
}
_DROPPED = object()  # a size that this configuration has, but does not let one set
# Model type, or what the table calls a variant of it -> the type, and what it wants besides or instead.
_LATENT = {"head_dim": _DROPPED, "num_key_value_heads": 4}  # of attention with latent keys, which all heads share
_MIXED = ["linear_attention", "full_attention"]
_DELTA = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
_LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        name: (name, _LATENT)
        for name in ("axk1", "deepseek_v2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite", "minicpm3", "youtu")
    },
    "bailing_hybrid": ("bailing_hybrid", {"layer_types": _MIXED, "num_key_value_heads": 4}),
    "bamba": ("bamba", {"attn_layer_indices": [1], "mamba_chunk_size": 8}),
    "dots1": ("dots1", {"n_shared_experts": 1}),
    "falcon": ("falcon", {"head_dim": _DROPPED, "alibi": False}),
    "falcon (ALiBi)": ("falcon", {"head_dim": _DROPPED, "alibi": True}),
    "falcon_h1": ("falcon_h1", {"mamba_d_ssm": 64, "mamba_chunk_size": 8}),
    "gemma3n_text": (
        "gemma3n_text",
        {
            "num_hidden_layers": 4,
            "num_kv_shared_layers": 2,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "vocab_size_per_layer_input": 128,
            "hidden_size_per_layer_input": 8,
            "laurel_rank": 4,
            "activation_sparsity_pattern": [0.0] * 4,
        },
    ),
    "gpt_neo (local)": ("gpt_neo", {"attention_types": [[["global", "local"], 1]], "window_size": 4}),
    "gpt_neo": ("gpt_neo", {"attention_types": [[["global"], 2]]}),
    "granitemoehybrid": ("granitemoehybrid", {"layer_types": _MIXED, "mamba_chunk_size": 8}),
    "jamba": ("jamba", {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_dt_rank": 4}),
    "lfm2": ("lfm2", {"layer_types": ["conv", "full_attention"]}),
    "lfm2_moe": ("lfm2_moe", {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1}),
    "llama (dynamic rope)": (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}},
    ),
    "mamba2": ("mamba2", {"num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 8}),
    "minimax": ("minimax", {"layer_types": _MIXED}),
    "mistral (no window)": ("mistral", {"sliding_window": None}),
    "nemotron_h": (
        "nemotron_h",
        {
            "num_hidden_layers": _DROPPED,
            "layers_block_type": [*_MIXED, "moe"],
            "mamba_num_heads": 8,
            "mamba_head_dim": 8,
            "ssm_state_size": 8,
            "n_groups": 2,
            "chunk_size": 8,
            "moe_shared_expert_intermediate_size": 16,
        },
    ),
    "olmo_hybrid": ("olmo_hybrid", {"layer_types": _MIXED, **_DELTA}),
    "phi3 (longrope)": ("phi3", {"rope_parameters": _LONGROPE, "original_max_position_embeddings": 64}),
    "prophetnet": ("prophetnet", {"num_hidden_layers": _DROPPED, "num_decoder_layers": 2, "num_encoder_layers": 2}),
    "qwen3_5_text": ("qwen3_5_text", {"layer_types": _MIXED, **_DELTA}),
    "qwen3_next": ("qwen3_next", {"layer_types": _MIXED, **_DELTA}),
    "recurrent_gemma": ("recurrent_gemma", {"num_hidden_layers": 3}),
    "xlnet": ("xlnet", {"max_position_embeddings": _DROPPED, "d_inner": 64}),
    "xlstm": (
        "xlstm",
        {
            "v_head_dim": _DROPPED,
            "num_blocks": 2,
            "embedding_dim": 32,
            "chunk_size": 8,
            "autocast_kernel_dtype": "float32",
        },
    ),
    "zamba2": (
        "zamba2",
        {
            "num_hidden_layers": 2,
            "layers_block_type": ["linear_attention", "hybrid"],
            "chunk_size": 8,
            "n_mamba_heads": 8,
            "num_key_value_heads": 4,
            "attention_hidden_size": _DROPPED,
            "head_dim": _DROPPED,
        },
    ),
}
NAMES: tuple[str, ...] = tuple(
    sorted(
        {
            *VARIANTS,
            *"""afmoe apertus arcee aria_text bart bert-generation biogpt bitnet blenderbot bloom codegen cohere cohere2
            cohere2_moe ctrl cwm diffllama doge ernie4_5 ernie4_5_moe exaone4 exaone_moe falcon_mamba flex_olmo gemma gemma2
            gemma3_text glm glm4 glm4_moe gpt2 gpt_bigcode gpt_neox gpt_neox_japanese gpt_oss gptj granite granitemoe
            granitemoeshared helium hunyuan_v1_dense hunyuan_v1_moe jetmoe llama llama4_text mamba marian mbart
            mimo_v2_flash minimax_m2 ministral ministral3 mistral mixtral moshi mpt nanochat nemotron olmo olmo2 olmo3
            olmoe openai-gpt opt persimmon phi phi3 phimoe qwen2 qwen2_moe qwen3 qwen3_moe roberta rwkv seed_oss smollm3
            solar_open stablelm starcoder2 vaultgemma whisper xglm xlm""".split(),
        }
    )
)

PROMPTS = (5, 23, 1, 12)  # tokens
ANSWERS = ((5, 6, 7), (5, 6, 8, 9), (5, 10), (11,), (11, 6))


@dataclass(frozen=True)
class Found:
    """What was found of an architecture.

    Attributes:
        name: Model type, or a variant of it.
        way: How answers are run; "refused" where the model is.
        reason: Why it is not a tree pass.
        error: Largest difference of a probability from scoring one by one.
    """

    name: str
    way: str
    reason: str | None = None
    error: float | None = None


def tiny(name: str) -> Any:  # noqa: ANN401
    """A tiny random model, in float32 and eval state; the same name always gives the same weights."""
    model_type, wanted = VARIANTS.get(name, (name, {}))
    kind = CONFIG_MAPPING[model_type]
    known = kind()
    sizes = {size: value for size, value in SIZES.items() if hasattr(known, size)} | wanted
    config = kind(**{size: value for size, value in sizes.items() if value is not _DROPPED})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).float().eval()


def check(name: str) -> Found:
    """Load-time checks, and then the difference from scoring one by one on the way that they chose."""
    lm = tiny(name)
    try:
        abilities = abilities_of(lm)
    except ModelError as error:
        return Found(name, "refused", str(error))
    backbone = Backbone(lm, abilities)
    reason = abilities.detour or abilities.tree
    return Found(name, way_of(backbone), reason, largest_error(backbone))


def way_of(backbone: Backbone) -> str:
    """The path that the checks chose, in a word."""
    can = backbone.abilities
    for is_so, way in (
        (can.batch, "one by one"),
        (can.padding, "equal lengths"),
        (can.cache, "uncached"),
        (can.tree, "levels" if can.by_level else "sequential"),
    ):
        if is_so is not None:
            return way
    return "tree"


@torch.no_grad()
def largest_error(backbone: Backbone) -> float:
    """Largest difference of P(a|X), in a batch of unequal prompts, from scoring each answer alone; 1 if writing differs."""
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(2, backbone.vocabulary_size, (length,), generator=generator) for length in PROMPTS]
    ids, mask = torch.zeros(len(rows), max(PROMPTS), dtype=torch.long), torch.zeros(len(rows), max(PROMPTS)).bool()
    for i, row in enumerate(rows):
        ids[i, -len(row) :], mask[i, -len(row) :] = row, True
    space = Trie(ANSWERS, STOP)
    tree = AnswerTree(space)
    obstacle = backbone.abilities.detour or backbone.abilities.tree
    scores = AnswerScores(backbone, start_pass(backbone, obstacle, ids, mask, tree.head), tree)
    expected = torch.stack([_one_by_one(backbone.lm, row) for row in rows])
    written = write(backbone, ids, mask, space, 1 + max(map(len, ANSWERS))).sequences()
    chosen = [tuple(ANSWERS[i]) for i in scores.greedy().tolist()]
    order = [space.answer_at(_state(space, answer)) for answer in ANSWERS]
    assert order == list(range(len(ANSWERS))), "answers are numbered in their order"
    error = float((scores.log_probs.double().exp() - expected).abs().max())
    return error if written == chosen else 1.0


def _state(space: Trie, answer: Sequence[int]) -> Any:  # noqa: ANN401
    """Where an answer ends."""
    state = space.start
    for token in answer:
        state = space.advance(state, token)
    return state


def _one_by_one(lm: Any, prompt: Tensor) -> Tensor:  # noqa: ANN401
    """P(a|X) of each answer: one forward for each, alone, without padding, mask or cache; softmax over legal tokens."""
    found = []
    for answer in ANSWERS:
        ids = torch.cat([prompt, torch.tensor(answer)])[None]
        logits = lm(input_ids=ids, use_cache=False).logits[0].double()
        total = torch.zeros((), dtype=torch.float64)
        for t, token in enumerate((*answer, STOP)):
            legal = sorted({(*a, STOP)[t] for a in ANSWERS if a[:t] == answer[:t]})
            after = logits[len(prompt) - 1 + t]
            total = total + after[token] - after[legal].logsumexp(0)
        found.append(total)
    return torch.stack(found).exp()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; return the exit status."""
    parser = argparse.ArgumentParser(description="Check architectures on tiny random models.")
    parser.add_argument(
        "names", nargs="*", help="model types or variants; none: all of them, into docs/architectures.json"
    )
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    found = []
    for name in options.names or NAMES:
        found.append(asdict(check(name)))
        print(json.dumps(found[-1]), flush=True)
    if not options.names:
        FOUND.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
