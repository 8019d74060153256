import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from predgen import registries
from predgen.codecs.answer import AnswerCodec
from predgen.codecs.base import Codec
from predgen.codecs.label import LabelCodec
from predgen.codecs.number import NumberCodec
from predgen.core import Example, Prediction, Target
from predgen.data.collate import Batch, collate
from predgen.data.encode import Encoder
from predgen.losses.base import JointLoss
from predgen.losses.sum import SumLoss
from predgen.losses.wdal import Wdal
from predgen.models.base import ModelSetup, PredictionModel, RowLosses, joined
from predgen.models.predgen import PredGen
from predgen.models.predictor import pool
from predgen.models.writer import WritingModel, legal_positions
from predgen.sampling.draws import SamplingPlan
from tiny_models import FAMILIES, tiny_model
from tokenizers_for_tests import char_level

TOLERANCE = 1e-5
TEXTS = ("good", "a bad film", "so so, really so so", "", "x", "bad", "fine!", "a very long review of a film")
LABELS = ("no", "not sure", "yes", "not sure", "no", "no", "yes", "not")
NUMBERS = (0.25, -1.5, 3.75, 2.0, 0.0, 1.25, -0.75, 3.0)
SOLUTIONS = ("1+1=2.", None, "3*4=12.", None, "so 7", "8-1=7.", None, "2.")
RESULTS = (2.0, -1.5, 12.0, 3.25, 7.0, 7.0, 0.0, 2.0)


@dataclass(frozen=True)
class Case:
    """A method with its settings."""

    method: str
    kind: str
    director: str = "linear"
    sampling: str = "off"
    pooling: str = "last"
    loss: str = "wdal_shifted"

    def __str__(self) -> str:
        rest = (
            f"{self.director}-{self.sampling}"
            if self.method == "predgen"
            else self.pooling * (self.method == "predictor")
        )
        return f"{self.method}-{self.kind}-{rest}".strip("-")


CASES = (
    Case("predictor", "classification"),
    Case("predictor", "classification", pooling="mean"),
    Case("predictor", "regression", pooling="first"),
    Case("generator", "classification"),
    Case("generator", "regression"),
    Case("predgen", "classification", "linear", "token"),
    Case("predgen", "classification", "linear", "sequence"),
    Case("predgen", "regression", "value", "token"),
    Case("predgen", "regression", "ordered", "sequence"),
    Case("predgen", "math", "ordered", "token"),
)
every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_family = pytest.mark.parametrize("family", FAMILIES)
# Every case on one architecture, and each method on all of them.
WRITERS = (CASES[4], CASES[5], CASES[7])
PAIRS = [(case, FAMILIES[0]) for case in CASES]
PAIRS += [(case, family) for case in (CASES[0], *WRITERS) for family in FAMILIES[1:]]
every_pair = pytest.mark.parametrize(("case", "family"), PAIRS, ids=str)


@functools.cache
def codec_of(kind: str) -> Codec:
    if kind == "classification":
        return LabelCodec.fit(["no", "not", "not sure", "yes"], char_level())
    if kind == "regression":
        return NumberCodec.fit(NUMBERS, char_level(), scale=(-2.0, 4.0))
    return AnswerCodec.fit([Target(r, s) for r, s in zip(RESULTS, SOLUTIONS, strict=True)], char_level())


def examples(kind: str) -> list[Example]:
    targets = {
        "classification": [Target(label) for label in LABELS],
        "regression": [Target(number) for number in NUMBERS],
        "math": [Target(r, s) for r, s in zip(RESULTS, SOLUTIONS, strict=True)],
    }[kind]
    weights = (1.0, 2.0, 0.5, 1.0, 1.5, 1.0, 3.0, 0.25)
    rows = zip(TEXTS, targets, weights, strict=True)
    return [Example(100 + i, {"text": text}, target, weight) for i, (text, target, weight) in enumerate(rows)]


@functools.cache
def encoded(kind: str) -> tuple:
    codec = codec_of(kind)
    encoder = Encoder(char_level(), "R: {text}\nA:", codec, labels=getattr(codec, "labels", ()))
    return tuple(encoder.encode(example) for example in examples(kind))


def batch_of(kind: str, rows: Sequence[int] = range(8)) -> Batch:
    return collate([encoded(kind)[row] for row in rows], char_level().pad_token_id)


def make(case: Case, family: str = "llama", seed: int = 0) -> PredictionModel:
    """A fresh model; the head's weights depend on the seed only."""
    codec = codec_of(case.kind)
    setup = ModelSetup(
        case.method,
        case.kind,
        getattr(codec, "labels", ()),
        1.0,
        1.75,
        case.pooling,
        case.director,
        case.loss,
        case.sampling,
        2.0,
    )
    torch.manual_seed(seed)
    lm = tiny_model(family, len(char_level()), seed)
    method = registries.methods.get(case.method)
    return method(setup, lm, codec if method.needs_codec else None)


@functools.cache
def made(case: Case, family: str) -> PredictionModel:
    """The same model for tests that do not change it."""
    return make(case, family)


def more_padding(batch: Batch, prompts: int, answers: int, junk: int) -> Batch:
    """The same rows with more padding, and other ids in all of it."""
    pad = torch.nn.functional.pad
    sides = {"prompt": (prompts, 0), "answer": (0, answers)}
    wider = {name: pad(getattr(batch, f"{name}_mask"), side) for name, side in sides.items()}
    ids = {
        name: torch.where(wider[name], pad(getattr(batch, f"{name}_ids"), side), junk) for name, side in sides.items()
    }
    return replace(
        batch,
        prompt_ids=ids["prompt"],
        prompt_mask=wider["prompt"],
        answer_ids=ids["answer"],
        answer_mask=wider["answer"],
        weighed=pad(batch.weighed, sides["answer"]),
    )


def plan(p: float = 0.5, epoch: int = 0) -> SamplingPlan:
    return SamplingPlan(p, 3, epoch)


def assert_same_losses(found: RowLosses, expected: RowLosses, rows: Sequence[int]) -> None:
    for name in ("writer", "director"):
        ours, wanted = getattr(found, name), getattr(expected, name)
        assert (ours is None) == (wanted is None)
        if ours is not None:
            torch.testing.assert_close(ours, wanted[list(rows)], atol=TOLERANCE, rtol=TOLERANCE)


def assert_same_predictions(found: Sequence[Prediction], expected: Sequence[Prediction]) -> None:
    assert len(found) == len(expected)
    for ours, wanted in zip(found, expected, strict=True):
        assert (ours.answer, ours.flags) == (wanted.answer, wanted.flags)
        if isinstance(wanted.value, str):
            assert ours.value == wanted.value
            assert ours.probabilities == pytest.approx(wanted.probabilities, abs=TOLERANCE)
        else:
            assert ours.value == pytest.approx(wanted.value, abs=TOLERANCE)


# --- the batch does not matter ----------------------------------------------------------------------------------------


@every_pair
def test_losses_and_predictions_do_not_depend_on_the_batch(case: Case, family: str) -> None:
    model, whole = made(case, family), batch_of(case.kind)
    losses, predictions = model(whole, plan(), "example"), model.predict(whole)
    losses_of_rows = losses.director if losses.writer is None else losses.writer
    assert len({round(value, 4) for value in losses_of_rows.tolist()}) > 4  # rows differ
    for rows in ([5, 2, 7, 0], [3], [7], [1, 6]):
        batch = batch_of(case.kind, rows)
        assert_same_losses(model(batch, plan(), "example"), losses, rows)
        assert_same_predictions(model.predict(batch), [predictions[row] for row in rows])
    wide = more_padding(batch_of(case.kind, [4, 2]), prompts=6, answers=3, junk=7)
    assert_same_losses(model(wide, plan(), "example"), losses, [4, 2])
    assert_same_predictions(model.predict(wide), [predictions[4], predictions[2]])


@every_case
def test_total_is_the_weighted_sum_over_rows(case: Case) -> None:
    model, whole = made(case, "llama"), batch_of(case.kind)
    losses = model(whole, plan(), "example")
    joint = model.joint if isinstance(model, PredGen) else None
    values = (
        joint(losses.writer, losses.director)
        if joint
        else (losses.writer if losses.director is None else losses.director)
    )
    by_hand = sum(float(w) * float(v) for w, v in zip(whole.weight, values.detach(), strict=True))
    assert losses.total.item() == pytest.approx(by_hand, rel=1e-6)


@every_case
def test_a_row_of_weight_zero_changes_no_gradient(case: Case) -> None:
    model = make(case)
    gradients = gradients_of(model, [batch_of(case.kind, [0, 1, 2])])
    filled = batch_of(case.kind, [0, 1, 2, 6])
    filled.weight[3] = 0.0
    assert_same_gradients(gradients_of(model, [filled]), gradients)


def gradients_of(model: PredictionModel, batches: Sequence[Batch], reduction: str = "example") -> dict[str, Tensor]:
    """Gradients accumulated over micro-batches."""
    model.zero_grad(set_to_none=True)
    for batch in batches:
        model(batch, plan(), reduction).total.backward()
    found = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    assert found
    assert all(gradient.isfinite().all() for gradient in found.values())
    return found


def largest_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """Largest difference of any gradient, relative to that parameter's largest one, or to 1 % of the largest of all."""
    assert first.keys() == second.keys()
    least = 0.01 * max(float(gradient.abs().max()) for gradient in second.values())
    scales = {name: max(float(gradient.abs().max()), least) for name, gradient in second.items()}
    return max(float((first[name] - second[name]).abs().max()) / scales[name] for name in second)


def assert_same_gradients(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    # float32: sums of some hundred terms of either sign.
    assert largest_difference(found, expected) < 2e-5


@every_pair
def test_one_batch_of_eight_and_eight_of_one_give_the_same_gradients(case: Case, family: str) -> None:
    model = make(case, family)
    whole = gradients_of(model, [batch_of(case.kind)])
    assert {name.split(".")[0] for name in whole} >= {"lm"}
    assert_same_gradients(gradients_of(model, [batch_of(case.kind, [row]) for row in range(8)]), whole)
    assert_same_gradients(
        gradients_of(model, [batch_of(case.kind, rows) for rows in ([6, 1, 3], [0, 2, 7, 4, 5])]), whole
    )


@pytest.mark.parametrize("loss", ["wdal", "wdal_shifted"])
def test_reduction_batch_depends_on_the_batch_size(loss: str) -> None:
    # Guard: with a reduction that joins means, the test above can fail.
    case = replace(CASES[5], loss=loss)
    model = make(case)
    whole = gradients_of(model, [batch_of(case.kind)], "batch")
    split = gradients_of(model, [batch_of(case.kind, [row]) for row in range(8)], "batch")
    assert largest_difference(split, whole) > 0.01
    # A single row is its own mean: there both reductions are the same.
    one = [batch_of(case.kind, [2])]
    assert_same_gradients(gradients_of(model, one, "batch"), gradients_of(model, one, "example"))


def test_reductions_by_hand() -> None:
    writer, director, weight = (torch.tensor(v) for v in ([1.0, 3.0], [2.0, 0.5], [1.0, 3.0]))
    cases: list[tuple[JointLoss, str, float]] = [
        (Wdal(), "example", 1 * (1 * 2) + 3 * (3 * 0.5)),  # 2 + 4.5
        # Weighted means: (1 * 1 + 3 * 3) / 4 = 2.5 and (1 * 2 + 3 * 0.5) / 4 = 0.875; their product, times weight 4.
        (Wdal(), "batch", 2.5 * 0.875 * 4),
        (SumLoss(), "example", 1 * 3 + 3 * 3.5),
        (SumLoss(), "batch", (2.5 + 0.875) * 4),  # the sum is additive: no difference
    ]
    for joint, reduction, expected in cases:
        assert joined(joint, writer, director, weight, reduction).total.item() == pytest.approx(expected, rel=1e-6)
    assert joined(Wdal(), writer, director, torch.zeros(2), "batch").total.item() == 0.0


# --- train and eval state ---------------------------------------------------------------------------------------------


@every_case
def test_train_and_eval_state_give_the_same_and_are_left_as_found(case: Case) -> None:
    model, batch = make(case, "gpt2"), batch_of(case.kind)
    expected, predictions = model.eval()(batch, plan(), "example"), model.predict(batch)
    assert not any(module.training for module in model.modules())
    model.train()
    assert_same_losses(model(batch, plan(), "example"), expected, range(8))
    assert_same_predictions(model.predict(batch), predictions)
    assert all(module.training for module in model.modules())


# --- what is fed and scored -------------------------------------------------------------------------------------------

PREDGEN = [case for case in CASES if case.method == "predgen"]
every_predgen = pytest.mark.parametrize("case", PREDGEN, ids=str)


@every_predgen
def test_gold_is_fed_at_p_zero(case: Case) -> None:
    model, batch = made(case, "llama"), batch_of(case.kind)
    fed = model.feed(batch, plan(0.0))
    for row, gold in enumerate(encoded(case.kind)):
        assert tuple(fed.ids[row][fed.mask[row]].tolist()) == gold.answer_ids[:-1]
    assert torch.equal(fed.scored, batch.answer_mask)


@pytest.mark.parametrize(("case", "family"), [pair for pair in PAIRS if pair[0] in PREDGEN], ids=str)
def test_the_greedy_answer_is_fed_at_p_one_in_either_mode(case: Case, family: str) -> None:
    batch = batch_of(case.kind)
    losses = []
    for sampling in ("sequence", "token"):
        model = made(replace(case, sampling=sampling), family)
        fed = model.feed(batch, plan(1.0))
        greedy = model.write(batch).sequences()
        assert [tuple(ids[mask].tolist()) for ids, mask in zip(fed.ids, fed.mask, strict=True)] == greedy
        assert greedy != [row.answer_ids[:-1] for row in encoded(case.kind)]
        losses.append(model(batch, plan(1.0), "example"))
    assert_same_losses(losses[0], losses[1], range(8))


def test_sequence_feeds_all_own_or_all_gold() -> None:
    case = Case("predgen", "regression", "value", "sequence")
    model, batch = made(case, "llama"), batch_of(case.kind)
    fed = model.feed(batch, plan(0.5))
    greedy = model.write(batch).sequences()
    gold = [row.answer_ids[:-1] for row in encoded(case.kind)]
    found = [tuple(ids[mask].tolist()) for ids, mask in zip(fed.ids, fed.mask, strict=True)]
    is_own = (plan(0.5).uniforms(batch.row_id, 1)[:, 0] < 0.5).tolist()
    assert found == [own if flag else given for own, given, flag in zip(greedy, gold, is_own, strict=True)]
    assert len(set(is_own)) == 2


def test_teacher_forcing_ignores_p() -> None:
    case = Case("predgen", "regression", "value", "off")
    model, batch = made(case, "llama"), batch_of(case.kind)
    assert_same_losses(model(batch, plan(1.0), "example"), model(batch, plan(0.0), "example"), range(8))


@every_predgen
def test_epochs_draw_anew(case: Case) -> None:
    model, batch = made(case, "llama"), batch_of(case.kind)
    feeds = [model.feed(batch, plan(0.5, epoch)) for epoch in range(4)]
    written = [tuple(map(tuple, zip(fed.ids.tolist(), fed.mask.tolist(), strict=True))) for fed in feeds]
    assert any(one != other for one, other in itertools.pairwise(written))


@every_family
@pytest.mark.parametrize("p", [0.5, 1.0])
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_gold_that_is_illegal_after_the_fed_prefix_is_not_scored(kind: str, p: float, family: str) -> None:
    director = "linear" if kind == "classification" else "value"
    model, batch, codec = made(Case("predgen", kind, director, "token"), family), batch_of(kind), codec_of(kind)
    # Second route: look at all answers that there are.
    values = codec.labels if isinstance(codec, LabelCodec) else codec.answers()
    answers = {codec.encode(Target(value)) for value in values}
    fed = model.feed(batch, plan(p))
    unscored = 0
    for row, gold in enumerate(encoded(kind)):
        content = tuple(fed.ids[row][fed.mask[row]].tolist())
        expected = [
            t <= len(content) and any(answer[: t + 1] == (*content[:t], token) for answer in answers)
            for t, token in enumerate(gold.answer_ids)
        ]
        assert fed.scored[row].tolist() == expected + [False] * (fed.scored.shape[1] - len(expected))
        assert fed.scored[row, 0]  # nothing stands before the first token: gold is legal
        unscored += expected.count(False)
    assert unscored > 0 or p < 1


def test_gold_in_free_text_is_legal_except_for_the_stop() -> None:
    space = codec_of("math").space
    stop, free = space.stop, next(i for i in range(10, 90) if i not in space.cue)
    # Two tokens of free text are fed; gold stops after one, which no rationale may.
    assert legal_positions((free, free), [free, stop], space) == [True, False]
    # Fed: "#### 7"; gold has a rationale first. After the cue's first tokens free text is still legal, then a number is due.
    seven = (*space.cue, *space.separator, space.characters["7"])
    gold = [*[free] * len(space.cue), free, stop]
    assert legal_positions(seven, gold, space) == [True] * len(space.cue) + [False, False]


@every_case
def test_writer_scores_match_a_forward_by_hand(case: Case) -> None:
    model, batch = made(case, "gpt_neox"), batch_of(case.kind)
    if not isinstance(model, WritingModel):
        assert model(batch, plan(), "example").writer is None
        return
    losses = model(batch, plan(1.0), "example")
    fed = model.feed(batch, plan(1.0)) if isinstance(model, PredGen) else None
    for row, gold in enumerate(encoded(case.kind)):
        content = list(gold.answer_ids[:-1]) if fed is None else fed.ids[row][fed.mask[row]].tolist()
        prompt = list(gold.prompt_ids)
        output = model.lm(input_ids=torch.tensor([prompt + content]), output_hidden_states=True, use_cache=False)
        log_probs = output.logits[0].log_softmax(dim=1)
        # Answer token t is predicted one position before it, at len(prompt) - 1 + t.
        scored = [t for t in range(len(gold.answer_ids)) if fed is None or fed.scored[row, t]]
        nll = [-float(log_probs[len(prompt) - 1 + t, gold.answer_ids[t]].detach()) for t in scored]
        assert float(losses.writer[row]) == pytest.approx(math.fsum(nll) / len(nll), rel=TOLERANCE)
        if fed is not None and model.director.has_head:
            # The director reads AT the content tokens: len(prompt) .. len(prompt) + len(content) - 1.
            mean = output.hidden_states[-1][0, len(prompt) :].mean(dim=0)
            assert len(content) == len(output.hidden_states[-1][0, len(prompt) :])
            out = (model.director.head.weight @ mean + model.director.head.bias).detach()
            if case.kind == "classification":
                expected = float(out.logsumexp(0) - out[int(gold.target)])
            else:
                expected = (float(out) - (gold.target - 1.0) / 1.75) ** 2
            assert float(losses.director[row]) == pytest.approx(expected, rel=1e-4, abs=TOLERANCE)


@pytest.mark.parametrize("where", ["last prompt token", "first content token", "last content token"])
def test_director_reads_content_states_and_writer_the_ones_before(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(Case("predgen", "regression", "value", "token"))
    batch = batch_of("regression", [2])
    n, m = batch.prompt_ids.shape[1], batch.answer_ids.shape[1] - 1
    at = {"last prompt token": n - 1, "first content token": n, "last content token": n + m - 1}[where]
    fed = model.feed(batch, plan(1.0))
    before = model.read(batch, fed)
    own_states = model.backbone.states

    def perturbed(*args: object, **kwargs: object) -> tuple[Tensor, object]:
        states, cache = own_states(*args, **kwargs)
        moved = states.clone()
        moved[:, at] += torch.linspace(-1, 1, states.shape[-1])
        return moved, cache

    monkeypatch.setattr(model.backbone, "states", perturbed)
    after = model.read(batch, fed)
    content_changed = (after.states != before.states).any(dim=2)[0].tolist()
    nll_changed = (after.nll != before.nll)[0].tolist()
    # State n - 1 + t predicts answer token t, and is content state t - 1.
    assert content_changed == [n + t == at for t in range(m)]
    assert nll_changed == [n - 1 + t == at for t in range(m + 1)]


# --- predictions ------------------------------------------------------------------------------------------------------


@every_pair
def test_predictions_match_a_forward_by_hand(case: Case, family: str) -> None:
    model, rows = made(case, family), encoded(case.kind)[:4]
    codec = codec_of(case.kind)
    for row, prediction in zip(rows, model.predict(batch_of(case.kind, range(4))), strict=True):
        prompt = list(row.prompt_ids)
        if isinstance(model, WritingModel):
            content = list(model.write(collate([row], 0)).sequences()[0])
            answer = codec.decode(content).value
        with torch.no_grad():
            if case.method == "predictor":
                states = model.lm(input_ids=torch.tensor([prompt]), output_hidden_states=True).hidden_states[-1][0]
                pooled = {"last": states[-1], "mean": states.mean(0), "first": states[0]}[case.pooling]
                output = model.head.weight @ pooled + model.head.bias
                expected = output.softmax(0) if case.kind == "classification" else output * 1.75 + 1.0
                assert prediction.answer is None
            elif case.method == "predgen" and case.director != "ordered":
                ids = torch.tensor([prompt + content])
                states = model.lm(input_ids=ids, output_hidden_states=True).hidden_states[-1][0, len(prompt) :]
                output = model.director.head.weight @ states.mean(0) + model.director.head.bias
                expected = output.softmax(0) if case.kind == "classification" else output * 1.75 + 1.0
                assert prediction.answer == (answer if isinstance(answer, str) else repr(answer))
            elif case.kind == "classification":
                expected = torch.tensor([by_steps(model, prompt, label) for label in codec.labels]).exp()
            else:
                assert prediction.value == answer
                assert prediction.answer == repr(answer)
                continue
        if case.kind == "classification":
            assert prediction.probabilities == pytest.approx(expected.tolist(), abs=TOLERANCE)
            assert prediction.value == codec.labels[int(expected.argmax())]
        else:
            assert prediction.value == pytest.approx(float(expected), abs=TOLERANCE)


@torch.no_grad()
def by_steps(model: PredictionModel, prompt: list[int], label: str) -> float:
    """log P(label|X), the legal tokens found by looking at all labels."""
    answers = [codec_of("classification").encode(Target(other)) for other in codec_of("classification").labels]
    answer = codec_of("classification").encode(Target(label))
    logits = model.lm(input_ids=torch.tensor([[*prompt, *answer[:-1]]])).logits[0, len(prompt) - 1 :]
    total = 0.0
    for t, token in enumerate(answer):
        legal = sorted({a[t] for a in answers if a[:t] == answer[:t] and len(a) > t})
        total += float(logits[t, token] - logits[t, legal].logsumexp(0))
    return total


@every_family
@pytest.mark.parametrize("case", [case for case in CASES if case.kind == "classification"], ids=str)
def test_probabilities_sum_to_one(case: Case, family: str) -> None:
    for prediction in made(case, family).predict(batch_of(case.kind)):
        assert len(prediction.probabilities) == 4
        assert math.fsum(prediction.probabilities) == pytest.approx(1.0, abs=1e-12)
        assert min(prediction.probabilities) >= 0.0
        assert (
            prediction.value
            == codec_of(case.kind).labels[prediction.probabilities.index(max(prediction.probabilities))]
        )


@every_case
def test_targets_do_not_change_predictions(case: Case) -> None:
    model, batch = made(case, "llama"), batch_of(case.kind)
    blind = [replace(row, answer_ids=(), weighed=(), target=math.nan) for row in encoded(case.kind)]
    assert_same_predictions(model.predict(collate(blind, 0)), model.predict(batch))


@pytest.mark.parametrize("side", ["left", "right"])
def test_pooling_by_hand_on_either_padding_side(side: str) -> None:
    real = torch.tensor([[1.0, 10.0], [2.0, 30.0], [6.0, 20.0]])
    junk = torch.full((2, 2), math.nan)
    states = torch.cat([junk, real] if side == "left" else [real, junk])[None]
    mask = torch.tensor([[False] * 2 + [True] * 3 if side == "left" else [True] * 3 + [False] * 2])
    assert {how: pool(states, mask, how)[0].tolist() for how in ("last", "mean", "first")} == {
        "last": [6.0, 20.0],
        "mean": [3.0, 20.0],  # (1 + 2 + 6) / 3, (10 + 30 + 20) / 3
        "first": [1.0, 10.0],
    }


# --- learning ---------------------------------------------------------------------------------------------------------


# Pooling "first" sees the same token in every row.
@pytest.mark.parametrize("case", [case for case in CASES if case.pooling != "first"], ids=str)
def test_every_method_can_learn_four_rows_by_heart(case: Case) -> None:
    model, batch = make(case, "llama"), batch_of(case.kind, range(4))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    history = []
    for _ in range(25):
        optimizer.zero_grad()
        losses = model(batch, plan(0.0), "example")
        losses.total.backward()
        optimizer.step()
        history.append(sum(float(part.mean()) for part in (losses.writer, losses.director) if part is not None))
    assert history[-1] < 0.5 * history[0]


@every_case
def test_head_state_round_trips_and_is_checked(case: Case) -> None:
    first, second = make(case, seed=0), make(case, seed=1)
    state = {name: value + 1 for name, value in first.head_state().items()}
    assert not any(name.startswith("lm.") for name in state)
    second.load_head_state(state)
    assert second.head_state().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in second.head_state().items())
    with pytest.raises(ValueError, match="do not fit this model"):
        second.load_head_state({**state, "head.more": torch.zeros(1)})
