import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import Tensor

from predgen import registries
from predgen.codecs.label import LabelCodec
from predgen.components import resolve
from predgen.core import Example, Target
from predgen.data.collate import Batch, collate
from predgen.data.encode import Encoder
from predgen.directors.base import Director, DirectorInput, DirectorSetup, mean_state
from predgen.directors.expected import ExpectedDirector
from predgen.directors.linear import LinearDirector
from predgen.directors.ordered import position_weights
from predgen.directors.value import ValueDirector
from predgen.lookup import Registry
from predgen.losses.base import JointLoss
from predgen.models.base import ModelSetup
from predgen.models.predgen import PredGen
from predgen.registries import decodings, directors
from predgen.sampling.draws import SamplingPlan
from tiny_models import tiny_model
from tokenizers_for_tests import char_level

NAMES = list(directors)


def made(name: str) -> Director:
    """A director with its settings at their defaults; weights that start at zero have learned something."""
    director: Director = resolve([(directors, name)], {}, None)[directors.kind].make(SETUP)
    for weight in director.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight)
    return director


HEADED = [name for name in NAMES if directors.get(name).has_head]
every_director = pytest.mark.parametrize("name", NAMES)
every_head = pytest.mark.parametrize("name", HEADED)
H, K = 6, 3
SETUP = DirectorSetup(hidden_size=H, n_classes=K, target_mean=0.0, target_std=1.0)


def seen_by(name: str, width: int = 4, batch: int = 3) -> DirectorInput:
    """A batch with answers of 3, 1 and 2 content tokens, and whatever stands in the padding."""
    content = torch.arange(width)[None] < torch.tensor([3, 1, 2])[:batch, None]
    scored = torch.arange(width + 1)[None] <= torch.tensor([3, 1, 2])[:batch, None]
    is_class = "classification" in directors.get(name).kinds
    reads = {}
    if directors.get(name).reads_distribution:
        log_probs = torch.randn(batch, K if is_class else 5).log_softmax(dim=1).requires_grad_()
        reads = {"log_probs": log_probs, "values": None if is_class else torch.tensor([-4.0, 0.5, 2.5, 8.0, 11.0])}
        reads |= {"answer": torch.tensor([2, 0, 1])[:batch], "prompt": torch.randn(batch, H, requires_grad=True)}
    return DirectorInput(
        states=torch.randn(batch, width, H, requires_grad=True),
        content=content,
        nll=(torch.rand(batch, width + 1) + 0.1).requires_grad_(),
        scored=scored,
        weighed=torch.cat([content, torch.zeros(batch, 1, dtype=torch.bool)], dim=1),
        target=torch.tensor([2.0, 0.0, 1.0])[:batch] if is_class else torch.tensor([-0.375, 0.0, -3.25])[:batch],
        **reads,
    )


# --- the whole registry -----------------------------------------------------------------------------------------------


@every_director
def test_loss_is_one_finite_value_per_example(name: str) -> None:
    loss = made(name).loss(seen_by(name))
    assert loss.shape == (3,)
    assert loss.isfinite().all()
    assert (loss >= 0).all()


@every_director
def test_gradient_reaches_what_the_director_reads(name: str) -> None:
    director, seen = made(name), seen_by(name)
    loss = director.loss(seen)
    if not director.has_head:
        assert list(director.parameters()) == []
        if director.reads_distribution:
            (gradient,) = torch.autograd.grad(loss.sum(), seen.log_probs)
            assert (gradient != 0).any(dim=1).all()
            return
        (gradient,) = torch.autograd.grad(loss.sum(), seen.nll)
        assert torch.equal(gradient != 0, seen.weighed & seen.scored)
        return
    parameters = list(director.parameters())
    gradients = torch.autograd.grad(loss.sum(), [seen.states, *parameters], retain_graph=True)
    assert torch.equal((gradients[0] != 0).any(dim=2), seen.content)  # at content tokens and nowhere else
    if director.reads_distribution:
        for gradient in torch.autograd.grad(loss.sum(), [seen.log_probs, seen.prompt]):
            assert (gradient != 0).all()
    assert parameters
    assert all(gradient.abs().max() > 0 for gradient in gradients[1:])


@every_director
def test_a_loss_depends_on_its_own_example_only(name: str) -> None:
    director, seen = made(name), seen_by(name)
    loss = director.loss(seen)
    for row in range(3):
        parts = {f: getattr(seen, f) for f in DirectorInput.__slots__}
        of_rows = {f: part[row : row + 1] for f, part in parts.items() if part is not None and f != "values"}
        one = replace(seen, **of_rows)
        torch.testing.assert_close(director.loss(one)[0], loss[row], atol=1e-6, rtol=1e-6)


@every_director
def test_padding_does_not_matter(name: str) -> None:
    director, seen = made(name), seen_by(name)
    expected = director.loss(seen)
    for filler in (1e6, math.inf, math.nan):
        changed = replace(
            seen,
            states=torch.where(seen.content[..., None], seen.states, filler),
            nll=torch.where(seen.scored, seen.nll, filler),
        )
        torch.testing.assert_close(director.loss(changed), expected, atol=0, rtol=0)
        if director.has_head:
            output = director.output(seen.states, seen.content)
            torch.testing.assert_close(director.output(changed.states, seen.content), output, atol=0, rtol=0)
    wider = replace(
        seen,
        states=torch.nn.functional.pad(seen.states, (0, 0, 0, 3), value=7.0),
        content=torch.nn.functional.pad(seen.content, (0, 3)),
        nll=torch.nn.functional.pad(seen.nll, (0, 3), value=7.0),
        scored=torch.nn.functional.pad(seen.scored, (0, 3)),
        weighed=torch.nn.functional.pad(seen.weighed, (0, 3)),
    )
    torch.testing.assert_close(director.loss(wider), expected, atol=1e-6, rtol=1e-6)


@every_head
def test_output_has_a_column_per_class_or_one(name: str) -> None:
    director, seen = made(name), seen_by(name)
    columns = K if "classification" in director.kinds else 1
    assert director.output(seen.states, seen.content).shape == (3, columns)
    assert director.output(seen.states[:, :0], seen.content[:, :0]).isfinite().all()  # free text may be empty


@every_director
def test_headless_directors_have_no_output(name: str) -> None:
    director, seen = made(name), seen_by(name)
    if director.has_head:
        assert director.output(seen.states, seen.content).isfinite().all()
    else:
        with pytest.raises(NotImplementedError, match=f"{type(director).__name__} has no head"):
            director.output(seen.states, seen.content)


@every_head
def test_head_computes_in_single_precision_on_half_precision_states(name: str) -> None:
    director, seen = made(name), seen_by(name)
    half = seen.states.detach().bfloat16()
    torch.testing.assert_close(
        director.output(half, seen.content), director.output(half.float(), seen.content), atol=0, rtol=0
    )


@every_director
def test_kinds_are_kinds_of_tasks(name: str) -> None:
    kinds = directors.get(name).kinds
    assert kinds
    assert set(kinds) <= {"classification", "regression", "math"}


# --- linear and value -------------------------------------------------------------------------------------------------


def test_mean_state_is_the_mean_of_content_states() -> None:
    states = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]], [[5.0, 7.0], [9.0, 9.0], [9.0, 9.0]]])
    content = torch.tensor([[True, True, False], [True, False, False]])
    assert mean_state(states, content).tolist() == [[2.0, 4.0], [5.0, 7.0]]


def hand_input(target: float) -> DirectorInput:
    """One row whose mean content state is (2, 4)."""
    return DirectorInput(
        states=torch.tensor([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]]]),
        content=torch.tensor([[True, True, False]]),
        nll=torch.zeros(1, 3),
        scored=torch.tensor([[True, True, True]]),
        weighed=torch.tensor([[True, True, False]]),
        target=torch.tensor([target]),
    )


def test_linear_by_hand() -> None:
    director = LinearDirector(replace(SETUP, hidden_size=2))
    with torch.no_grad():
        director.head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, -0.5]]))
        director.head.bias.copy_(torch.tensor([0.5, 0.0, 0.0]))
    seen = hand_input(0.0)
    # Logits: 2 + 0.5, 4, 0.5 * 2 - 0.5 * 4.
    assert director.output(seen.states, seen.content).tolist() == [[2.5, 4.0, -1.0]]
    expected = math.log(math.exp(2.5) + math.exp(4.0) + math.exp(-1.0)) - 2.5
    assert director.loss(seen).item() == pytest.approx(expected, rel=1e-6)


def test_value_by_hand() -> None:
    director = ValueDirector(replace(SETUP, hidden_size=2))
    with torch.no_grad():
        director.head.weight.copy_(torch.tensor([[0.5, 0.25]]))
        director.head.bias.fill_(-0.5)
    seen = hand_input(0.5)
    # 0.5 * 2 + 0.25 * 4 - 0.5 = 1.5; (1.5 - 0.5)^2 = 1.
    assert director.output(seen.states, seen.content).tolist() == [[1.5]]
    assert director.loss(seen).tolist() == [1.0]


def test_value_loss_of_the_mean_is_one_standard_deviation() -> None:
    director = ValueDirector(SETUP)
    torch.nn.init.zeros_(director.head.weight)
    torch.nn.init.zeros_(director.head.bias)
    targets = torch.tensor([-1.0, 1.0, -1.0, 1.0])
    content = torch.ones((4, 2), dtype=torch.bool)
    seen = DirectorInput(torch.randn(4, 2, H), content, torch.zeros(4, 3), *([torch.zeros(4, 3).bool()] * 2), targets)
    assert director.loss(seen).mean().item() == 1.0
    assert director.output(seen.states, content).tolist() == [[0.0]] * 4


# --- ordered ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weighed", "last", "expected"),
    [
        # m' = 4: 4, 10/3, 8/3, 2; sum 12, times 4 / 12.
        ("1111", 2.0, [4 / 3, 10 / 9, 8 / 9, 2 / 3]),
        # The same, with a separator, a point and the stop between: they weigh 0.
        ("0110110", 2.0, [0, 4 / 3, 10 / 9, 0, 8 / 9, 2 / 3, 0]),
        # m' = 5, last 0: 5, 3.75, 2.5, 1.25, 0; sum 12.5, times 5 / 12.5.
        ("11111", 0.0, [2.0, 1.5, 1.0, 0.5, 0.0]),
        # m' = 3, last 3: all equal.
        ("1110", 3.0, [1, 1, 1, 0]),
        # m' = 2: 2 and 2.
        ("110", 2.0, [1, 1, 0]),
        ("010", 2.0, [0, 1, 0]),
        ("000", 2.0, [0, 0, 0]),
    ],
)
def test_position_weights_by_hand(weighed: str, last: float, expected: list[float]) -> None:
    weights = position_weights(torch.tensor([[c == "1" for c in weighed]]), last)
    assert weights[0].tolist() == pytest.approx(expected, rel=1e-6)


def ordered_loss(nll: list[float], weighed: str, scored: str | None = None) -> float:
    flags = [torch.tensor([[c == "1" for c in text]]) for text in (weighed, scored or "1" * len(weighed))]
    content = torch.ones((1, len(nll) - 1), dtype=torch.bool)
    states = torch.randn(1, len(nll) - 1, H)
    seen = DirectorInput(states, content, torch.tensor([nll]), flags[1], flags[0], torch.tensor([0.0]))
    return made("ordered").loss(seen).item()


def test_ordered_by_hand() -> None:
    # " 13.4": separator and point forced. m' = 3: 3, 2.5, 2, mean 2.5: weights 1.2, 1, 0.8.
    assert ordered_loss([9.0, 0.1, 0.2, 9.0, 0.5, 9.0], "011010") == pytest.approx(
        (1.2 * 0.1 + 1.0 * 0.2 + 0.8 * 0.5) / 3, rel=1e-6
    )


def test_an_equal_error_costs_more_at_an_earlier_position() -> None:
    costs = [ordered_loss([2.0 if t == at else 0.1 for t in range(6)], "111110") for at in range(5)]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == 5


def test_forced_positions_and_the_stop_cost_nothing() -> None:
    base = ordered_loss([0.3, 0.1, 0.3, 0.2, 0.3], "01010")
    assert ordered_loss([7.0, 0.1, 8.0, 0.2, 9.0], "01010") == base


def test_unscored_positions_leave_the_mean() -> None:
    # m' = 3: weights 1.2, 1, 0.8; the second is not scored: (1.2 * 0.1 + 0.8 * 0.5) / (1.2 + 0.8).
    loss = ordered_loss([0.1, 50.0, 0.5, 50.0], "1110", "1010")
    assert loss == pytest.approx((1.2 * 0.1 + 0.8 * 0.5) / 2.0, rel=1e-6)


def test_nothing_to_weigh_costs_nothing() -> None:
    assert ordered_loss([1.0, 2.0], "00") == 0.0
    assert ordered_loss([1.0, 2.0, 3.0], "110", "001") == 0.0


# --- expected ---------------------------------------------------------------------------------------------------------


def test_expected_by_hand() -> None:
    # Mean: 0.25 * -0.5 + 0.5 * 0 + 0.25 * 2 = 0.375; 0.375 + 0.5 = 0.875.
    seen = replace(
        hand_input(-0.5),
        log_probs=torch.tensor([[0.25, 0.5, 0.25]]).log(),
        values=torch.tensor([-0.5, 0.0, 2.0]),
    )
    assert ExpectedDirector(SETUP).loss(seen).item() == pytest.approx(0.875**2, rel=1e-6)


def test_expected_is_nothing_where_all_mass_is_on_the_target() -> None:
    seen = replace(hand_input(8.0), log_probs=torch.tensor([[0.0, -math.inf]]), values=torch.tensor([8.0, 18.0]))
    assert ExpectedDirector(SETUP).loss(seen).item() == 0.0


@pytest.mark.parametrize(("name", "decoding"), [("ordered", "greedy"), ("expected", "mean")])
def test_headless_directors_say_how_their_number_is_read(name: str, decoding: str) -> None:
    assert directors.get(name).decoding == decoding
    assert decoding in decodings


# --- a user's own director and loss -----------------------------------------------------------------------------------


class MaxDirector(Director):
    """A user's director: class logits from the largest value of each hidden dimension."""

    kinds = ("classification",)

    def __init__(self, setup: DirectorSetup) -> None:
        super().__init__(setup)
        self.head = torch.nn.Linear(setup.hidden_size, setup.n_classes)

    def loss(self, seen: DirectorInput) -> Tensor:
        logits = self.output(seen.states, seen.content)
        return torch.nn.functional.cross_entropy(logits, seen.target.long(), reduction="none")

    def output(self, states: Tensor, content: Tensor) -> Tensor:
        return self.head(states.masked_fill(~content[..., None], -torch.inf).amax(dim=1))


class MeanLoss(JointLoss):
    """A user's joint loss."""

    def join(self, writer: Tensor, director: Tensor) -> Tensor:
        return (writer + director) / 2


def forget(registry: Registry, name: str) -> None:
    """Take a name out of a registry again."""
    del registry._targets[name], registry._summaries[name]


@pytest.fixture
def own_things() -> Iterator[None]:
    """Register both from a module outside the package, one line each, and take them out again."""
    module = ModuleType("somebodys_package")
    module.MaxDirector, module.MeanLoss = MaxDirector, MeanLoss
    sys.modules[module.__name__] = module
    registries.directors.register("largest", "somebodys_package:MaxDirector", "largest value of each dimension")
    registries.losses.register("mean", "somebodys_package:MeanLoss", "arithmetic mean of both losses")
    yield
    forget(registries.directors, "largest")
    forget(registries.losses, "mean")
    del sys.modules[module.__name__]


def small_batch() -> tuple[Batch, LabelCodec]:
    tokenizer = char_level()
    codec = LabelCodec.fit(["no", "not sure", "yes"], tokenizer)
    encoder = Encoder(tokenizer, "Text: {text}\nAnswer:", codec, labels=codec.labels)
    rows = [Example(i, {"text": "word " * i}, Target(label)) for i, label in enumerate(("no", "not sure", "yes", "no"))]
    return collate([encoder.encode(row) for row in rows], tokenizer.pad_token_id), codec


@pytest.mark.usefixtures("own_things")
def test_a_users_own_director_and_loss_train_a_step() -> None:
    batch, codec = small_batch()
    setup = ModelSetup("predgen", "classification", codec.labels, 0.0, 1.0, {"director": "largest", "loss": "mean"})
    model = PredGen(setup, tiny_model("llama", len(char_level())), codec)
    assert type(model.director).__name__ == "MaxDirector"
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for _ in range(2):
        result = model(batch, SamplingPlan(0.5, 0, 0), "example")
        expected = ((result.writer + result.director) / 2).sum().item()
        assert result.total.item() == pytest.approx(expected, rel=1e-6)
        optimizer.zero_grad()
        result.total.backward()
        optimizer.step()
        losses.append(result.total.item())
    assert losses[1] < losses[0]
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert {"director.head.weight", "director.head.bias", "lm.lm_head.weight"} <= changed
    for prediction in model.predict(batch):
        assert math.fsum(prediction.probabilities) == pytest.approx(1.0, abs=1e-12)


def test_the_fixture_leaves_the_registries_as_they_were() -> None:
    assert "largest" not in registries.directors
    assert "mean" not in registries.losses
