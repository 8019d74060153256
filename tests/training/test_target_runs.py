"""Models of several targets: trained, saved and loaded, and each question as a model of it alone."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import predgen
from predgen.config import RunConfig
from predgen.core import Prediction
from predgen.data.questions import collate_questions
from predgen.errors import ConfigError, DataError, SavedModelError
from predgen.inference.targets import TrainedTargets
from predgen.models.targets import TargetsModel
from predgen.models.together import parts_to_run
from predgen.training.run import train, train_targets
from target_cases import PLAN, TARGETS, gradients, rows, settings, subject
from tiny_runs import tiny_base

METHODS = ("predictor", "generator", "predgen")
NAMES = ("stars", "mood", "urgency", "tags[a]", "tags[b]")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def runs(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[TrainedTargets, Path]]:
    """A trained model per method, and its folder."""
    found = {}
    for method in METHODS:
        folder = tmp_path_factory.mktemp(method)
        found[method] = (train_targets(settings(base, method), folder / "run", data=rows()), folder / "run")
    return found


def require_near(told: Sequence[Prediction], others: Sequence[Prediction]) -> None:
    """Predictions that are the same up to rounding, however rows and questions were brought into batches."""
    assert len(told) == len(others)
    for one, other in zip(told, others, strict=True):
        assert one.answer == other.answer
        known = (one.probabilities or (one.value,)), (other.probabilities or (other.value,))
        assert known[0] == pytest.approx(known[1], abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "kind"), [("mood", "classification"), ("stars", "regression")])
def test_one_target_is_the_model_of_that_target_to_the_bit(base: Path, method: str, name: str, kind: str) -> None:
    several = train_targets(settings(base, method, [f"{name}:{kind}"]), data=rows())
    known = [row for row in rows() if row[name] != ""]
    prompt = "{text}\n" + f"{name.capitalize()}:"
    config = settings(base, method, [f"{name}:{kind}"])
    alone = train(config.of_target(config.target_specs[0]), data=known)
    assert config.of_target(config.target_specs[0]).prompt == prompt
    ours, theirs = several.model.of(name).state_dict(), alone.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert [row[name] for row in several.predict(rows())] == alone.predict(rows())


@pytest.mark.parametrize("method", METHODS)
def test_a_masked_answer_is_a_question_that_was_not_asked(base: Path, method: str) -> None:
    without = [
        {**row, "tags": None, "urgency": "low" if i == 0 else "high" if i == 1 else None}
        for i, row in enumerate(rows())
    ]
    both = subject(settings(base, method, TARGETS[:3]), without)
    less = subject(settings(base, method, TARGETS[:2]), without)
    chosen = [row for row in both.encoded() if row.row_id > 1][:6]
    others = {row.row_id: row for row in less.encoded()}
    batch = collate_questions(chosen, 0)
    smaller = collate_questions([others[row.row_id] for row in chosen], 0)
    losses, alike = both.trained.model(batch, PLAN, "example"), less.trained.model(smaller, PLAN, "example")
    assert torch.equal(losses.total, alike.total)
    assert torch.equal(batch.weight, smaller.weight)
    of_lm = [gradients(one.trained.model.lm, found.total) for one, found in ((both, losses), (less, alike))]
    assert of_lm[0].keys() == of_lm[1].keys()
    assert all(torch.equal(of_lm[0][key], of_lm[1][key]) for key in of_lm[1])


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_is_the_sum_of_the_losses_of_models_of_each_question(base: Path, method: str) -> None:
    made = subject(settings(base, method, [{**TARGETS[0], "weight": 3}, *TARGETS[1:]]), rows())
    model, encoded = made.trained.model, made.encoded()[:7]
    whole = model(collate_questions(encoded, 0), PLAN, "example").total
    parts = parts_to_run(collate_questions(encoded, 0), together=False)
    assert len(parts) >= len(NAMES)
    torch.testing.assert_close(sum(model(part, PLAN, "example").total for part in parts), whole, rtol=1e-5, atol=1e-6)
    weights = {n: row.weight for of_row in encoded for n, row in of_row.asked}
    assert weights == {0: 1.0, 1: 3.0, 2: 0.5, 3: 0.5, 4: 1.0}  # mood, stars, tags[a], tags[b], urgency


@pytest.mark.parametrize("method", METHODS)
def test_order_of_targets_batch_and_neighbours_change_no_prediction(
    base: Path, runs: Mapping[str, tuple[TrainedTargets, Path]], method: str
) -> None:
    model, _ = runs[method]
    turned = train_targets(settings(base, method, TARGETS[::-1]), data=rows())
    assert list(turned.predict(rows()[:1])[0]) == ["tags[a]", "tags[b]", "urgency", "mood", "stars"]
    assert [dict(sorted(row.items())) for row in turned.predict(rows())] == [
        dict(sorted(row.items())) for row in model.predict(rows())
    ]
    one_by_one = [model.predict([row], batch_size=1)[0] for row in rows()[:5]]
    for alone, together in zip(one_by_one, model.predict(rows())[:5], strict=True):
        require_near([alone[name] for name in NAMES], [together[name] for name in NAMES])


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_model_predicts_what_it_predicted(
    runs: Mapping[str, tuple[TrainedTargets, Path]], method: str, tmp_path: Path
) -> None:
    model, folder = runs[method]
    again = predgen.load_targets(folder)
    assert again.predict(rows()) == model.predict(rows())
    assert again.specs == model.specs
    assert again.config.to_dict() == model.config.to_dict()
    one = predgen.load(folder, target="mood")
    require_near(one.predict(rows()), [row["mood"] for row in model.predict(rows())])
    one.save(tmp_path / "mood")  # a question is a model of its own
    assert predgen.load(tmp_path / "mood").predict(rows()) == one.predict(rows())
    again.save(tmp_path / "all")
    before, after = (json.loads((place / "predgen.json").read_text()) for place in (folder, tmp_path / "all"))
    assert {**before, "digests": 0} == {**after, "digests": 0}


def test_columns_have_the_order_in_which_targets_were_given(runs: Mapping[str, tuple[TrainedTargets, Path]]) -> None:
    model, _ = runs["generator"]
    first = model.predict(rows())[0]
    assert tuple(first) == NAMES
    assert {name: model[name].classes for name in NAMES} == {
        "stars": (),
        "mood": ("bad", "good"),
        "urgency": ("low", "mid", "high"),
        "tags[a]": ("no", "yes"),
        "tags[b]": ("no", "yes"),
    }
    assert model.report["rows_without_answer"] == {"stars": 0, "mood": 13, "urgency": 0, "tags": 10}
    figures = model.report["validation"]
    of_numbers, of_labels = figures["stars r2"], [figures[f"{name} accuracy"] for name in NAMES[1:]]
    tags = (of_labels[2] + of_labels[3]) / 2
    assert figures["mean_score"] == pytest.approx((of_numbers + of_labels[0] + of_labels[1] + tags) / 4)
    assert model.report["selection"]["metric"] == "mean_score"


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(base: Path, tmp_path: Path) -> None:
    config = settings(base, "predgen", max_steps=4, eval_steps=2)
    whole = train_targets(config, tmp_path / "whole", data=rows())

    from predgen.training import callbacks

    class Stop(callbacks.LogFile):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 3:
                raise RuntimeError("power cut")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, "LogFile", Stop)
        with pytest.raises(RuntimeError, match="power cut"):
            train_targets(config, tmp_path / "cut", data=rows())
    again = train_targets(config, tmp_path / "cut", data=rows(), resume=True)
    ours, theirs = again.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_soft_labels_are_learned_by_their_cross_entropy(base: Path) -> None:
    soft = [{**row, "mood": {"good": 0.75, "bad": 0.25}} for row in rows()]
    made = subject(settings(base, "predictor", ["mood:classification", "stars:regression"]), soft)
    [row] = made.encoded()[:1]
    model = made.trained.model.of("mood")
    with torch.no_grad():
        loss = made.trained.model(collate_questions([row], 0), PLAN, "example")
        logits = model._output(collate_questions([row], 0).batches[0].rows(torch.tensor([0])))
    assert [n for n, _ in row.asked] == [0, 0, 1]
    expected = -(0.25 * logits.log_softmax(1)[0, 0] + 0.75 * logits.log_softmax(1)[0, 1])
    got = float((loss.director[:2] * torch.tensor([r.weight for _, r in row.asked[:2]])).sum())
    assert got == pytest.approx(float(expected), abs=1e-6)


def test_what_is_of_one_target_and_what_of_several_is_not_mixed_up(
    base: Path, runs: Mapping[str, tuple[TrainedTargets, Path]]
) -> None:
    _, folder = runs["predictor"]
    with pytest.raises(ConfigError, match=r"several targets.*load_targets"):
        predgen.load(folder)
    with pytest.raises(ConfigError, match=r"no target 'moods'.*'mood'"):
        predgen.load(folder, target="moods")
    with pytest.raises(ConfigError, match="train_targets"):
        train(settings(base, "predictor"), data=rows())
    with pytest.raises(ConfigError, match="`targets` is None"):
        train_targets(RunConfig(prompt="{text}", target="mood", kind="classification"), data=rows())


def test_what_cannot_be_learned_names_its_target(base: Path) -> None:
    alike = [{**row, "mood": "good"} for row in rows()]
    with pytest.raises(DataError, match=r"target 'mood'.*same label"):
        train_targets(settings(base, "predictor"), data=alike)
    with pytest.raises(ConfigError, match=r"target 'stars'.*'linear'"):
        train_targets(settings(base, "predgen", director="linear"), data=rows())


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["questions"].pop(),
        lambda data: data["questions"][0]["target"].update(question="\nOther:"),
        lambda data: data["questions"][0]["target"].update(name="other"),
        lambda data: data["targets"].append("other"),
        lambda data: data["questions"][2].update(label="c"),
        lambda data: data["questions"][0]["setup"].update(kind="regression"),
        lambda data: data["questions"][0]["codec"]["data"].update(stop=3),
        lambda data: data.update(format_version=5),
        lambda data: data.pop("digests"),
        lambda data: data["questions"][0].update(code="os:system"),
    ],
)
def test_a_damaged_folder_is_refused(
    runs: Mapping[str, tuple[TrainedTargets, Path]], tmp_path: Path, change: Any
) -> None:
    model, _ = runs["generator"]
    folder = model.save(tmp_path / "copy")
    data = json.loads((folder / "predgen.json").read_text())
    change(data)
    (folder / "predgen.json").write_text(json.dumps(data))
    with pytest.raises(SavedModelError, match=r"predgen\.json"):
        predgen.load_targets(folder)


def test_weights_of_a_question_are_its_own(runs: Mapping[str, tuple[TrainedTargets, Path]]) -> None:
    model, _ = runs["predgen"]
    assert isinstance(model.model, TargetsModel)
    state = model.model.head_state()
    assert {name.split("/")[0] for name in state} <= set(NAMES)
    assert not any(".lm." in name or name.startswith("lm.") for name in state)
    with pytest.raises(ValueError, match="do not fit"):
        model.model.load_head_state({name: value for name, value in state.items() if not name.startswith("mood")})


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("predictor", {}),
        ("predictor", {"pooling": "mean"}),
        ("generator", {}),
        ("generator", {"max_tree_nodes": 2}),
        ("predgen", {}),
        ("predgen", {"director": "nll"}),
        ("predgen", {"sampling": "marginal", "director": "linear"}),
    ],
    ids=str,
)
def test_questions_run_together_say_what_each_says_alone(base: Path, method: str, more: dict[str, Any]) -> None:
    targets = [target for target in TARGETS if more.get("director") != "linear" or target != TARGETS[0]]
    made = subject(settings(base, method, targets, **more), rows())
    trained = made.trained
    for part in trained.parts.values():  # heads start at zero, and would say nothing
        for weight in [p for n, p in part.model.named_parameters() if not n.startswith("lm.")]:
            torch.nn.init.normal_(weight, std=0.1)
    trained.model.eval()
    given = [{**row, "text": row["text"] + " again" * (i % 3)} for i, row in enumerate(rows(7))]
    for name, told in trained.predict_examples(trained.examples(given), batch_size=3).items():
        alone = [trained[name].predict_examples(trained.examples(given)[name][i : i + 1])[0] for i in range(7)]
        require_near(told, alone)
