"""Which pass over trie nodes a model can run: a tree, its levels, or its paths."""

from collections.abc import Sequence

from jaxtyping import Bool, Int
from torch import Tensor

from predgen.engine.backbone import Backbone
from predgen.engine.level_pass import LevelPass
from predgen.engine.prompt_pass import SharedPrefix, run_prompts
from predgen.engine.tree_pass import FusedPass, JointPass, NodePass, PathPass, TreePass


def start_pass(
    backbone: Backbone,
    obstacle: str | None,
    prompt_ids: Int[Tensor, "B P"],
    prompt_mask: Bool[Tensor, "B P"],
    head: Sequence[int] = (),
    prefix: SharedPrefix | None = None,
) -> NodePass:
    """Start the pass over trie nodes that a model can run, with gradient where it is enabled.

    Args:
        backbone: The language model.
        obstacle: Why it runs no trees; None: it does.
        prompt_ids: Prompt tokens.
        prompt_mask: True for prompt tokens.
        head: Content tokens with which every answer starts.
        prefix: Tokens before the prompts, already run.
    """
    if obstacle is not None:
        if backbone.runs_levels:
            return LevelPass(backbone, prompt_ids, prompt_mask, head)
        return PathPass(backbone, prompt_ids, prompt_mask, head)
    if backbone.drops_caches:
        return JointPass(backbone, prompt_ids, prompt_mask, head)
    if backbone.takes_any_mask:
        return FusedPass(backbone, prompt_ids, prompt_mask, head, prefix)
    return TreePass(backbone, run_prompts(backbone, prompt_ids, prompt_mask, head, prefix))
