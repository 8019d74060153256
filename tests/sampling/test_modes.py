import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from method_cases import Case, batch_of, encoded, fed_in, fed_tokens, make, plan
from predgen.components import resolve
from predgen.data.collate import Batch
from predgen.engine.prompt_pass import CachedPrompts
from predgen.engine.walk import GoldFeed, OwnTokens
from predgen.errors import ConfigError
from predgen.registries import sampling
from predgen.sampling.base import SamplingMode, SamplingSetup, Writing
from predgen.sampling.by_token import ByToken
from predgen.sampling.draws import SamplingPlan

MODES = list(sampling)
every_mode = pytest.mark.parametrize("mode", MODES)


def made(mode: str) -> SamplingMode:
    found: SamplingMode = resolve([(sampling, mode)], {}, None)[sampling.kind].make(SamplingSetup(mode, "math"))
    return found


def choose(mode: str, probability: float, rows: list[int], width: int, seed: int = 0, epoch: int = 0) -> Tensor:
    return made(mode).own(SamplingPlan(probability, seed, epoch), torch.tensor(rows), width)


@every_mode
def test_result_is_one_boolean_per_position(mode: str) -> None:
    chosen = choose(mode, 0.5, [4, 9, 2], 6)
    assert (chosen.shape, chosen.dtype) == ((3, 6), torch.bool)


@every_mode
def test_p_zero_feeds_gold_only_and_p_one_own_only(mode: str) -> None:
    rows = list(range(300))
    assert not choose(mode, 0.0, rows, 10).any()
    chosen = choose(mode, 1.0, rows, 10)
    # `off` feeds gold; `marginal` samples nothing: its director is averaged over all answers.
    assert not chosen.any() if mode in ("off", "marginal") else chosen.all()


@every_mode
@settings(deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=8), st.floats(0, 1), st.integers(0, 9), st.randoms())
def test_choice_does_not_depend_on_split_order_or_width(
    mode: str, rows: list[int], p: float, epoch: int, rng: random.Random
) -> None:
    together = choose(mode, p, rows, 7, epoch=epoch)
    order = list(range(len(rows)))
    rng.shuffle(order)
    assert torch.equal(choose(mode, p, [rows[i] for i in order], 7, epoch=epoch), together[order])
    split = torch.cat([choose(mode, p, rows[:1], 7, epoch=epoch), choose(mode, p, rows[1:], 7, epoch=epoch)])
    assert torch.equal(split, together)
    assert torch.equal(choose(mode, p, rows, 3, epoch=epoch), together[:, :3])


@every_mode
@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1))
def test_a_larger_p_only_adds_own_tokens(mode: str, a: float, b: float) -> None:
    low, high = sorted((a, b))
    rows = list(range(20))
    assert not (choose(mode, low, rows, 4) & ~choose(mode, high, rows, 4)).any()


def test_sequence_is_all_or_nothing_per_row() -> None:
    chosen = choose("sequence", 0.5, list(range(200)), 5)
    assert torch.equal(chosen.all(dim=1), chosen.any(dim=1))
    assert 0 < int(chosen[:, 0].sum()) < 200


def test_token_mixes_within_a_row() -> None:
    chosen = choose("token", 0.5, list(range(200)), 5)
    assert (chosen.any(dim=1) & ~chosen.all(dim=1)).sum() > 100  # 1 - 2 / 2^5 = 94 % of the rows are mixed


@pytest.mark.parametrize("p", [0.05, 0.3, 0.8])
@pytest.mark.parametrize(("mode", "n"), [("sequence", 3000), ("token", 3000 * 4)])
def test_share_of_own_tokens_is_p(mode: str, n: int, p: float) -> None:
    chosen = choose(mode, p, list(range(3000)), 4)
    # Four standard deviations of a share of n independent draws.
    assert float(chosen.float().mean()) == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / n))


def test_epochs_choose_anew() -> None:
    rows = list(range(64))
    assert not torch.equal(choose("token", 0.5, rows, 4, epoch=0), choose("token", 0.5, rows, 4, epoch=1))


def test_modes_equal_their_definition() -> None:
    plan, rows = SamplingPlan(0.4, 11, 3), torch.tensor([5, 0, 17])
    uniforms = plan.uniforms(rows, 6)
    by_token = [[u < 0.4 for u in row] for row in uniforms.tolist()]
    assert made("token").own(plan, rows, 6).tolist() == made("parallel").own(plan, rows, 6).tolist() == by_token
    assert made("sequence").own(plan, rows, 6).tolist() == [[row[0] < 0.4] * 6 for row in uniforms.tolist()]
    assert made("off").own(plan, rows, 6).tolist() == made("marginal").own(plan, rows, 6).tolist() == [[False] * 6] * 3


class Copies(ByToken):
    """A mode of one's own: rows that need own tokens are fed the first one's gold answer."""

    kinds = ("regression",)

    def own_tokens(self, model: Writing, some: Batch, gold: GoldFeed, prompts: CachedPrompts | None) -> OwnTokens:
        ids, mask = (t[:1, :-1].expand(len(some), -1) for t in (some.answer_ids, some.answer_mask))
        return OwnTokens(ids, mask, some.answer_mask)


def test_a_mode_of_ones_own_decides_what_is_fed() -> None:
    case = Case("predgen", "regression", "value", "token")
    model, batch = make(case), batch_of(case.kind)
    model.mode = Copies(SamplingSetup("copies", case.kind))
    answers = [row.answer_ids[:-1] for row in encoded(case.kind)]  # of equal length
    assert len(set(answers)) == len(answers)
    assert fed_tokens(fed_in(model, batch, plan(1.0))) == [answers[0]] * len(answers)
    assert fed_tokens(fed_in(model, batch, plan(0.0))) == answers
    own = model(batch, plan(1.0), "example")
    assert not torch.allclose(own.writer, model(batch, plan(0.0), "example").writer)


def test_a_mode_of_ones_own_states_what_it_needs() -> None:
    Copies.check_task("copies", "regression", "value", has_head=True)
    with pytest.raises(ConfigError, match=r"`sampling` 'copies' .* a math task"):
        Copies.check_task("copies", "math", "ordered", has_head=False)
