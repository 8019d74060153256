from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from one_by_one import ARCHITECTURES, backbone_of
from other_models import other_model
from predgen.engine.backbone import Backbone, eval_state, full_cache, positions_of
from predgen.errors import ModelError
from tiny_models import FAMILIES, HIDDEN, SLIDING_WINDOW, tiny_model

TOLERANCE = 1e-5
# The second row is longer than Gemma 3's sliding window.
LENGTHS = (5, SLIDING_WINDOW + 7, 1)


def random_rows(seed: int = 1, vocab_size: int = 128) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(2, vocab_size, (length,), generator=generator) for length in LENGTHS]


def padded(rows: list[Tensor], side: str, width: int, pad: int = 0) -> tuple[Tensor, Tensor]:
    """Rows as a batch with `side` padding."""
    ids, mask = torch.full((len(rows), width), pad), torch.zeros((len(rows), width), dtype=torch.bool)
    for i, row in enumerate(rows):
        where = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[i, where], mask[i, where] = row, True
    return ids, mask


@torch.no_grad()
def alone(backbone: Backbone, row: Tensor) -> Tensor:
    """States of one row, without padding."""
    return backbone.states(row[None], torch.ones((1, len(row)), dtype=torch.bool))[0][0]


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_logits_of_states_are_the_models_own(family: str) -> None:
    model = tiny_model(family)
    backbone = Backbone(model)
    backbone.check(torch.arange(2, 8))
    for row in random_rows():
        own = model(input_ids=row[None], use_cache=False).logits[0]
        assert own.std() > 0.1  # flat logits would be equal to anything
        torch.testing.assert_close(backbone.logits(alone(backbone, row)), own, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_states_are_the_models_last_hidden_states(family: str) -> None:
    model = tiny_model(family)
    row = random_rows()[0]
    output = model(input_ids=row[None], output_hidden_states=True, use_cache=False)
    torch.testing.assert_close(alone(Backbone(model), row), output.hidden_states[-1][0], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_padding_side_width_and_token_do_not_matter(family: str, side: str) -> None:
    backbone = Backbone(tiny_model(family))
    rows = random_rows()
    for width, pad in ((max(LENGTHS), 0), (max(LENGTHS) + 9, 77)):
        ids, mask = padded(rows, side, width, pad)
        states, _ = backbone.states(ids, mask)
        assert states.isfinite().all()
        for i, row in enumerate(rows):
            torch.testing.assert_close(states[i][mask[i]], alone(backbone, row), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_states_depend_on_a_padded_token_once_it_is_real(family: str) -> None:
    # Guard: the test above would pass for a model that ignores its past.
    backbone = Backbone(tiny_model(family))
    ids = torch.tensor([[9, 5, 6]])
    seen = backbone.states(ids, torch.tensor([[True, True, True]]))[0][0, 2]
    hidden = backbone.states(ids, torch.tensor([[False, True, True]]))[0][0, 2]
    assert (seen - hidden).abs().max() > 1e-2


@pytest.mark.parametrize("pieces", [(20, 1, 1, 1), (4, 10, 9), (22, 1)])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_cached_equals_uncached(family: str, pieces: tuple[int, ...]) -> None:
    backbone = Backbone(tiny_model(family))
    rows = random_rows()
    width = max(LENGTHS)
    ids, mask = padded(rows, "left", width)
    cache, begin, parts = None, 0, []
    assert sum(pieces) == width
    for size in pieces:
        end = begin + size
        states, cache = backbone.states(ids[:, begin:end], mask[:, :end], cache=cache, use_cache=True)
        parts.append(states)
        begin = end
    cached = torch.cat(parts, dim=1)
    for i, row in enumerate(rows):
        torch.testing.assert_close(cached[i][mask[i]], alone(backbone, row), atol=TOLERANCE, rtol=0)


def test_positions_count_real_tokens() -> None:
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 0, 0, 1], [1, 0, 0, 0, 0]], dtype=torch.bool)
    # Left padding; padding in the middle (right-padded prompt, then an answer token); right padding.
    assert positions_of(mask).tolist() == [[0, 0, 0, 1, 2], [0, 1, 1, 1, 2], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_are_read_from_the_model(family: str) -> None:
    backbone = Backbone(tiny_model(family, vocab_size=90))
    assert (backbone.hidden_size, backbone.vocabulary_size, backbone.context) == (HIDDEN, 90, 512)
    assert backbone.device == torch.device("cpu")


def test_soft_cap_is_applied_as_the_model_does() -> None:
    model = tiny_model("gemma3")
    model.config.final_logit_softcapping = 0.5
    row = random_rows()[0]
    with torch.no_grad():
        own = model(input_ids=row[None], use_cache=False).logits[0]
        ours = Backbone(model).logits(alone(Backbone(model), row))
    assert own.abs().max() <= 0.5
    torch.testing.assert_close(ours, own, atol=TOLERANCE, rtol=0)
    Backbone(model).check(torch.arange(2, 8))


@pytest.mark.parametrize("name", ["recurrent_gemma", "xlstm"])
@torch.no_grad()
def test_soft_caps_of_other_names_are_applied_as_the_models_do(name: str) -> None:
    model = other_model(name)
    ids = random_rows()[0][None]
    model.get_output_embeddings().weight.mul_(20)
    states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    own = model(input_ids=ids, use_cache=False).logits
    assert 20 < own.abs().max() <= 30  # guard: the cap is at work
    torch.testing.assert_close(Backbone(model).logits(states), own, atol=TOLERANCE, rtol=TOLERANCE)
    Backbone(model).check(ids[0])


# --- logits of some tokens --------------------------------------------------------------------------------------------

TOKENS = torch.tensor([7, 3, 127, 3, 64])


def assert_rows_of_logits(backbone: Backbone) -> None:
    states = alone(backbone, random_rows()[1])[None]  # 1 L H
    whole = backbone.logits(states)
    assert whole.std() > 0.1
    torch.testing.assert_close(backbone.logits_of(states, TOKENS), whole[..., TOKENS], atol=TOLERANCE, rtol=0)
    assert backbone.logits_of(states, TOKENS[:0]).shape == (*states.shape[:2], 0)


@pytest.mark.parametrize("name", ARCHITECTURES)  # output embeddings tied and not; Gemma 2 has a soft cap
def test_logits_of_tokens_are_rows_of_all_logits(name: str) -> None:
    assert_rows_of_logits(backbone_of(name))
    assert_rows_of_logits(Backbone(tiny_model("llama", seed=3).to(torch.float64)))


def test_logits_of_tokens_have_bias_scale_and_soft_cap() -> None:
    model = tiny_model("llama")
    plain = Backbone(model).logits_of(alone(Backbone(model), random_rows()[0]), TOKENS)
    model.lm_head.bias = nn.Parameter(torch.randn(128))
    assert_rows_of_logits(Backbone(model))
    shifted = Backbone(model).logits_of(alone(Backbone(model), random_rows()[0]), TOKENS)
    torch.testing.assert_close(shifted, plain + model.lm_head.bias[TOKENS], atol=TOLERANCE, rtol=0)
    model.config.logit_scale, model.config.logits_scaling = 3.0, 1.5
    assert_rows_of_logits(Backbone(model))
    scaled = Backbone(model).logits_of(alone(Backbone(model), random_rows()[0]), TOKENS)
    torch.testing.assert_close(scaled, shifted * 2, atol=TOLERANCE, rtol=0)  # 3 / 1.5
    model.config.final_logit_softcapping = 0.5
    assert_rows_of_logits(Backbone(model))
    capped = Backbone(model).logits_of(alone(Backbone(model), random_rows()[0]), TOKENS)
    torch.testing.assert_close(capped, 0.5 * torch.tanh(scaled / 0.5), atol=TOLERANCE, rtol=0)


def test_a_wrapped_output_embedding_is_not_taken_apart() -> None:
    class Doubled(nn.Linear):
        def forward(self, states: Tensor) -> Tensor:
            return 2 * super().forward(states)

    model = tiny_model("llama")
    own = model.lm_head
    model.lm_head = Doubled(own.in_features, own.out_features, bias=False)
    model.lm_head.weight = own.weight
    assert_rows_of_logits(Backbone(model))


def test_gradients_of_some_logits_are_those_of_all() -> None:
    found = []
    for take in (lambda b, s: b.logits_of(s, TOKENS), lambda b, s: b.logits(s)[..., TOKENS]):
        model = tiny_model("gpt2")
        states, _ = Backbone(model).states(random_rows()[0][None], torch.ones((1, 5), dtype=torch.bool))
        take(Backbone(model), states).square().sum().backward()
        found.append(model.lm_head.weight.grad)
    assert found[0].abs().max() > 1
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-5)


# --- caches and states ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.no_grad()
def test_a_full_cache_gives_the_same_as_the_models_own(name: str) -> None:
    # In sliding layers too, where it keeps keys that the window hides.
    backbone = backbone_of(name)
    ids, mask = padded(random_rows(), "left", max(LENGTHS))
    own, full = None, full_cache()
    for begin, end in ((0, 20), (20, 21), (21, max(LENGTHS))):
        expected, own = backbone.states(ids[:, begin:end], mask[:, :end], cache=own, use_cache=True)
        found, full = backbone.states(ids[:, begin:end], mask[:, :end], cache=full)
        where = mask[:, begin:end]
        torch.testing.assert_close(found[where], expected[where], atol=TOLERANCE, rtol=0)
    assert {keys.shape[2] for keys, *_ in full} == {max(LENGTHS)}


def test_eval_state_restores_every_part_after_an_error() -> None:
    model = tiny_model("gpt2").train()
    model.transformer.h[1].eval()
    before = [part.training for part in model.modules()]
    with pytest.raises(ValueError, match="inside"), eval_state(model):
        assert not any(part.training for part in model.modules())
        raise ValueError("inside")
    assert [part.training for part in model.modules()] == before
    assert len({*before}) == 2


@pytest.mark.parametrize(
    ("name", "window"),
    [("llama", None), ("qwen3", None), ("opt", None), ("mistral", None)]
    + [(name, SLIDING_WINDOW) for name in ("gemma3", "gemma2", "mistral_sliding", "phi3_sliding")],
)
def test_windows_are_read_from_the_model(name: str, window: int | None) -> None:
    assert backbone_of(name).window == window


def test_a_window_that_no_layer_uses_is_none() -> None:
    model = tiny_model("gemma3")
    model.config.layer_types = ["full_attention", "full_attention"]
    assert Backbone(model).window is None


# --- the check --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "transform",
    [
        lambda logits: 2 * logits,
        lambda logits: logits + torch.arange(logits.shape[-1]) * 0.1,
        lambda logits: logits[..., :50],
        lambda logits: 30 * torch.tanh(logits / 30),  # which changes logits of 1 by 4e-4
    ],
    ids=["scaled", "shifted", "cut", "capped"],
)
def test_check_refuses_transformed_logits_and_restores_the_state(
    transform: Callable[[Tensor], Tensor], training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("llama").train(training)
    own_forward = model.forward

    def transformed(*args: object, **kwargs: object) -> object:
        output = own_forward(*args, **kwargs)
        output.logits = transform(output.logits)
        return output

    Backbone(model).check(torch.arange(2, 8))
    assert model.training is training
    monkeypatch.setattr(model, "forward", transformed)
    with pytest.raises(
        ModelError, match=r"LlamaForCausalLM computes its logits in a way predgen does not know.*base model"
    ):
        Backbone(model).check(torch.arange(2, 8))
    assert model.training is training
