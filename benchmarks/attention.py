"""Attention alone, as a tree pass needs it: a dense mask, and torch's `flex_attention`."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

from benchmarks import inputs, ours
from benchmarks.models import base_folder
from benchmarks.settings import Setting
from predgen.codecs.base import FiniteSpace
from predgen.engine.answer_tree import AnswerTree
from predgen.engine.base_model import load_base

Call = Callable[[], Any]
Shapes = tuple[Tensor, Tensor, Tensor]


def flex(setting: Setting) -> Call:
    """One layer's attention of tree nodes, by flex attention: the mask is a function, compiled where there is a GPU."""
    told, real, seen = _shapes(setting)
    width, attend = real.shape[1], torch.compile(flex_attention) if setting.spec.device == "cuda" else flex_attention

    def sees(row: Tensor, _: Tensor, node: Tensor, column: Tensor) -> Tensor:
        is_prompt, at = column < width, column - width
        return torch.where(is_prompt, real[row, column.clamp(max=width - 1)], seen[node, at.clamp(min=0)])

    def run() -> Tensor:
        batch, _, nodes, _ = told[0].shape
        mask = create_block_mask(sees, batch, None, nodes, width + nodes, device=setting.spec.device)
        found: Tensor = attend(*told, block_mask=mask, enable_gqa=True)
        return found

    return run


def dense(setting: Setting) -> Call:
    """The same as the engine does it: one mask of True and False for each row, node and column."""
    told, real, seen = _shapes(setting)

    def run() -> Tensor:
        nodes = len(seen)
        mask = torch.cat([real[:, None].expand(-1, nodes, -1), seen.expand(len(real), -1, -1)], dim=2)
        return scaled_dot_product_attention(*told, attn_mask=mask[:, None], enable_gqa=True)

    return run


def _shapes(setting: Setting) -> tuple[Shapes, Tensor, Tensor]:
    """Queries, keys and values of the tree of 0.0 to 5.0 behind the prompts; which columns are real [B S], which nodes see which [M M]."""
    base = load_base(str(base_folder(setting)), dtype=setting.spec.dtype)
    config, device = base.lm.config.get_text_config(), setting.spec.device
    tree = AnswerTree(cast("FiniteSpace", ours.number_codec(base.tokenizer, 1).space))
    parents = [
        0,
        *tree.layout(torch.device("cpu")).parents.tolist(),
    ]  # node i > 0 hangs on parents[i]; 0 is the prompt's last token
    seen = torch.eye(len(parents), dtype=torch.bool)
    for node in range(1, len(parents)):
        seen[node] |= seen[parents[node]]
    seen = seen[1:, 1:].to(device)
    real = inputs.masked(inputs.prompts(setting), 0, "left", device)["attention_mask"].bool()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    generator = torch.Generator().manual_seed(0)

    def random(heads: int, length: int) -> Tensor:
        made = torch.randn(len(real), heads, length, width, generator=generator)
        return made.to(device, getattr(torch, setting.spec.dtype))

    keys = config.num_key_value_heads
    columns = real.shape[1] + len(seen)
    told = random(config.num_attention_heads, len(seen)), random(keys, columns), random(keys, columns)
    return told, real, seen
