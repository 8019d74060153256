"""Heatmaps: hidden tokens by another mask, pairs of states by the estimator itself, answers and refusals."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from analysis_cases import prompt_states_plainly, trained_model, written_plainly
from method_cases import Case, examples, sequential
from predgen.analysis import heatmaps
from predgen.analysis.estimators.ksg import Ksg
from predgen.analysis.heatmaps import drops, heat_map, hidden_information
from predgen.codecs.label import LabelCodec
from predgen.core import Example
from predgen.engine.backbone import Backbone
from predgen.errors import ConfigError
from tiny_models import FAMILIES, tiny_model

PROMPT, CONTENT = [7, 20, 33, 46, 59, 72, 85, 98, 111, 9, 8, 77, 66, 55, 44, 33, 22, 21], [12, 30, 5]


def drops_by_a_plain_mask(lm: torch.nn.Module, prompt: Sequence[int], content: Sequence[int]) -> np.ndarray:
    """The same drops by the model's own 2-D mask, which hides a column from every row, and one forward per token."""
    ids = torch.tensor([[*prompt, *content]])
    positions = torch.arange(ids.shape[1])[None]

    def log_probs(hidden: int | None) -> np.ndarray:
        mask = torch.ones_like(ids)
        if hidden is not None:
            mask[0, hidden] = 0
        with torch.no_grad():
            logits = lm(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits[0].double()
        scored = logits.log_softmax(1)
        return np.array([float(scored[len(prompt) - 1 + t, token]) for t, token in enumerate(content)])

    return np.stack([log_probs(None) - log_probs(i) for i in range(len(prompt))])


@pytest.mark.parametrize("batch_tokens", [1, 50, 10_000])
@pytest.mark.parametrize("family", FAMILIES)
def test_drops_are_those_of_a_plain_mask(family: str, batch_tokens: int) -> None:
    lm = tiny_model(family)
    found = drops(Backbone(lm), PROMPT, CONTENT, batch_tokens)
    wanted = drops_by_a_plain_mask(lm, PROMPT, CONTENT)
    # The last prompt token predicts y_1: a plain mask hides it from itself, too. Ours leaves it its own sight.
    np.testing.assert_allclose(found[:-1], wanted[:-1], atol=2e-5)
    np.testing.assert_allclose(found[-1, 1:], wanted[-1, 1:], atol=2e-5)
    assert found[-1, 0] == pytest.approx(0, abs=1e-6)
    assert np.abs(found).max() > 0.01


def test_a_hidden_token_cannot_matter_at_all() -> None:
    backbone = Backbone(tiny_model("llama"))
    ids = torch.tensor([[*PROMPT, *CONTENT]])
    changed = ids.clone()
    changed[0, 4] = 100
    positions = torch.arange(ids.shape[1])[None]
    visible = heatmaps._visible(torch.tensor([4]), ids.shape[1])
    states = [backbone.masked_states(some, positions, visible, positions)[0] for some in (ids, changed)]
    others = [i for i in range(ids.shape[1]) if i != 4]
    assert torch.equal(states[0][others], states[1][others])
    assert not torch.equal(states[0][4], states[1][4])


def test_hidden_information_is_the_estimate_of_each_pair() -> None:
    rng = torch.Generator().manual_seed(0)
    inputs, outputs = torch.randn(3, 64, generator=rng), torch.randn(2, 64, generator=rng)
    outputs[1] = inputs[2] + 0.01 * outputs[1]  # a state that resembles one input's
    found = hidden_information(inputs, outputs)
    assert found.shape == (3, 2)
    for i, x in enumerate(inputs.double().numpy()):
        for t, y in enumerate(outputs.double().numpy()):
            assert found[i, t] == Ksg().estimate(x[:, None], y[:, None]).nats
    assert found[2, 1] > 1.5
    assert np.delete(found, 5).max() < 0.5


@pytest.mark.parametrize("case", [Case("generator", "classification"), Case("predgen", "classification")], ids=str)
def test_all_answers_of_few_labels_are_shown(case: Case) -> None:
    trained = trained_model(case)
    row = examples("classification")[1]
    found = heat_map(trained, row, 2)
    codec = trained.encoder.codec
    assert isinstance(codec, LabelCodec)
    assert [answer.text for answer in found.answers] == list(codec.labels)
    encoded = trained.encoder.encode(row, with_answer=False)
    tokens, states = written_plainly(trained.model, codec, encoded.prompt_ids)
    (written,) = [answer for answer in found.answers if answer.is_written]
    assert written.text == codec.decode(tokens).value
    assert "".join(label.removeprefix("##").replace("␣", " ") for label in written.tokens) == f" {written.text}"
    assert (found.row, found.gold, found.hidden_size) == (2, row.target.value if row.target else None, 32)
    assert "".join(label.removeprefix("##") for label in found.tokens).startswith("R:␣a␣bad␣film↵A:")
    assert sum(found.is_field) == len("abadfilm")
    plain = prompt_states_plainly(trained.model, encoded.prompt_ids)
    np.testing.assert_allclose(written.hidden, hidden_information(plain, states), atol=1e-3)
    order = np.random.default_rng(0).permutation(32)
    np.testing.assert_allclose(written.shuffled, hidden_information(plain, states[:, order]), atol=1e-3)
    beyond = np.mean(np.hstack([answer.shuffled for answer in found.answers]) < found.noise)
    assert beyond == pytest.approx(0.95, abs=0.02)
    assert written.occlusion is not None
    wanted = drops_by_a_plain_mask(trained.model.lm, encoded.prompt_ids, tokens)
    np.testing.assert_allclose(written.occlusion[:-1], wanted[:-1], atol=2e-5)


def test_numbers_show_what_is_written() -> None:
    trained = trained_model(Case("predgen", "regression", "value", "token"))
    found = heat_map(trained, examples("regression")[0], 1)
    (answer,) = found.answers
    assert answer.is_written
    assert answer.hidden.shape == (len(found.tokens), len(answer.tokens))
    assert float("".join(answer.tokens).replace("#", "").replace("␣", "")) == pytest.approx(float(answer.text))


def test_many_labels_show_the_written_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heatmaps, "MOST_LABELS", 3)
    found = heat_map(trained_model(Case("generator", "classification")), Example(0, {"text": "good"}), 1)
    assert [answer.is_written for answer in found.answers] == [True]
    assert found.gold is None


def test_models_without_masks_have_no_occlusion() -> None:
    trained = trained_model(Case("generator", "classification"))
    sequential(trained.model)
    found = heat_map(trained, examples("classification")[0], 1)
    assert found.obstacle == "test"
    assert all(answer.occlusion is None for answer in found.answers)


def test_predictors_write_nothing_to_show() -> None:
    with pytest.raises(ConfigError, match="written answer tokens, but a predictor writes nothing"):
        heat_map(trained_model(Case("predictor", "classification")), examples("classification")[0], 1)
