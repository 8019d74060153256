import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from method_cases import (
    CASES,
    TOLERANCE,
    Case,
    answers_of,
    assert_same_gradients,
    assert_same_losses,
    assert_same_predictions,
    batch_of,
    codec_of,
    encoded,
    fed_in,
    fed_tokens,
    gradients_of,
    largest_difference,
    made,
    make,
    more_padding,
    plain_log_probs,
    plan,
)
from predgen.codecs.base import AnswerSpace, FiniteCodec
from predgen.core import Prediction
from predgen.data.collate import collate
from predgen.engine.walk import GoldFeed, Walk
from predgen.losses.base import JointLoss
from predgen.losses.sum import SumLoss
from predgen.losses.wdal import Wdal
from predgen.models.base import joined
from predgen.models.predgen import PredGen
from predgen.models.predictor import pool
from predgen.models.writer import WritingModel
from tiny_models import FAMILIES

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_family = pytest.mark.parametrize("family", FAMILIES)
# Every case on one architecture, and each method on all of them.
WRITERS = (CASES[4], CASES[5], CASES[7])
PAIRS = [(case, FAMILIES[0]) for case in CASES]
PAIRS += [(case, family) for case in (CASES[0], *WRITERS) for family in FAMILIES[1:]]
# Where losses are compared with all pairs already: every case, and every architecture.
FEW_PAIRS = [*PAIRS[: len(CASES)], *zip((CASES[0], *WRITERS), FAMILIES[1:], strict=True)]
every_pair = pytest.mark.parametrize(("case", "family"), PAIRS, ids=str)
PREDGEN = [case for case in CASES if case.sampling in ("token", "sequence")]
every_predgen = pytest.mark.parametrize("case", PREDGEN, ids=str)

# --- the batch does not matter ----------------------------------------------------------------------------------------


@every_pair
def test_losses_and_predictions_do_not_depend_on_the_batch(case: Case, family: str) -> None:
    model, whole = made(case, family), batch_of(case.kind)
    losses, predictions = model(whole, plan(), "example"), model.predict(whole)
    losses_of_rows = losses.director if losses.writer is None else losses.writer
    assert len({round(value, 4) for value in losses_of_rows.tolist()}) > 4  # rows differ
    for rows in ([5, 2, 7, 0], [3]):
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


@pytest.mark.parametrize(("case", "family"), FEW_PAIRS, ids=str)
def test_one_batch_and_its_rows_alone_or_in_parts_give_the_same_gradients(case: Case, family: str) -> None:
    model = make(case, family)
    whole = gradients_of(model, [batch_of(case.kind, [0, 1, 3, 6])])
    assert {name.split(".")[0] for name in whole} >= {"lm"}
    assert_same_gradients(gradients_of(model, [batch_of(case.kind, [row]) for row in (0, 1, 3, 6)]), whole)
    assert_same_gradients(gradients_of(model, [batch_of(case.kind, rows) for rows in ([6, 1, 3], [0])]), whole)


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


@every_predgen
def test_gold_is_fed_at_p_zero(case: Case) -> None:
    model, batch = made(case, "llama"), batch_of(case.kind)
    fed = fed_in(model, batch, plan(0.0))
    assert fed_tokens(fed) == [gold.answer_ids[:-1] for gold in encoded(case.kind)]
    assert torch.equal(fed.scored, batch.answer_mask)


@pytest.mark.parametrize(("case", "family"), [pair for pair in FEW_PAIRS if pair[0] in PREDGEN], ids=str)
def test_the_greedy_answer_is_fed_at_p_one_in_either_mode(case: Case, family: str) -> None:
    batch = batch_of(case.kind)
    losses = []
    for sampling in ("sequence", "token"):
        model = made(replace(case, sampling=sampling), family)
        greedy = model.write(batch).sequences()
        assert fed_tokens(fed_in(model, batch, plan(1.0))) == greedy
        assert greedy != [row.answer_ids[:-1] for row in encoded(case.kind)]
        losses.append(model(batch, plan(1.0), "example"))
    assert_same_losses(losses[0], losses[1], range(8))


def test_sequence_feeds_all_own_or_all_gold() -> None:
    case = Case("predgen", "regression", "value", "sequence")
    model, batch = made(case, "llama"), batch_of(case.kind)
    greedy = model.write(batch).sequences()
    gold = [row.answer_ids[:-1] for row in encoded(case.kind)]
    found = fed_tokens(fed_in(model, batch, plan(0.5)))
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
    written = [fed_tokens(fed_in(model, batch, plan(0.5, epoch))) for epoch in range(4)]
    assert any(one != other for one, other in itertools.pairwise(written))


@every_family
@pytest.mark.parametrize("p", [0.5, 1.0])
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_gold_that_is_illegal_after_the_fed_prefix_is_not_scored(kind: str, p: float, family: str) -> None:
    director = "linear" if kind == "classification" else "value"
    model, batch, codec = made(Case("predgen", kind, director, "token"), family), batch_of(kind), codec_of(kind)
    # Second route: look at all answers that there are.
    answers = set(answers_of(codec))
    fed = fed_in(model, batch, plan(p))
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


def legal_positions(fed: tuple[int, ...], answer: list[int], space: AnswerSpace) -> list[bool]:
    """Which gold tokens are legal where a walk is fed these tokens."""
    ids = torch.tensor([answer])
    walk = Walk(space, 1, GoldFeed(ids, torch.ones_like(ids).bool(), torch.ones_like(ids).bool()))
    while walk.step([(*fed, space.stop)[len(walk.tokens)]]):
        pass
    return walk.own_tokens(ids.device).scored[0].tolist()


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
    is_fed = isinstance(model, PredGen) and case.sampling != "marginal"
    fed = fed_in(model, batch, plan(1.0)) if is_fed else None
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
                expected = (float(out) - (gold.target - 1.0) / 1.75) ** 2  # `Encoded.target` is the raw number
            assert float(losses.director[row]) == pytest.approx(expected, rel=1e-4, abs=TOLERANCE)


@pytest.mark.parametrize("where", ["last prompt token", "first content token", "last content token"])
def test_director_reads_content_states_and_writer_the_ones_before(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(Case("predgen", "regression", "value", "token"))
    batch = batch_of("regression", [2])
    n, m = batch.prompt_ids.shape[1], batch.answer_ids.shape[1] - 1
    at = {"last prompt token": n - 1, "first content token": n, "last content token": n + m - 1}[where]
    fed = fed_in(model, batch, plan(1.0))
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


@pytest.mark.parametrize(
    ("case", "family"), [pair for pair in PAIRS if pair[0].sampling != "marginal"], ids=str
)  # `marginal` has tests of its own
@torch.no_grad()
def test_predictions_match_a_forward_by_hand(case: Case, family: str) -> None:
    model, rows, codec = made(case, family), encoded(case.kind)[:4], codec_of(case.kind)
    for row, prediction in zip(rows, model.predict(batch_of(case.kind, range(4))), strict=True):
        prompt = list(row.prompt_ids)
        if case.method == "predictor":
            states = model.lm(input_ids=torch.tensor([prompt]), output_hidden_states=True).hidden_states[-1][0]
            output = {"last": states[-1], "mean": states.mean(0), "first": states[0]}[
                case.pooling
            ] @ model.head.weight.T
            assert_reads(prediction, case.kind, output + model.head.bias)
            assert prediction.answer is None
        elif case.director in ("linear", "value") and case.method == "predgen":
            content = list(model.write(collate([row], 0)).sequences()[0])
            ids = torch.tensor([prompt + content])
            states = model.lm(input_ids=ids, output_hidden_states=True).hidden_states[-1][0, len(prompt) :]
            assert_reads(prediction, case.kind, model.director.head(states.mean(0)[None])[0])
            assert prediction.answer == text_of(codec.decode(content).value)
        elif case.method == "predgen" and case.director == "ordered":
            answer = codec.decode(model.write(collate([row], 0)).sequences()[0]).value
            assert (prediction.value, prediction.answer) == (answer, text_of(answer))
        else:
            assert isinstance(codec, FiniteCodec)
            exact = torch.tensor(plain_log_probs(model, prompt, codec)[0]).exp()
            best = codec.value_at(int(exact.argmax()))
            if case.director == "expected":
                mean = math.fsum(float(p) * float(codec.value_at(i)) for i, p in enumerate(exact))
                assert prediction.value == pytest.approx(mean, abs=TOLERANCE)
                assert prediction.answer is None
            else:
                assert (prediction.value, prediction.answer) == (best, text_of(best))
                if case.kind == "classification":
                    assert prediction.probabilities == pytest.approx(exact.tolist(), abs=TOLERANCE)


def text_of(value: str | float) -> str:
    return value if isinstance(value, str) else repr(value)


def assert_reads(prediction: Prediction, kind: str, output: Tensor) -> None:
    """A head's output, read by hand."""
    if kind == "classification":
        assert prediction.probabilities == pytest.approx(output.softmax(0).tolist(), abs=TOLERANCE)
        assert prediction.value == codec_of(kind).labels[int(output.argmax())]
    else:
        assert prediction.value == pytest.approx(float(output) * 1.75 + 1.0, abs=TOLERANCE)


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
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    history = []
    for _ in range(25):
        optimizer.zero_grad()
        losses = model(batch, plan(0.0), "example")
        losses.total.backward()
        optimizer.step()
        history.append(sum(float(part.mean()) for part in (losses.writer, losses.director) if part is not None))
        if history[-1] < 0.5 * history[0]:
            break
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
