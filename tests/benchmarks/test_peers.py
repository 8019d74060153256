"""The peers compute what they claim: otherwise a ratio compares predgen with a mistake."""

from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from benchmarks import attention, inputs, ours, questions
from benchmarks.models import base_folder, load_classifier, load_lm
from benchmarks.peers import generate, prompt_each, sequence_classifier
from benchmarks.peers.label_likelihood import label_batches, label_scores, score
from benchmarks.peers.published import PublishedLoss, positions_of, write
from benchmarks.peers.sft import lean_batch, lean_loss, lean_step, sft_batch, trainer_step
from benchmarks.settings import Setting
from predgen.codecs.trie import Trie
from predgen.data.collate import collate
from predgen.data.encode import Encoded
from predgen.engine.answer_tree import AnswerTree
from predgen.engine.backbone import Backbone
from predgen.engine.scores import AnswerScores
from predgen.engine.tree_pass import PathPass

# PEFT 0.21 calls a deprecated name of transformers.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.fixture(scope="module")
def lm(setting: Setting) -> Any:
    return load_lm(setting)


def sharpened(lm: Any) -> Any:
    """The model with larger output weights, so that probabilities are far from even."""
    with torch.no_grad():
        lm.lm_head.weight.mul_(20)
    return lm


def one_by_one(lm: Any, prompt: inputs.Ids, answer: inputs.Ids) -> torch.Tensor:
    """-log p of each answer token, from a forward over one row without padding."""
    logits = lm(torch.tensor([[*prompt, *answer]])).logits[0].float()
    return cross_entropy(logits[len(prompt) - 1 : -1], torch.tensor(answer), reduction="none")


def test_prompts_have_different_lengths(setting: Setting) -> None:
    assert len({len(prompt) for prompt in inputs.prompts(setting)}) > 1, "padding is not tested otherwise"


def test_label_scores_are_sums_over_the_whole_vocabulary(setting: Setting) -> None:
    lm, prompts, labels = sharpened(load_lm(setting)), inputs.prompts(setting), [(7, 9, 11), (7,), (8, 5)]
    scores = label_scores(lm, label_batches(prompts, labels, "cpu"), labels)
    with torch.no_grad():
        expected = [[-one_by_one(lm, prompt, label).sum().item() for label in labels] for prompt in prompts]
    torch.testing.assert_close(scores, torch.tensor(expected), atol=1e-4, rtol=1e-5)


def test_label_scores_of_single_tokens_normalise_to_constrained_probabilities(setting: Setting) -> None:
    # One token each: the softmax over the vocabulary, normalised over the labels, is the softmax over the labels.
    lm, prompts, labels = sharpened(load_lm(setting)), inputs.prompts(setting), [(7,), (8,), (9,)]
    scores = label_scores(lm, label_batches(prompts, labels, "cpu"), labels)
    rows = [Encoded(i, prompt, (), (), 0.0, 1.0, False) for i, prompt in enumerate(prompts)]
    batch = collate(rows, 0)
    backbone, tree = Backbone(lm), AnswerTree(Trie(labels, stop=0))
    with torch.no_grad():
        exact = AnswerScores(backbone, PathPass(backbone, batch.prompt_ids, batch.prompt_mask), tree).log_probs
    torch.testing.assert_close(scores.log_softmax(dim=1), exact, atol=1e-5, rtol=1e-5)
    assert exact.exp().max() > 0.5, "nearly even probabilities would agree by themselves"


def test_labels_are_as_long_as_the_table_says(setting: Setting) -> None:
    assert [len(ids) for ids in ours.label_ids(setting, inputs.LABELS_2)] == [1, 1]
    assert {len(ids) for ids in ours.label_ids(setting, inputs.LABELS_5)} == {3, 4}
    assert len(inputs.LABELS_20) == 20
    assert max(len(ids) for ids in ours.label_ids(setting, inputs.LABELS_20)) <= 4
    assert score(inputs.LABELS_20)(setting)().shape == (3, 20)


def test_a_prompt_each_gives_the_probabilities_of_the_forest(setting: Setting) -> None:
    few = dict(list(questions.MANY_LABELS.items())[:5])
    answers = questions.ask(few)(setting)()
    told = [answer.probability for of_state in answers for answer in of_state.values()]
    found = prompt_each.ask(few)(setting)()
    assert found.shape == (3 * 5,)
    torch.testing.assert_close(found, torch.tensor(told), atol=1e-5, rtol=1e-5)
    assert len(questions.MANY_LABELS) == len({*questions.LABELS_128}) == 128
    assert len(questions.TEN) == len(questions.TARGETS) == 10


def test_lean_loss_is_the_full_logit_loss(lm: Any, setting: Setting) -> None:
    prompts, answers = inputs.prompts(setting), ours.answer_ids(setting, [0.0, 2.5, 4.9])
    assert {len(answer) for answer in answers} == {5}  # separator, digit, point, digit, stop
    lean = lean_loss(lm, *lean_batch(prompts, answers, "cpu"))
    full = lm(**sft_batch(prompts, answers, 1, "cpu")).loss
    by_hand = torch.stack([one_by_one(lm, p, a) for p, a in zip(prompts, answers, strict=True)]).mean()
    torch.testing.assert_close(lean, full, atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(lean, by_hand, atol=1e-5, rtol=1e-6)


def test_prompt_and_padding_have_no_loss() -> None:
    labels = sft_batch([(5, 6), (7,)], [(8, 0), (9, 0)], 1, "cpu")["labels"]
    assert labels.tolist() == [[-100, -100, 8, 0], [-100, 9, 0, -100]]


@pytest.mark.parametrize("reuse_cache", [False, True])
def test_published_algorithm_writes_greedily(lm: Any, setting: Setting, reuse_cache: bool) -> None:
    prompts = inputs.prompts(setting)
    batch = inputs.masked(prompts, 1, "left", "cpu")
    ids, mask = write(lm, batch["input_ids"], batch["attention_mask"], 4, reuse_cache=reuse_cache)
    assert torch.equal(mask, torch.cat([batch["attention_mask"], torch.ones(3, 4, dtype=torch.long)], dim=1))
    for row, prompt in zip(ids.tolist(), prompts, strict=True):
        expected = list(prompt)
        for _ in range(4):
            expected.append(int(lm(torch.tensor([expected])).logits[0, -1].argmax()))
        assert row[-len(expected) :] == expected


def test_published_loss_feeds_what_was_written(setting: Setting) -> None:
    loss = PublishedLoss(_with_base(load_lm(setting)), reuse_cache=True)
    batch = inputs.masked(inputs.prompts(setting), 1, "left", "cpu")
    answers, values = torch.tensor(ours.answer_ids(setting, [0.0, 2.5, 4.9])), torch.tensor([-1.0, 0.0, 1.0])
    joint = loss(batch["input_ids"], batch["attention_mask"], answers, values)
    ids, mask = write(loss.lm, batch["input_ids"], batch["attention_mask"], 5, reuse_cache=False)
    output = loss.lm(ids, attention_mask=mask, position_ids=positions_of(mask), output_hidden_states=True)
    writer = cross_entropy(output.logits[:, -6:-1].flatten(0, 1), answers.flatten())
    read = loss.director(output.hidden_states[-1][:, -5:].mean(dim=1))[:, 0]
    torch.testing.assert_close(joint, writer * (read - values).square().mean(), atol=1e-5, rtol=1e-5)
    assert not torch.equal(ids[:, -5:], answers), "the model should not have written the gold answers by chance"


def _with_base(lm: Any) -> Any:
    """The model, answering as one with an adapter does."""
    lm.get_base_model = lambda: lm
    return lm


def test_classifier_ignores_padding(setting: Setting) -> None:
    probabilities = sequence_classifier.forward(3)(setting)()
    model = load_classifier(setting, 3)
    with torch.no_grad():
        alone = torch.cat([model(torch.tensor([prompt])).logits.softmax(dim=1) for prompt in inputs.prompts(setting)])
    torch.testing.assert_close(probabilities, alone, atol=1e-6, rtol=1e-5)


def test_generate_writes_as_many_tokens_as_a_number_has(setting: Setting) -> None:
    assert generate.greedy(setting)().shape == (3, 5)


@pytest.mark.parametrize("make", [lean_step, trainer_step, ours.training_step_at_p1])
def test_a_step_trains_the_adapter_alone(make: Any, setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[torch.nn.Parameter]] = []
    real = torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", lambda p, **kwargs: seen.append(p) or real(p, **kwargs))  # type: ignore[func-returns-value]
    step = make(setting)
    before = [p.detach().clone() for p in seen[0]]
    step()
    step()  # LoRA's A has a gradient once B has left 0
    assert all(not torch.equal(old, new) for old, new in zip(before, seen[0], strict=True))
    assert all(p.grad is None for p in seen[0])


def test_random_model_is_the_same_every_time(setting: Setting) -> None:
    assert base_folder(setting) == base_folder(setting)
    assert torch.equal(load_lm(setting).lm_head.weight, load_lm(setting).lm_head.weight)


@pytest.mark.filterwarnings("ignore:flex_attention called without")  # it is compiled on a GPU
def test_attention_over_a_tree_is_the_same_by_both_masks(setting: Setting) -> None:
    found, expected = attention.flex(setting)(), attention.dense(setting)()
    assert found.shape[2] > 50, "the tree of 51 numbers"
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_prompts_under_another_attention_are_classified_the_same(setting: Setting) -> None:
    eager, usual = (ours.classify(inputs.LABELS_5, name)(setting)() for name in ("eager", "sdpa"))
    for ours_, theirs in zip(eager, usual, strict=True):
        assert ours_.probabilities == pytest.approx(theirs.probabilities, abs=1e-5)
