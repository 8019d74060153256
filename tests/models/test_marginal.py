"""`marginal` and `expected` against plain loops over all answers, and what they refuse."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from answer_loops import codec_for, model_for, plain, rows_for
from method_cases import (
    TOLERANCE,
    Case,
    assert_same_gradients,
    make,
    plan,
)
from predgen.config import RunConfig
from predgen.core import TaskSpec
from predgen.data.collate import Batch
from predgen.data.examples import custom_task
from predgen.directors.base import DirectorInput, DirectorSetup
from predgen.directors.expected import ExpectedDirector
from predgen.engine.answer_tree import AnswerTree, answer_log_probs, choice_log_probs
from predgen.engine.backbone import Abilities
from predgen.errors import ConfigError
from predgen.losses.token_nll import writer_loss
from predgen.models.predgen import PredGen
from predgen.sampling.base import SamplingSetup
from predgen.sampling.feeding import feed_gold
from predgen.sampling.off import Off
from predgen.training.prepare import make_setup
from tiny_runs import tiny_config, tiny_rows

CLASSES = Case("predgen", "classification", "linear", "marginal")
NUMBERED = Case("predgen", "regression", "value", "marginal")
EXPECTED = Case("predgen", "regression", "expected", "off")
PAIRS = [(CLASSES, "llama"), (CLASSES, "gemma3"), (NUMBERED, "llama"), (NUMBERED, "gpt2"), (EXPECTED, "llama")]
PAIRS += [(EXPECTED, "gpt_neox"), (replace(CLASSES, loss="sum"), "qwen3"), (replace(NUMBERED, loss="wdal"), "llama")]
every_pair = pytest.mark.parametrize(("case", "family"), PAIRS, ids=str)
MEAN, STD = 1.0, 1.75  # of the targets, as `make` sets them


def plain_output(model: PredGen, batch: Batch) -> Tensor:
    """The mixture, one answer after the other: class probabilities, or the standardised number."""
    log_probs, content = plain(model, batch)
    found = torch.zeros(1)
    for a, (states, mask) in enumerate(content):
        output = model.director.output(states, mask)
        part = output.softmax(dim=1) if model.setup.labels else output
        found = found + log_probs[:, a, None].exp() * part
    return found


def plain_loss(model: PredGen, batch: Batch) -> tuple[Tensor, Tensor]:
    """Total and director loss."""
    reading = model.read(batch, feed_gold(batch))
    writer = writer_loss(reading.nll, reading.scored)
    if model.setup.settings["director"] == "expected":
        log_probs, _ = plain(model, batch)
        grid = torch.tensor([float(model.finite_codec.value_at(i)) for i in range(log_probs.shape[1])])
        mean = sum(log_probs[:, a].exp() * value for a, value in enumerate(grid))
        director = ((mean - MEAN) / STD - batch.target) ** 2
    elif model.setup.labels:
        chosen = plain_output(model, batch)[torch.arange(len(batch.target)), batch.target.long()]
        director = -chosen.log()
    else:
        director = (plain_output(model, batch)[:, 0] - batch.target) ** 2
    return (batch.weight * model.joint(writer, director)).sum(), director


@every_pair
def test_losses_and_gradients_equal_a_loop_over_all_answers(case: Case, family: str) -> None:
    model, batch = model_for(case, family), rows_for(case.kind)
    found = []
    for route in (lambda: model(batch, plan(), "example").total, lambda: plain_loss(model, batch)[0]):
        model.zero_grad(set_to_none=True)
        total = route()
        total.backward()
        found.append((total, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}))
    torch.testing.assert_close(found[0][0], found[1][0], atol=TOLERANCE, rtol=TOLERANCE)
    assert_same_gradients(found[0][1], found[1][1])
    assert found[0][1].keys() == dict(model.named_parameters()).keys()
    by_row = model(batch, plan(), "example").director
    torch.testing.assert_close(by_row, plain_loss(model, batch)[1].detach(), atol=TOLERANCE, rtol=TOLERANCE)
    assert len({round(value, 4) for value in by_row.tolist()}) == len(by_row)


@pytest.mark.parametrize(("case", "family"), [pair for pair in PAIRS if pair[0].sampling == "marginal"], ids=str)
@torch.no_grad()
def test_prediction_is_the_mixture(case: Case, family: str) -> None:
    model, batch = model_for(case, family), rows_for(case.kind)
    wanted = plain_output(model, batch)
    for prediction, row in zip(model.predict(batch), wanted, strict=True):
        if case.kind == "classification":
            assert prediction.probabilities == pytest.approx(row.tolist(), abs=TOLERANCE)
            assert math.fsum(prediction.probabilities) == pytest.approx(1.0, abs=1e-12)
            assert prediction.value == codec_for(case.kind).value_at(int(row.argmax()))
        else:
            assert prediction.value == pytest.approx(MEAN + STD * float(row), abs=TOLERANCE)
    # Guard: the mixture is not the director at the greedy answer.
    model.mode = Off(SamplingSetup("off", case.kind))
    greedy = [p.probabilities or (p.value,) for p in model.predict(batch)]
    assert (
        max(abs(a - float(b)) for one, row in zip(greedy, wanted, strict=True) for a, b in zip(one, row, strict=True))
        > 1e-3
    )


@torch.no_grad()
def test_expected_predicts_the_mean_of_all_answers() -> None:
    model, batch = model_for(EXPECTED), rows_for("regression")
    log_probs, _ = plain(model, batch)
    grid = [float(model.finite_codec.value_at(i)) for i in range(log_probs.shape[1])]
    for prediction, row in zip(model.predict(batch), log_probs.exp().tolist(), strict=True):
        assert prediction.value == pytest.approx(
            math.fsum(p * v for p, v in zip(row, grid, strict=True)), abs=TOLERANCE
        )
        assert prediction.answer is None


@pytest.mark.parametrize("case", [CLASSES, NUMBERED], ids=str)
def test_marginal_samples_nothing(case: Case) -> None:
    model, batch = model_for(case), rows_for(case.kind)
    losses = [model(batch, plan(p, epoch), "example") for p, epoch in ((0.0, 0), (0.5, 1), (1.0, 2))]
    assert losses[0].total == losses[1].total == losses[2].total


@pytest.mark.parametrize("case", [CLASSES, NUMBERED, EXPECTED], ids=str)
def test_rows_of_a_batch_do_not_know_of_each_other(case: Case) -> None:
    model, batch = model_for(case), rows_for(case.kind)
    together = model(batch, plan(), "example")
    for row in range(len(batch.row_id)):
        alone = model(batch.rows(torch.tensor([row])).trimmed(), plan(), "example")
        for name in ("writer", "director"):
            ours, wanted = getattr(alone, name)[0], getattr(together, name)[row]
            torch.testing.assert_close(ours, wanted, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_expected_and_mixture_gradients_match_finite_differences_in_double_precision(kind: str) -> None:
    codec = codec_for(kind)
    tree = AnswerTree(codec.space)
    layout = tree.layout(torch.device("cpu"))
    logits = torch.randn(2, len(layout.branches), len(layout.alphabet), dtype=torch.float64, requires_grad=True)

    def loss(table: Tensor) -> Tensor:
        log_probs = answer_log_probs(choice_log_probs(table, layout), layout)
        if kind == "classification":
            outputs = torch.linspace(-1, 1, 16, dtype=torch.float64).view(4, 4).sin()
            return functional.nll_loss(
                torch.logsumexp(log_probs[..., None] + outputs.log_softmax(1), dim=1), torch.tensor([1, 3])
            )
        values = torch.tensor([float(codec.value_at(i)) for i in range(codec.space.size)], dtype=torch.float64)
        flags = torch.ones(2, 1, dtype=torch.bool)
        seen = DirectorInput(
            table[:, :1],
            flags,
            table[:, 0, :1],
            flags,
            flags,
            torch.tensor([0.3, -1.2], dtype=torch.float64),
            log_probs,
            values,
        )
        return ExpectedDirector(DirectorSetup(4, 0, 0.0, 1.0)).loss(seen)

    assert torch.autograd.gradcheck(loss, (logits,), eps=1e-6, atol=1e-7)


# --- refusals ---------------------------------------------------------------------------------------------------------


def refused_setup(kind: str, **settings: Any) -> str:
    """The message with which settings are refused before a model is loaded."""
    rows = tiny_rows(8, kind)
    task: TaskSpec = custom_task(prompt="{text} =", target="y", kind=kind)
    config = replace(tiny_config(".", kind), **settings)
    with pytest.raises(ConfigError) as error:
        make_setup(config, task, rows)
    return str(error.value)


def test_marginal_is_refused_for_math() -> None:
    message = refused_setup("math", sampling="marginal")
    assert message.startswith("`sampling` 'marginal' ")
    assert "math task" in message
    assert "'parallel'" in message


@pytest.mark.parametrize("director", ["ordered", "expected"])
def test_marginal_is_refused_without_a_head(director: str) -> None:
    message = refused_setup("regression", sampling="marginal", director=director)
    assert f"but director {director!r} has none; use director 'linear' or 'value'" in message


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_parallel_is_for_math(kind: str) -> None:
    message = refused_setup(kind, sampling="parallel")
    assert message.startswith(f"`sampling` 'parallel' is for long free text (math), but the task is a {kind} task")


def test_expected_is_for_numbers() -> None:
    assert "director 'expected' serves regression, but the task is a classification task" in refused_setup(
        "classification", director="expected"
    )
    assert "director 'expected' serves regression, but the task is a math task" in refused_setup(
        "math", director="expected"
    )


def test_generators_and_predictors_have_no_sampling() -> None:
    for method in ("generator", "predictor"):
        with pytest.raises(ConfigError, match=f"`sampling` is 'marginal', but method '{method}'"):
            RunConfig(task="sick", method=method, sampling="marginal")


def test_marginal_with_too_many_nodes_names_expected() -> None:
    with pytest.raises(
        ConfigError, match=r"more than `max_tree_nodes` 256\. Director 'expected' needs about a tenth"
    ) as error:
        make(NUMBERED)  # 601 numbers
    assert "lower `decimals`" in str(error.value)
    # One node more or less decides.
    nodes = model_for(NUMBERED).tree.n_nodes
    assert make(replace(NUMBERED, max_tree_nodes=nodes), codec=codec_for("regression")).tree is not None
    with pytest.raises(ConfigError, match=f"`max_tree_nodes` {nodes - 1}"):
        make(replace(NUMBERED, max_tree_nodes=nodes - 1), codec=codec_for("regression"))


def test_marginal_with_too_many_label_nodes_does_not_name_a_director_for_numbers() -> None:
    with pytest.raises(ConfigError, match="more than `max_tree_nodes` 3") as error:
        make(replace(CLASSES, max_tree_nodes=3))
    assert "expected" not in str(error.value)


def test_expected_with_too_many_nodes_is_refused() -> None:
    scored = model_for(EXPECTED).tree.n_scored
    assert make(replace(EXPECTED, max_tree_nodes=scored), codec=codec_for("regression")).tree is not None
    with pytest.raises(
        ConfigError, match=f"director 'expected' reads .* more than `max_tree_nodes` {scored - 1} nodes"
    ):
        make(replace(EXPECTED, max_tree_nodes=scored - 1), codec=codec_for("regression"))


@pytest.mark.parametrize("copies", [None, "test"])
def test_marginal_and_expected_run_where_trees_cannot(monkeypatch: pytest.MonkeyPatch, copies: str | None) -> None:
    # A base without trees still has all answers, level by level, or path by path.
    monkeypatch.setattr("predgen.models.base.abilities_of", lambda lm: Abilities(tree="test", copies=copies))
    for case in (CLASSES, NUMBERED, EXPECTED):
        model, batch = model_for(case), rows_for(case.kind)
        assert model.way == ("sequential: test" if copies else "level by level, on copied caches: test")
        torch.testing.assert_close(
            model(batch, plan(), "example").director,
            plain_loss(model, batch)[1].detach(),
            atol=TOLERANCE,
            rtol=TOLERANCE,
        )
        assert len(model.predict(batch)) == len(batch.row_id)


def test_parallel_needs_a_base_that_can_go_on_from_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("predgen.models.base.abilities_of", lambda lm: Abilities(tree="it is a test"))
    with pytest.raises(ConfigError, match=r"`sampling` 'parallel' needs .* copied cache \(it is a test\); use 'token'"):
        make(Case("predgen", "math", "ordered", "parallel"))
