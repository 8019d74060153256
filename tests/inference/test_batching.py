"""Encoded rows in batches: a shared beginning run once, budgets, order, and memory that runs out."""

import functools
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from method_cases import TOLERANCE, Case, assert_same_predictions, codec_of, examples, make
from predgen.core import Decoding, Prediction
from predgen.data.collate import Batch
from predgen.data.encode import Encoded, Encoder
from predgen.engine.prompt_pass import SharedPrefix
from predgen.errors import ConfigError, ModelError
from predgen.inference import batching, prefixes
from predgen.inference.batching import predict_encoded
from predgen.inference.prefixes import KeptPrefix
from predgen.models.base import PredictionModel
from tokenizers_for_tests import char_level

TASK = "Read the review, then say what it is. "
CASES = [Case("predictor", "classification", pooling=how) for how in ("last", "mean", "first")]
CASES += [
    Case("predictor", "regression", pooling="mean"),
    Case("generator", "classification"),
    Case("generator", "regression"),
    Case("generator", "regression", max_tree_nodes=40),
    Case("predgen", "classification", "linear", "token"),
    Case("predgen", "classification", "linear", "marginal"),
    Case("predgen", "regression", "value", "token", max_tree_nodes=40),
    Case("predgen", "regression", "ordered", "token"),
    Case("predgen", "regression", "expected", "token"),
    Case("predgen", "math", "ordered", "token"),
]


@functools.cache
def rows_of(kind: str, instruction: str = TASK) -> tuple[Encoded, ...]:
    """Eight rows of unequal length, without answers."""
    codec = codec_of(kind)
    encoder = Encoder(char_level(), instruction + "R: {text}\nA:", codec, labels=getattr(codec, "labels", ()))
    rows = tuple(encoder.encode(example, with_answer=False) for example in examples(kind))
    assert len({len(row.prompt_ids) for row in rows}) > 4
    return rows


def predict(model: PredictionModel, rows: Sequence[Encoded], **options: Any) -> list[Prediction]:
    return predict_encoded(model, rows, **{"pad_id": 0, "batch_tokens": 400, **options})


def shared(monkeypatch: pytest.MonkeyPatch) -> list[SharedPrefix]:
    """Prefixes that are run from here on."""
    found: list[SharedPrefix] = []
    run = prefixes.share_prefix

    def sharing(*args: Any) -> SharedPrefix:
        found.append(run(*args))
        return found[-1]

    monkeypatch.setattr(prefixes, "share_prefix", sharing)
    return found


def assert_close(found: Sequence[Prediction], wanted: Sequence[Prediction]) -> None:
    """The same predictions, distributions and masses included."""
    assert_same_predictions(found, wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours.distribution is None) == (theirs.distribution is None)
        if ours.distribution is not None:
            assert ours.distribution.mean() == pytest.approx(theirs.distribution.mean(), abs=TOLERANCE)
            assert ours.distribution.probabilities == pytest.approx(theirs.distribution.probabilities, abs=TOLERANCE)


# --- a shared beginning -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=str)
def test_shared_beginning_changes_no_prediction(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = make(case), rows_of(case.kind)
    run_prefixes = shared(monkeypatch)
    loose = Decoding(max_unexpanded=0.3)  # what is unexpanded changes no mode
    apart = predict(model, rows, share_prefix=False, decoding=loose)
    assert run_prefixes == []
    together = predict(model, rows, decoding=loose)
    assert len(run_prefixes) == 1  # once for all batches
    assert char_level().decode(run_prefixes[0].ids) == f"{TASK}R: "
    assert_close(together, apart)
    assert_close([predict(model, [row], decoding=loose)[0] for row in rows[:2]], apart[:2])
    assert len({repr(p) for p in apart}) > 1 or case.pooling == "first"  # the first token is the same in every row


@pytest.mark.parametrize("case", [CASES[1], CASES[4], CASES[9]], ids=str)
def test_beginning_is_run_once_for_all_calls(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows, kept, run = make(case), rows_of(case.kind), KeptPrefix(), shared(monkeypatch)
    wanted = predict(model, rows, share_prefix=False)
    assert_close([predict(model, [row], kept=kept)[0] for row in rows], wanted)
    assert len(run) == 1, "known from the second row on, and right for all others"
    assert_close(predict(model, rows, kept=kept), wanted)
    assert predict(model, [], kept=kept) == []
    assert len(run) == 1


def test_kept_beginning_gives_way_to_another_instruction_and_to_other_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    case, kept, run = Case("generator", "classification"), KeptPrefix(), shared(monkeypatch)
    model, rows, other = make(case), rows_of(case.kind), rows_of(case.kind, "Another instruction, as long. ")
    for asked, times in ((rows, 1), (other, 2), (rows[:1], 2), (other[:1], 2), (rows, 3), (rows[2:4], 3)):
        assert_close(predict(model, asked, kept=kept), predict(model, asked, share_prefix=False))
        assert len(run) == times
    before = predict(model, rows[:3], kept=kept)
    with torch.no_grad():
        next(model.backbone.lm.parameters()).mul_(1.5)
    after = predict(model, rows[:3], kept=kept)
    assert_close(after, predict(model, rows[:3], share_prefix=False))
    assert len(run) == 4
    assert repr(after) != repr(before)


def test_kept_beginning_gives_way_to_other_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("generator", "classification", peft="lora")
    model, rows, kept, run = make(case), rows_of(case.kind)[:4], KeptPrefix(), shared(monkeypatch)
    layers = [layer for layer in model.backbone.lm.modules() if isinstance(layer, BaseTunerLayer)]
    with torch.no_grad():
        for layer in layers:
            for matrix in (*layer.lora_A.values(), *layer.lora_B.values()):
                matrix.weight.add_(0.1)
    with_adapter = predict(model, rows, kept=kept)
    for layer in layers:
        layer.enable_adapters(False)
    without = predict(model, rows, kept=kept)
    assert_close(without, predict(model, rows, share_prefix=False))
    assert repr(without) != repr(with_adapter)
    for layer in layers:
        layer.enable_adapters(True)
        layer.merge()
    assert_close(predict(model, rows, kept=kept), with_adapter)
    assert len(run) == 3  # with the adapter, without it, and with it merged


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "qwen3"])
@pytest.mark.parametrize("case", [CASES[1], CASES[4], CASES[9]], ids=str)
def test_shared_beginning_on_other_architectures(case: Case, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, run_prefixes = make(case, family), shared(monkeypatch)
    assert_close(predict(model, rows_of(case.kind)), predict(model, rows_of(case.kind), share_prefix=False))
    assert len(run_prefixes) == 1


@pytest.mark.parametrize(
    "decoding", [Decoding("mean", True), Decoding("greedy"), Decoding(full_vocabulary=True)], ids=str
)
def test_shared_beginning_with_everything_asked_for(decoding: Decoding) -> None:
    model, rows = make(Case("generator", "regression")), rows_of("regression")
    found = predict(model, rows, decoding=decoding)
    wanted = predict(model, rows, decoding=decoding, share_prefix=False)
    assert_close(found, wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours.legal_mass is not None) == decoding.full_vocabulary
        assert ours.legal_mass is None or ours.legal_mass == pytest.approx(theirs.legal_mass, rel=1e-3)


@pytest.mark.parametrize("case", [CASES[0], CASES[4], CASES[8]], ids=str)
@pytest.mark.parametrize("name", ["gemma3", "mistral_sliding"])
def test_bases_with_sliding_windows_share_the_beginning(case: Case, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, run_prefixes = make(case, name), shared(monkeypatch)
    rows, kept = rows_of(case.kind), KeptPrefix()
    for _ in range(2):  # the second call has the beginning at hand
        found = predict(model, rows, kept=kept)
        assert_close(found, [predict(model, [row], share_prefix=False)[0] for row in rows])
    assert len(run_prefixes) == 1


@pytest.mark.parametrize("why", ["short", "one row", "another function", "base without trees"])
def test_beginning_is_not_shared_where_it_cannot_or_need_not_be(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case("generator", "classification")
    model, run_prefixes = make(case), shared(monkeypatch)
    rows: Sequence[Encoded] = rows_of(case.kind, "Task: " if why == "short" else TASK)
    options: dict[str, Any] = {"predict": lambda batch: model.predict(batch)} if why == "another function" else {}
    if why == "one row":
        rows = rows[:1]
    if why == "base without trees":
        model.obstacle = "test"
    found = predict(model, rows, **options)
    assert run_prefixes == []
    assert_close(found, [predict(model, [row], share_prefix=False)[0] for row in rows])


def test_row_that_is_the_beginning_of_all_others_keeps_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    model, run_prefixes = make(Case("predictor", "classification", pooling="mean")), shared(monkeypatch)
    long = rows_of("classification")[1].prompt_ids
    rows = [replace(rows_of("classification")[0], row_id=n, prompt_ids=long[:n]) for n in (20, 40, 30, 20)]
    found = predict(model, rows)
    assert run_prefixes[0].ids == long[:19]
    assert_close(found, predict(model, rows, share_prefix=False))
    assert found[0] == found[3]


# --- batches ----------------------------------------------------------------------------------------------------------


def watched(
    model: PredictionModel, monkeypatch: pytest.MonkeyPatch, limit: int = 10**9, error: Exception | None = None
) -> list[Batch]:
    """Batches that the model is given from here on; it fails on those of more rows than `limit`."""
    seen: list[Batch] = []
    own: Callable[..., list[Prediction]] = model.predict

    def predicting(batch: Batch, *rest: Any) -> list[Prediction]:
        seen.append(batch)
        if len(batch.row_id) > limit and error is not None:
            raise error
        return own(batch, *rest)

    monkeypatch.setattr(model, "predict", predicting)
    return seen


@pytest.mark.parametrize("case", [CASES[0], CASES[4], CASES[8]], ids=str)
@pytest.mark.parametrize("budget", [1, 60, 130, 300, 10**6])
def test_no_batch_of_several_rows_exceeds_its_tokens(case: Case, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = make(case), rows_of(case.kind)
    seen = watched(model, monkeypatch)
    predict(model, rows, batch_tokens=budget)
    sizes = [batch.prompt_ids.shape[1] + model.answer_nodes() for batch in seen]
    assert all(
        len(batch.row_id) * width <= budget or len(batch.row_id) == 1 for batch, width in zip(seen, sizes, strict=True)
    )
    assert sorted(row for batch in seen for row in batch.row_id.tolist()) == [row.row_id for row in rows]
    assert len(seen) == {1: 8, 10**6: 1}.get(budget, len(seen))
    # No batch could have taken the next one's first row.
    for batch, following in itertools.pairwise(seen):
        width = int(following.prompt_mask.sum(dim=1).min()) + model.answer_nodes()
        assert (len(batch.row_id) + 1) * width > budget


@pytest.mark.parametrize("case", [CASES[4], CASES[5], CASES[7]], ids=str)
def test_full_vocabulary_counts_the_forced_nodes_it_runs(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rows = make(case), rows_of(case.kind)
    tree, longest = model.tree, max(len(row.prompt_ids) for row in rows)
    assert tree.n_nodes > tree.n_scored
    run: list[int] = []  # tokens per row, forward by forward
    counting = model.lm.get_input_embeddings().register_forward_hook(lambda _, given, __: run.append(given[0].shape[1]))
    asked = Decoding("argmax", full_vocabulary=True)
    with counting:
        predict(model, rows, batch_tokens=10**6, decoding=asked, share_prefix=False)
    assert sum(run) == longest + len(tree.head) + tree.n_nodes
    budget = len(rows) * (longest + tree.n_scored)  # one batch, if only the nodes of plain probabilities were run
    seen = watched(model, monkeypatch)
    predict(model, rows, batch_tokens=budget, decoding=Decoding("argmax"), share_prefix=False)
    assert len(seen) == 1
    predict(model, rows, batch_tokens=budget, decoding=asked, share_prefix=False)
    assert len(seen) > 2
    assert all(len(b.row_id) * (b.prompt_ids.shape[1] + tree.n_nodes) <= budget for b in seen[1:])


def test_batch_size_rules_where_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(CASES[4])
    seen = watched(model, monkeypatch)
    predict(model, rows_of("classification"), batch_tokens=1, batch_size=3)
    assert [len(batch.row_id) for batch in seen] == [3, 3, 2]


def test_order_is_kept_and_rows_are_counted() -> None:
    model, rows = make(CASES[7]), list(rows_of("classification"))
    alone = {row.row_id: predict(model, [row])[0] for row in rows}
    random.Random(3).shuffle(rows)
    counts: list[int] = []
    found = predict(model, [*rows, rows[0]], batch_size=2, on_batch=counts.append)
    assert_same_predictions(found, [alone[row.row_id] for row in [*rows, rows[0]]])
    assert counts == [2, 2, 2, 2, 1]
    assert predict(model, []) == []


def test_truncated_rows_are_flagged() -> None:
    rows = [replace(row, is_truncated=i == 2) for i, row in enumerate(rows_of("classification"))]
    flags = [p.flags for p in predict(make(CASES[4]), rows, batch_size=3)]
    assert [i for i, flag in enumerate(flags) if "truncated" in flag] == [2]


def test_what_cannot_be_asked_for_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(CASES[4])
    seen = watched(model, monkeypatch)
    with pytest.raises(ConfigError, match="'mean' is not for a classification model"):
        predict(model, rows_of("classification"), decoding=Decoding("mean"))
    assert seen == []


# --- memory that runs out ---------------------------------------------------------------------------------------------


@pytest.fixture
def cleared(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """How often memory was cleared; collecting a test run's garbage takes a second."""
    calls: list[bool] = []
    monkeypatch.setattr(batching, "clear_device_cache", lambda garbage_collection: calls.append(garbage_collection))
    return calls


SHORTAGES = [
    torch.OutOfMemoryError("CUDA out of memory."),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.1 GiB"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"
    ),
]


@pytest.mark.parametrize("shortage", SHORTAGES, ids=["cuda", "cuda, long", "cpu"])
def test_batches_are_halved_until_they_fit_and_no_row_is_lost(
    shortage: RuntimeError, monkeypatch: pytest.MonkeyPatch, cleared: list[bool]
) -> None:
    model, rows = make(CASES[7]), rows_of("classification")
    wanted = predict(model, rows)
    seen = watched(model, monkeypatch, limit=2, error=shortage)
    counts: list[int] = []
    found = predict(model, rows, batch_size=8, on_batch=counts.append)
    assert [len(batch.row_id) for batch in seen] == [8, 4, 2, 2, 2, 2]
    assert cleared == [True, True]
    assert counts == [2, 2, 2, 2]
    assert_same_predictions(found, wanted)


@pytest.mark.parametrize("limit", [1, 3, 5])
def test_token_budget_shrinks_with_the_batches(
    limit: int, monkeypatch: pytest.MonkeyPatch, cleared: list[bool]
) -> None:
    model, rows = make(CASES[7]), list(rows_of("classification")) * 3
    wanted = predict(model, rows)
    seen = watched(model, monkeypatch, limit=limit, error=SHORTAGES[0])
    counts: list[int] = []
    found = predict(model, rows, batch_tokens=10**6, on_batch=counts.append)
    assert_same_predictions(found, wanted)
    assert sum(counts) == len(rows)
    assert len(seen[0].row_id) == 24
    assert max(counts) <= limit
    assert len(seen) - len(counts) <= 6  # what failed is not tried again and again


def test_shortage_in_the_middle_loses_no_row(monkeypatch: pytest.MonkeyPatch, cleared: list[bool]) -> None:
    model, rows = make(CASES[7]), rows_of("classification")
    wanted = predict(model, rows)
    calls: list[int] = []
    own = model.predict

    def third_fails(batch: Batch, *rest: Any) -> list[Prediction]:
        calls.append(len(batch.row_id))
        if len(calls) == 3:
            raise SHORTAGES[0]
        return own(batch, *rest)

    monkeypatch.setattr(model, "predict", third_fails)
    assert_same_predictions(predict(model, rows, batch_size=2), wanted)
    assert calls == [2, 2, 2, 1, 1, 1, 1]


@pytest.mark.parametrize("training", [True, False])
def test_a_row_that_is_too_much_alone_is_named(
    training: bool, monkeypatch: pytest.MonkeyPatch, cleared: list[bool]
) -> None:
    model, rows = make(CASES[7]), rows_of("classification")
    model.train(training)
    watched(model, monkeypatch, limit=0, error=SHORTAGES[2])
    shortest = min(rows, key=lambda row: len(row.prompt_ids))
    n = len(shortest.prompt_ids)
    message = rf"memory does not suffice for row {shortest.row_id + 1} alone \({n} prompt tokens\)\. Lower `max_length`"
    with pytest.raises(ModelError, match=message) as error:
        predict(model, rows)
    assert error.value.__cause__ is SHORTAGES[2]
    assert all(module.training is training for module in model.modules())


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("x"), KeyError(1)]
)
def test_other_errors_pass_through_at_once(
    error: Exception, monkeypatch: pytest.MonkeyPatch, cleared: list[bool]
) -> None:
    model = make(CASES[7])
    model.train()
    seen = watched(model, monkeypatch, limit=0, error=error)
    with pytest.raises(type(error)) as found:
        predict(model, rows_of("classification"), batch_size=4)
    assert found.value is error
    assert len(seen) == 1
    assert cleared == []
    assert all(module.training for module in model.modules())


def test_a_mixed_train_state_is_left_as_found() -> None:
    model = make(CASES[7])
    model.train()
    model.lm.eval()
    before = [module.training for module in model.modules()]
    predict(model, rows_of("classification"))
    assert [module.training for module in model.modules()] == before
