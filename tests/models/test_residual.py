"""Director `residual` against plain sequences: where it starts, what it adds, what trains, what it refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

import predgen
from answer_loops import codec_for, model_for, plain, rows_for
from method_cases import (
    TOLERANCE,
    Case,
    assert_same_gradients,
    assert_same_losses,
    assert_same_predictions,
    gradients_of,
    make,
    plan,
)
from predgen import registries
from predgen.core import Decoding
from predgen.data.collate import Batch
from predgen.directors.base import DirectorInput, DirectorSetup
from predgen.directors.residual import ResidualDirector
from predgen.directors.settings import ResidualSettings
from predgen.errors import ConfigError
from predgen.losses.token_nll import writer_loss
from predgen.models.base import ModelSetup
from predgen.models.predgen import PredGen
from tiny_runs import tiny_base, tiny_data, tiny_run

KINDS = ("classification", "regression")
MODES = ("token", "sequence", "off", "marginal")
PREDICTED = ("value", "probabilities", "answer")
every_kind = pytest.mark.parametrize("kind", KINDS)
every_mode = pytest.mark.parametrize("mode", MODES)


def residual(kind: str, mode: str = "token", family: str = "llama", *, learned: bool = True, **own: Any) -> PredGen:
    """A model with the director; `learned`: its heads say something."""
    case = Case("predgen", kind, "residual", mode, loss="sum")
    model = model_for(case, family)
    if own:
        setup = replace(model.setup, settings={**model.setup.settings, **own})
        model = PredGen(setup, model.lm, codec_for(kind))
    for weight in model.director.parameters():
        if learned:
            torch.manual_seed(5)
            torch.nn.init.normal_(weight, std=0.3)
    return model


def generator(kind: str, model: PredGen) -> Any:
    """The same language model as a Generator."""
    setup = ModelSetup("generator", kind, model.setup.labels, model.setup.target_mean, model.setup.target_std)
    return registries.methods.get("generator")(setup, model.lm, codec_for(kind))


# --- where it starts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["token", "sequence", "off"])
def test_labels_start_at_the_exact_posterior_to_the_bit(mode: str) -> None:
    model, batch = residual("classification", mode, learned=False), rows_for("classification")
    with torch.no_grad():
        scores = model.score(batch)
        assert torch.equal(model.mode.output(model.director, scores), scores.log_probs)
    told, wanted = model.predict(batch), generator("classification", model).predict(batch)
    assert [(p.value, p.probabilities) for p in told] == [(p.value, p.probabilities) for p in wanted]


@pytest.mark.parametrize("mode", ["token", "sequence", "off"])
def test_numbers_start_at_the_mean_of_the_distribution_to_the_bit(mode: str) -> None:
    model, batch = residual("regression", mode, learned=False), rows_for("regression")
    wanted = generator("regression", model).predict(batch, Decoding("mean"))
    assert [p.value for p in model.predict(batch)] == [p.value for p in wanted]
    assert len({p.value for p in wanted}) == len(wanted)


@every_kind
def test_the_mixture_starts_there_up_to_rounding(kind: str) -> None:
    model, batch = residual(kind, "marginal", learned=False), rows_for(kind)
    how = Decoding() if kind == "classification" else Decoding("mean")
    for ours, wanted in zip(model.predict(batch), generator(kind, model).predict(batch, how), strict=True):
        if kind == "classification":
            assert ours.probabilities == pytest.approx(wanted.probabilities, abs=1e-6)
        else:
            assert ours.value == pytest.approx(wanted.value, abs=1e-6)


@every_kind
def test_a_run_starts_with_heads_of_zero_on_standardised_states(kind: str, tmp_path: Path) -> None:
    base = tiny_base(tmp_path / "base")
    settings = {"director": "residual", "loss": "sum", "head_norm": "standard", "learning_rate": 0.0, "max_steps": 1}
    settings |= {"decimals": 1} if kind == "regression" else {}
    data = tiny_data(kind)
    trained = tiny_run(base, kind, data, tmp_path / "run", **settings)
    director = trained.model.director
    for head in (director.answer_head, director.prompt_head):
        assert not head.weight.any()
        assert head.norm.mean.any()
    rows = [{"text": "a dull book"}, {"text": "no tea and good wine"}]
    plain_run = tiny_run(base, kind, data, **{**settings, "director": None, "head_norm": "none"})
    wanted = generator_of(plain_run).predict(
        rows, decoding=Decoding() if kind == "classification" else Decoding("mean")
    )
    assert [p.value for p in trained.predict(rows)] == [p.value for p in wanted]
    assert predgen.load(tmp_path / "run").predict(rows) == trained.predict(rows)


def generator_of(trained: Any) -> Any:
    """A trained PredGen's language model, predicting as a Generator."""
    setup = replace(trained.model.setup, method="generator", settings={})
    model = registries.methods.get("generator")(setup, trained.model.lm, trained.encoder.codec)
    return replace(trained, model=model.eval())


# --- what it says -----------------------------------------------------------------------------------------------------


def plain_parts(model: PredGen, batch: Batch) -> tuple[Tensor, Tensor, list[Tensor]]:
    """log P(a|X), the prompts' last states and every answer's mean content state: whole sequences, one an answer."""
    log_probs, content = plain(model, batch)
    states, _ = model.backbone.states(batch.prompt_ids, batch.prompt_mask)
    means = [(s * m[..., None]).sum(1) / m.sum(1, keepdim=True) for s, m in content]
    return log_probs, states[:, -1], means  # prompts are padded on the left


def base_of(model: PredGen, log_probs: Tensor) -> Tensor:
    """log P(a|X), or the standardised mean as a column."""
    if model.setup.labels:
        return log_probs
    codec = codec_for("regression")
    grid = [(float(codec.value_at(i)) - model.scale.mean) / model.scale.std for i in range(log_probs.shape[1])]
    return sum(log_probs[:, a].exp() * value for a, value in enumerate(grid))[:, None]


def plain_output(model: PredGen, batch: Batch) -> Tensor:
    """The director's output by hand, at the greedy answer or, `marginal`, mixed over all; classes as log-probabilities."""
    log_probs, prompt, means = plain_parts(model, batch)
    base = base_of(model, log_probs) + prompt @ model.director.prompt_head.weight.T
    outputs = torch.stack([base + z @ model.director.answer_head.weight.T for z in means], dim=1)  # B A K
    if model.mode.setup.name != "marginal":
        greedy = model.score(batch).greedy()
        output = outputs[torch.arange(len(greedy)), greedy]
        return output.log_softmax(dim=1) if model.setup.labels else output
    if model.setup.labels:
        return (log_probs[..., None] + outputs.log_softmax(dim=2)).logsumexp(dim=1)
    return (log_probs.exp()[..., None] * outputs).sum(dim=1)


@every_kind
@every_mode
@torch.no_grad()
def test_predictions_equal_whole_sequences(kind: str, mode: str) -> None:
    model, batch = residual(kind, mode), rows_for(kind)
    wanted = plain_output(model, batch)
    for prediction, row in zip(model.predict(batch), wanted, strict=True):
        if kind == "classification":
            assert prediction.probabilities == pytest.approx(row.exp().tolist(), abs=TOLERANCE)
            assert prediction.value == codec_for(kind).value_at(int(row.argmax()))
        else:
            low, high = model.scale.ends
            expected = min(max(model.scale.mean + model.scale.std * float(row), low), high)
            assert prediction.value == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
@every_kind
@pytest.mark.parametrize("mode", ["token", "marginal"])
def test_losses_and_gradients_equal_whole_sequences(kind: str, mode: str, family: str) -> None:
    model, batch = residual(kind, mode, family), rows_for(kind)
    moment = plan(0.0)  # gold is fed to the writer; the director reads own answers all the same

    def by_hand() -> Tensor:
        fed = replace(model.mode.write(model, batch, moment), prompts=None)
        reading = model.read(batch, fed)
        writer = writer_loss(reading.nll, reading.scored)
        output = plain_output(model, batch)
        if kind == "classification":
            director = functional.nll_loss(output, batch.target.long(), reduction="none")
        else:
            director = (output[:, 0] - batch.target) ** 2
        return (batch.weight * (writer + director)).sum()

    found = []
    for route in (lambda: model(batch, moment, "example").total, by_hand):
        model.zero_grad(set_to_none=True)
        total = route()
        total.backward()
        found.append((total, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}))
    torch.testing.assert_close(found[0][0], found[1][0], atol=TOLERANCE, rtol=TOLERANCE)
    assert_same_gradients(found[0][1], found[1][1])


@every_kind
def test_own_answers_are_read_whatever_is_fed(kind: str) -> None:
    batch = rows_for(kind)
    own, fed = residual(kind), residual(kind, residual_answer="fed")
    losses = {p: [m(batch, plan(p), "example").director for m in (own, fed)] for p in (0.0, 1.0)}
    torch.testing.assert_close(losses[0.0][0], losses[1.0][0], atol=TOLERANCE, rtol=TOLERANCE)
    torch.testing.assert_close(losses[1.0][1], losses[1.0][0], atol=TOLERANCE, rtol=TOLERANCE)
    assert not torch.allclose(losses[0.0][1], losses[1.0][1], atol=1e-3)  # gold was read


# --- its parts --------------------------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("reads", ["answer", "prompt"])
def test_one_reader_alone(kind: str, reads: str) -> None:
    batch = rows_for(kind)
    both, one = residual(kind), residual(kind, residual_reads=reads)
    left_out = both.director.prompt_head if reads == "answer" else both.director.answer_head
    torch.nn.init.zeros_(left_out.weight)
    assert_same_predictions(one.predict(batch), both.predict(batch))
    assert sorted(one.head_state()) == [f"director.{reads}_head.weight"]


@every_kind
def test_without_gradient_the_writers_distribution_is_not_trained_by_it(kind: str) -> None:
    batch = rows_for(kind)
    setup = {"residual_reads": "prompt"}
    gradients = []
    for through in (True, False):
        model = residual(kind, learned=False, residual_gradient=through, **setup)
        model.zero_grad(set_to_none=True)
        model(batch, plan(0.0), "example").total.backward()
        both = {n: p.grad.clone() for n, p in model.lm.named_parameters() if p.grad is not None}
        model.zero_grad(set_to_none=True)
        reading = model.read(batch, replace(model.mode.write(model, batch, plan(0.0)), prompts=None))
        (batch.weight * writer_loss(reading.nll, reading.scored)).sum().backward()
        alone = {n: p.grad.clone() for n, p in model.lm.named_parameters() if p.grad is not None}
        gradients.append((both, alone))
    # With heads of zero, all that is left without the base's gradient is the writer's own loss.
    assert_same_gradients(*gradients[1])
    assert any((gradients[0][0][name] - g).abs().max() > 1e-3 for name, g in gradients[0][1].items())


@every_kind
def test_gradients_match_finite_differences(kind: str) -> None:
    # The prompt's reader, in float64 from end to end; the answer's, which is read in float32, is the same layer.
    n_classes, values = (3, ()) if kind == "classification" else (0, (-1.0, 0.5, 2.0))
    setup = DirectorSetup(4, n_classes, 0.0, 1.0, "none", values)
    director = ResidualDirector(setup, ResidualSettings(residual_reads="prompt")).double()
    torch.manual_seed(2)
    flags = torch.ones(2, 3, dtype=torch.bool)
    target = torch.tensor([0.0, 2.0] if n_classes else [0.3, -1.2], dtype=torch.float64)
    sizes = ((2, 3), (2, 4), (n_classes or 1, 4))  # scores of answers, prompts' states, weights
    inputs = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in sizes]

    def loss(scores: Tensor, prompt: Tensor, weight: Tensor) -> Tensor:
        states = torch.zeros(2, 3, 4)
        log_probs = scores.log_softmax(dim=1)
        seen = DirectorInput(states, flags, scores, flags, flags, target, log_probs, None, None, prompt)
        found: Tensor = functional_call(_Loss(director), {"director.prompt_head.weight": weight}, (seen,))
        return found

    assert torch.autograd.gradcheck(loss, inputs, eps=1e-6, atol=1e-7)


class _Loss(torch.nn.Module):
    """A director's loss as a forward."""

    def __init__(self, director: ResidualDirector) -> None:
        super().__init__()
        self.director = director

    def forward(self, seen: DirectorInput) -> Tensor:
        return self.director.loss(seen)


# --- invariances, adapters, refusals ----------------------------------------------------------------------------------


@every_kind
@every_mode
def test_rows_of_a_batch_do_not_know_of_each_other(kind: str, mode: str) -> None:
    model, batch = residual(kind, mode), rows_for(kind)
    together, predicted = model(batch, plan(), "example"), model.predict(batch)
    for row in range(len(batch)):
        alone = batch.rows(torch.tensor([row])).trimmed()
        assert_same_losses(model(alone, plan(), "example"), together, [row])
        assert_same_predictions(model.predict(alone), predicted[row : row + 1])


@every_kind
def test_one_batch_and_batches_of_one_give_the_same_gradients(kind: str) -> None:
    model, batch = residual(kind), rows_for(kind)
    ones = [batch.rows(torch.tensor([row])).trimmed() for row in range(len(batch))]
    assert_same_gradients(gradients_of(model, ones), gradients_of(model, [batch]))


@every_kind
@torch.no_grad()
def test_a_base_that_cannot_run_trees_says_the_same(kind: str) -> None:
    model, batch = residual(kind), rows_for(kind)
    expected = model.predict(batch)
    model.obstacle = "test"
    assert_same_predictions(model.predict(batch), expected)


@pytest.mark.parametrize("peft", ["lora", "adalora", "full"])  # that heads train in full with each: test_peft_heads.py
def test_it_trains_with_kinds_of_peft_methods(tmp_path: Path, peft: str) -> None:
    base = tiny_base(tmp_path / "base")
    settings = {"director": "residual", "loss": "sum", "head_norm": "standard", "decimals": 1, "max_steps": 2}
    trained = tiny_run(base, "regression", tiny_data("regression", 8), tmp_path / "run", peft=peft, **settings)
    assert trained.model.director.prompt_head.weight.any()
    assert trained.model.director.answer_head.weight.any()
    rows = [{"text": "a dull book"}, {"text": "no tea and good wine"}]
    assert predgen.load(tmp_path / "run").predict(rows) == trained.predict(rows)


@every_kind
def test_a_bfloat16_base_and_a_merged_adapter_predict_nearly_the_same(kind: str, tmp_path: Path) -> None:
    base, data = tiny_base(tmp_path / "base"), tiny_data(kind)
    settings = {"director": "residual", "loss": "sum", "head_norm": "standard", "max_steps": 2}
    settings |= {"decimals": 1} if kind == "regression" else {}
    rows = [{"text": "a dull book"}, {"text": "no tea and good wine"}]
    exact = tiny_run(base, kind, data, tmp_path / "run", **settings)
    half = tiny_run(base, kind, data, tmp_path / "half", dtype="bfloat16", **settings)
    merged = predgen.load(tmp_path / "run", merge_adapter=True)
    for name, tolerance, trained in (("merged", 1e-5, merged), ("half", 0.1, predgen.load(tmp_path / "half"))):
        for ours, wanted in zip(trained.predict(rows), exact.predict(rows), strict=True):
            told = [(p.probabilities or (p.value,)) for p in (ours, wanted)]
            assert told[0] == pytest.approx(told[1], abs=tolerance), name
    assert predgen.load(tmp_path / "half").predict(rows) == half.predict(rows)


@pytest.mark.parametrize("director", ["residual", "crps", "nll"])
def test_grids_beyond_one_pass_are_refused_with_what_helps(director: str) -> None:
    with pytest.raises(ConfigError) as error:
        make(Case("predgen", "regression", director, "token", max_tree_nodes=20))
    message = str(error.value)
    assert repr(director) in message
    assert "`max_tree_nodes` 20" in message
    assert "`decimals`" in message
