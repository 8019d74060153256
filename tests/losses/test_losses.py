import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from predgen.losses.adaptive import AdaptiveLoss
from predgen.losses.token_nll import token_nll, weighted_mean, writer_loss
from predgen.losses.wdal import Wdal
from predgen.losses.wdal_shifted import WdalShifted
from predgen.registries import losses

NAMES = list(losses)
every_loss = pytest.mark.parametrize("name", NAMES)
# Losses are >= 0: nats per token, nats, squared standard deviations.
positive = st.floats(1e-3, 1e3)
DEPENDS_ON_WRITER = {"wdal": True, "wdal_shifted": True, "sum": True, "adaptive": True, "director_only": False}


def pair(writer: list[float], director: list[float]) -> tuple[Tensor, Tensor]:
    """Both losses in float64, with gradients."""
    return tuple(torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (writer, director))


# --- the whole registry -----------------------------------------------------------------------------------------------


@every_loss
def test_one_finite_value_per_example_and_finite_gradients(name: str) -> None:
    writer, director = pair([0.5, 3.0, 0.0, 20.0, 0.0], [2.0, 0.1, 0.0, 0.0, 50.0])
    joint = losses.get(name)().double()
    values = joint(writer, director)
    assert values.shape == (5,)
    assert values.isfinite().all()
    gradients = torch.autograd.grad(values.sum(), (writer, director), allow_unused=True)
    for gradient in gradients:
        assert gradient is None or gradient.isfinite().all()
    assert (gradients[0] is not None) is DEPENDS_ON_WRITER[name]
    assert gradients[1] is not None
    assert gradients[1].abs().max() > 0


@every_loss
def test_a_value_depends_on_its_own_example_only(name: str) -> None:
    joint = losses.get(name)().double()
    writer, director = pair([0.5, 3.0, 1.5], [2.0, 0.1, 0.7])
    together = joint(writer, director)
    for row in range(3):
        assert torch.equal(joint(writer[row : row + 1], director[row : row + 1])[0], together[row])
        gradient = torch.autograd.grad(together[row], director, retain_graph=True)[0]
        assert [g != 0 for g in gradient.tolist()] == [other == row for other in range(3)]


@every_loss
def test_single_precision_is_kept(name: str) -> None:
    assert losses.get(name)()(torch.tensor([0.5]), torch.tensor([2.0])).dtype == torch.float32


@every_loss
@settings(deadline=None)
@given(positive, positive)
def test_gradients_equal_finite_differences(name: str, a: float, b: float) -> None:
    joint = losses.get(name)().double()
    writer, director = pair([a], [b])
    gradients = torch.autograd.grad(joint(writer, director).sum(), (writer, director), allow_unused=True)
    for which, gradient in enumerate(gradients):
        step = 1e-5 * (a, b)[which]
        ends = []
        for sign in (1, -1):
            moved = [torch.tensor([v + sign * step * (i == which)], dtype=torch.float64) for i, v in enumerate((a, b))]
            ends.append(joint(*moved).item())
        slope = (ends[0] - ends[1]) / (2 * step)
        # Rounding of the difference: 2^-52 of the value, over the step.
        rounding = 1e-15 * (abs(ends[0]) + 1) / step
        assert float(gradient if gradient is not None else 0.0) == pytest.approx(slope, rel=1e-8, abs=rounding)


@every_loss
def test_training_lowers_the_loss(name: str) -> None:
    # Both losses as squares of free parameters: a plain descent must go down, whatever the form.
    joint = losses.get(name)().double()
    roots = torch.tensor([1.5, 0.7], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([roots, *joint.parameters()], lr=0.02)
    history = []
    for _ in range(20):
        optimizer.zero_grad()
        value = joint(roots[:1].square(), roots[1:].square()).sum()
        value.backward()
        optimizer.step()
        history.append(value.item())
    assert all(later < earlier for earlier, later in itertools.pairwise(history))


# --- WDAL -------------------------------------------------------------------------------------------------------------


def paper_wdal(a: float, b: float) -> float:
    """The paper's form, section 4: max(a^2, b^2) * exp(-|log a - log b|)."""
    return max(a**2, b**2) * math.exp(-abs(math.log(a) - math.log(b)))


def authors_wdal(a: float, b: float) -> float:
    """What the authors' code computes."""
    gap = abs(math.log(1 + a) - math.log(1 + b))
    return math.log(1 + a) + math.log(1 + b) + (1 + max(a, b)) ** 2 * math.exp(-gap)


@settings(deadline=None)
@given(positive, positive)
def test_wdal_is_the_papers_formula(a: float, b: float) -> None:
    assert Wdal()(*pair([a], [b])).item() == pytest.approx(paper_wdal(a, b), rel=1e-6)


@settings(deadline=None)
@given(st.floats(0, 1e3), st.floats(0, 1e3))
def test_wdal_shifted_is_the_authors_formula(a: float, b: float) -> None:
    assert WdalShifted()(*pair([a], [b])).item() == pytest.approx(authors_wdal(a, b), rel=1e-12)


@settings(deadline=None)
@given(positive, positive)
def test_closed_gradients_of_both_forms(a: float, b: float) -> None:
    writer, director = pair([a], [b])
    gradients = torch.autograd.grad(Wdal()(writer, director).sum(), (writer, director))
    assert [float(g) for g in gradients] == [b, a]
    gradients = torch.autograd.grad(WdalShifted()(writer, director).sum(), (writer, director))
    expected = [1 / (1 + a) + 1 + b, 1 / (1 + b) + 1 + a]
    assert [float(g) for g in gradients] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("a", "b"), [(0.0, 0.0), (0.0, 3.0), (3.0, 0.0)])
def test_a_zero_loss_has_finite_gradients(a: float, b: float) -> None:
    # The paper's form has log 0 here.
    writer, director = pair([a], [b])
    value = Wdal()(writer, director)
    assert value.item() == 0.0
    assert [float(g) for g in torch.autograd.grad(value.sum(), (writer, director))] == [b, a]
    value = WdalShifted()(writer, director)
    # a = 0, b = 3: log 1 + log 4 + 1 * 4
    assert value.item() == pytest.approx(math.log((1 + a) * (1 + b)) + (1 + a) * (1 + b), rel=1e-15)
    gradients = torch.autograd.grad(value.sum(), (writer, director))
    # The gradient of each loss stays alive where the other one is 0: at (0, 0) both are 1 + 1 + 0 = 2.
    assert [float(g) for g in gradients] == pytest.approx([1 / (1 + a) + 1 + b, 1 / (1 + b) + 1 + a], rel=1e-15)


def test_multiplicative_is_wdal() -> None:
    assert losses.canonical("multiplicative") == "wdal"
    assert losses.get("multiplicative") is losses.get("wdal") is Wdal


# --- hand values ------------------------------------------------------------------------------------------------------


def test_hand_calculated_values() -> None:
    losses_of = {name: losses.get(name)()(torch.tensor([0.5]), torch.tensor([2.0])).item() for name in NAMES}
    assert losses_of == {
        "wdal": pytest.approx(1.0),  # 0.5 * 2
        "wdal_shifted": pytest.approx(math.log(4.5) + 4.5, rel=1e-6),  # 1.5 * 3 = 4.5
        "sum": pytest.approx(2.5),
        "adaptive": pytest.approx(2.5),  # e^0 * 0.5 + 0 + e^0 * 2 + 0
        "director_only": pytest.approx(2.0),
    }


def test_adaptive_weighs_by_its_log_variances() -> None:
    joint = AdaptiveLoss()
    with torch.no_grad():
        joint.log_variances.copy_(torch.tensor([math.log(2), -math.log(4)]))
    value = joint(torch.tensor([3.0]), torch.tensor([0.5]))
    # a = log 2, b = -log 4: 3 / 2 + log 2 + 0.5 * 4 - log 4 = 3.5 - log 2
    assert value.item() == pytest.approx(3.5 - math.log(2), rel=1e-6)
    (gradient,) = torch.autograd.grad(value.sum(), joint.log_variances)
    # d/da = -e^-a L_W + 1 = -1.5 + 1; d/db = -e^-b L_D + 1 = -2 + 1
    assert gradient.tolist() == pytest.approx([-0.5, -1.0], rel=1e-6)


def test_adaptive_learns_the_logarithm_of_constant_losses() -> None:
    # e^-a L + a is least at a = log L.
    joint = AdaptiveLoss().double()
    optimizer = torch.optim.SGD(joint.parameters(), lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        joint(*(v.detach() for v in pair([0.3], [4.0]))).sum().backward()
        optimizer.step()
    assert joint.log_variances.tolist() == pytest.approx([math.log(0.3), math.log(4.0)], abs=1e-8)


# --- token losses -----------------------------------------------------------------------------------------------------


def test_token_nll_equals_a_plain_loop() -> None:
    logits, targets = 5 * torch.randn(3, 4, 11), torch.randint(0, 11, (3, 4))
    result = token_nll(logits, targets)
    for b in range(3):
        for t in range(4):
            scores = [float(x) for x in logits[b, t].double()]
            top = max(scores)
            log_sum = top + math.log(sum(math.exp(s - top) for s in scores))
            assert float(result[b, t]) == pytest.approx(log_sum - scores[int(targets[b, t])], rel=1e-5, abs=1e-5)


def test_token_nll_of_flat_logits_is_the_log_of_the_vocabulary() -> None:
    assert token_nll(torch.zeros(1, 2, 8), torch.tensor([[0, 7]])).tolist() == [pytest.approx([math.log(8)] * 2)]


def test_token_nll_is_computed_in_single_precision() -> None:
    logits = 5 * torch.randn(2, 3, 50)
    half = logits.bfloat16()
    result = token_nll(half, torch.ones(2, 3, dtype=torch.long))
    assert result.dtype == torch.float32
    assert torch.equal(result, token_nll(half.float(), torch.ones(2, 3, dtype=torch.long)))


masked_rows = st.integers(1, 4).flatmap(
    lambda width: st.lists(
        st.lists(st.tuples(st.floats(0, 50), st.sampled_from([0.0, 0.5, 1.0, 2.0])), min_size=width, max_size=width),
        min_size=1,
        max_size=4,
    )
)


@settings(deadline=None)
@given(masked_rows)
def test_weighted_mean_equals_a_plain_loop(rows: list[list[tuple[float, float]]]) -> None:
    table = torch.tensor(rows, dtype=torch.float64)
    for row, mean in zip(rows, weighted_mean(table[..., 0], table[..., 1]).tolist(), strict=True):
        total = sum(weight for _, weight in row)
        assert mean == pytest.approx(sum(v * w for v, w in row) / total if total else 0.0, rel=1e-12)


@settings(deadline=None)
@given(masked_rows)
def test_writer_loss_equals_a_plain_loop(rows: list[list[tuple[float, float]]]) -> None:
    table = torch.tensor(rows, dtype=torch.float64)
    for row, mean in zip(rows, writer_loss(table[..., 0], table[..., 1] > 0).tolist(), strict=True):
        scored = [value for value, weight in row if weight]
        assert mean == pytest.approx(sum(scored) / len(scored) if scored else 0.0, rel=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_stands_under_a_mask_does_not_leak(bad: float) -> None:
    nll = torch.tensor([[1.0, bad, 3.0], [bad, bad, bad]], requires_grad=True)
    scored = torch.tensor([[True, False, True], [False, False, False]])
    loss = writer_loss(nll, scored)
    assert loss.tolist() == [2.0, 0.0]  # (1 + 3) / 2; nothing scored
    (gradient,) = torch.autograd.grad(loss.sum(), nll)
    assert gradient.tolist() == [[0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]


def test_an_unmasked_nan_does_show() -> None:
    # Guard: the mask hides nothing that counts.
    assert writer_loss(torch.tensor([[1.0, math.nan]]), torch.tensor([[True, True]])).isnan().all()
