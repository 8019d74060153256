import pytest
import torch
from torch import Tensor

from predgen.engine.answer_pass import AnswerStates, answer_states, last_position
from predgen.engine.backbone import Backbone
from tiny_models import FAMILIES, SLIDING_WINDOW, tiny_model

TOLERANCE = 1e-5
PROMPTS = [[9, 4, 30], [50, 3, 8, 8, 61, 12], [17]]
CONTENTS = [[5, 6], [7], [5, 70, 71, 72]]
LONG = [*range(2, SLIDING_WINDOW + 9)]


def pad(rows: list[list[int]], side: str, extra: int = 0) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows)) + extra
    ids, mask = torch.full((len(rows), width), 99), torch.zeros((len(rows), width), dtype=torch.bool)
    for i, row in enumerate(rows):
        where = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[i, where], mask[i, where] = torch.tensor(row), True
    return ids, mask


def run(
    backbone: Backbone, prompts: list[list[int]], contents: list[list[int]], side: str, extra: int = 0
) -> AnswerStates:
    return answer_states(backbone, *pad(prompts, side, extra), *pad(contents, "right", extra))


@torch.no_grad()
def by_hand(model: torch.nn.Module, prompt: list[int], content: list[int]) -> tuple[Tensor, Tensor]:
    """Logits that predict answer tokens 0..m, and states at the content tokens, from the model's own full forward."""
    output = model(input_ids=torch.tensor([prompt + content]), output_hidden_states=True, use_cache=False)
    n, m = len(prompt), len(content)
    # Tokens stand at 0..n-1 (prompt) and n..n+m-1 (content). Answer token t is predicted at n-1+t, the stop at n-1+m.
    return output.logits[0, n - 1 : n + m], output.hidden_states[-1][0, n : n + m]


@pytest.mark.parametrize(("side", "extra"), [("left", 0), ("left", 3), ("right", 0), ("right", 3)])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_states_at_and_before_content_tokens_equal_a_full_forward(family: str, side: str, extra: int) -> None:
    model = tiny_model(family)
    backbone = Backbone(model)
    states = run(backbone, PROMPTS, CONTENTS, side, extra)
    width = max(map(len, CONTENTS)) + extra
    assert (states.content.shape[1], states.predicting.shape[1]) == (width, width + 1)
    for row, (prompt, content) in enumerate(zip(PROMPTS, CONTENTS, strict=True)):
        logits, at = by_hand(model, prompt, content)
        m = len(content)
        ours = backbone.logits(states.predicting[row, : m + 1])
        torch.testing.assert_close(ours, logits, atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(states.content[row, :m], at, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_one_row_without_padding_equals_a_full_forward(family: str) -> None:
    # The prompt is longer than Gemma 3's sliding window.
    model = tiny_model(family)
    backbone = Backbone(model)
    states = run(backbone, [LONG], [[5, 6, 7]], "left")
    logits, at = by_hand(model, LONG, [5, 6, 7])
    torch.testing.assert_close(backbone.logits(states.predicting[0]), logits, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(states.content[0], at, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_predicting_state_comes_one_token_before_the_content_state(family: str) -> None:
    backbone = Backbone(tiny_model(family))
    changed = [[5, 6], [7], [5, 70, 99, 72]]
    first = run(backbone, PROMPTS, CONTENTS, "left")
    second = run(backbone, PROMPTS, changed, "left")
    differs = (first.content - second.content).abs().amax(dim=2) > 1e-3
    assert differs.tolist() == [[False] * 4, [False] * 4, [False, False, True, True]]  # from content token 2 on
    differs = (first.predicting - second.predicting).abs().amax(dim=2) > 1e-3
    assert differs.tolist() == [[False] * 5, [False] * 5, [False, False, False, True, True]]  # from answer token 3 on
    torch.testing.assert_close(first.predicting[:, 1:], first.content, atol=0, rtol=0)


def test_gradient_reaches_the_prompt_from_both() -> None:
    model = tiny_model("llama")
    embedding = model.get_input_embeddings().weight
    backbone = Backbone(model)
    for name in ("predicting", "content"):
        (gradient,) = torch.autograd.grad(
            getattr(run(backbone, PROMPTS, CONTENTS, "left"), name)[1, 0].sum(), embedding
        )
        touched = gradient.abs().sum(dim=1).nonzero().flatten().tolist()
        # Row 1: prompt 50 3 8 8 61 12, then 7. Its first content state sees 7, the state that predicts it does not.
        assert touched == sorted({50, 3, 8, 61, 12} | ({7} if name == "content" else set()))


def test_last_position_is_the_last_real_token() -> None:
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]], dtype=torch.bool)
    assert last_position(mask).tolist() == [3, 1, 0, 3, 2]
