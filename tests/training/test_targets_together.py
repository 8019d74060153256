"""Training on several targets: what a row's questions have in common runs once, and every figure is as if each ran alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from predgen.data.questions import QuestionBatch, collate_questions
from predgen.engine.backbone import Backbone
from predgen.models.together import CommonPrompts, parts_to_run
from predgen.sampling.draws import SamplingPlan
from predgen.training.subjects import SeveralTargets
from target_cases import PLAN, TARGETS, gradients, rows, settings, subject
from tiny_models import save_bloom, save_tiny
from tiny_runs import tiny_base

LABELS = [target for target in TARGETS if target != TARGETS[0]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


def long_rows() -> list[dict[str, Any]]:
    """Prompts of unequal lengths that are longer than their questions; some rows lack answers, one has a soft one."""
    given = [{**row, "text": f"{row['text']} it was a long day" * (1 + i % 3)} for i, row in enumerate(rows())]
    given[2]["mood"] = {"good": 0.75, "bad": 0.25}
    return given


def stirred(made: SeveralTargets) -> SeveralTargets:
    """The same with heads that say something: they start at zero."""
    torch.manual_seed(1)
    for name, part in made.trained.parts.items():
        for weight in [p for n, p in part.model.named_parameters() if not n.startswith("lm.")]:
            torch.nn.init.normal_(weight, std=0.1)
        assert name in made.parts
    return made


def losses(
    made: SeveralTargets, parts: list[QuestionBatch], plan: SamplingPlan = PLAN
) -> dict[tuple[int, int], list[float]]:
    """L_W and L_D of each pair of question and row, however the batch was cut."""
    found: dict[tuple[int, int], list[float]] = {}
    for part in parts:
        told = made.trained.model(part, plan, "example")
        pairs = [(n, row) for n, of_one in part.batches.items() for row in of_one.row_id.tolist()]
        for i, pair in enumerate(pairs):
            known = [values[i].item() for values in (told.writer, told.director) if values is not None]
            found.setdefault(pair, []).extend(known)
    return {pair: sorted(values) for pair, values in found.items()}


@pytest.mark.parametrize(
    ("method", "targets", "more"),
    [
        ("predictor", TARGETS, {}),
        ("predictor", TARGETS, {"pooling": "mean"}),
        ("generator", TARGETS, {}),
        ("generator", TARGETS, {"max_tree_nodes": 2}),
        ("predgen", TARGETS, {}),
        ("predgen", TARGETS, {"max_tree_nodes": 2, "director": "value", "loss": "sum"}),
        ("predgen", TARGETS, {"sampling": "sequence", "director": "nll"}),
        ("predgen", LABELS, {"sampling": "marginal", "director": "linear"}),
    ],
    ids=lambda value: "" if isinstance(value, list) else str(value),
)
def test_losses_and_gradients_are_those_of_each_question_as_a_row_of_its_own(
    base: Path, method: str, targets: Any, more: dict[str, Any]
) -> None:
    if more.get("director") == "value":
        targets = [targets[0], {**TARGETS[0], "name": "price"}]
    given = [{**row, "price": i % 7} for i, row in enumerate(long_rows())]
    made = stirred(subject(settings(base, method, targets, **more), given))
    model = made.trained.model
    batch = collate_questions(made.encoded()[:6], 0)
    parts = [parts_to_run(batch, together=together) for together in (True, False)]
    assert len(parts[0]) < len(parts[1])
    assert len(parts[0][0].batches) == len(model.names)
    told = [losses(made, of_way) for of_way in parts]
    assert told[0].keys() == told[1].keys()
    for pair, values in told[1].items():
        assert told[0][pair] == pytest.approx(values, abs=1e-5, rel=1e-5)
    sums = [torch.stack([model(part, PLAN, "example").total for part in of_way]).sum() for of_way in parts]
    found, expected = (gradients(model, total) for total in sums)
    assert found.keys() == expected.keys()
    most = max(float(weight.abs().max()) for weight in expected.values())
    assert most > 1e-3
    for name, weight in expected.items():
        torch.testing.assert_close(found[name] / most, weight / most, atol=1e-5, rtol=0, msg=name)


def test_a_base_whose_attention_slides_trains_as_each_question_alone(base: Path, tmp_path: Path) -> None:
    folder = save_tiny("gemma3", tmp_path / "gemma3", AutoTokenizer.from_pretrained(base))
    made = stirred(subject(settings(folder, "predgen"), long_rows()))
    batch = collate_questions(made.encoded()[:6], 0)
    told = [losses(made, parts_to_run(batch, together=together)) for together in (True, False)]
    for pair, values in told[1].items():
        assert told[0][pair] == pytest.approx(values, abs=1e-5, rel=1e-5)


def test_a_step_runs_a_prompt_once(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = subject(settings(base, "generator"), long_rows())
    batch = collate_questions(made.encoded()[:8], 0)
    run: list[int] = []
    states, masked = Backbone.states, Backbone.masked_states

    def count(self: Backbone, ids: torch.Tensor, *rest: Any, **more: Any) -> Any:
        run.append(ids.numel())
        return states(self, ids, *rest, **more)

    def count_masked(self: Backbone, ids: torch.Tensor, *rest: Any, **more: Any) -> Any:
        run.append(ids.numel())
        return masked(self, ids, *rest, **more)

    monkeypatch.setattr(Backbone, "states", count)
    monkeypatch.setattr(Backbone, "masked_states", count_masked)
    tokens = []
    for together in (True, False):
        run.clear()
        losses(made, parts_to_run(batch, together=together))
        tokens.append(sum(run))
    assert tokens[0] < 0.6 * tokens[1]


def test_rows_that_share_little_and_bases_without_trees_ask_each_question_alone(base: Path, tmp_path: Path) -> None:
    made = subject(settings(base, "generator"), long_rows())
    model = made.trained.model
    assert model.runs_together
    batch = collate_questions(made.encoded()[:4], 0)
    shortened = {n: part.rows(torch.arange(len(part))) for n, part in batch.batches.items()}
    for number, part in shortened.items():  # as if each had been shortened at its beginning, another way
        part.prompt_ids[torch.arange(len(part)), part.prompt_mask.long().argmax(dim=1)] = number + 20
    assert CommonPrompts.of(QuestionBatch(shortened)) is None
    assert all(len(part.batches) == 1 for part in model.parts_to_run(QuestionBatch(shortened)))
    torch.testing.assert_close(
        model(QuestionBatch(shortened), PLAN, "example").total,
        torch.stack([model(p, PLAN, "example").total for p in model.parts_to_run(QuestionBatch(shortened))]).sum(),
    )
    bloom = save_bloom(tmp_path / "bloom", AutoTokenizer.from_pretrained(base))
    other = subject(settings(bloom, "predgen"), long_rows()).trained.model
    assert not other.runs_together
    assert all(len(part.batches) == 1 for part in other.parts_to_run(batch))
    other(other.parts_to_run(batch)[0], PLAN, "example").total.backward()


def test_order_of_targets_changes_no_loss(base: Path) -> None:
    one, turned = (subject(settings(base, "predgen", targets), long_rows()) for targets in (TARGETS, TARGETS[::-1]))
    told = [
        losses(made, made.trained.model.parts_to_run(collate_questions(made.encoded()[:8], 0)))
        for made in (one, turned)
    ]
    assert told[0] == told[1]  # to the bit
