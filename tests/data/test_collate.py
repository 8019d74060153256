import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from predgen.codecs.label import LabelCodec
from predgen.core import Example, Target
from predgen.data.collate import Batch, collate
from predgen.data.encode import Encoded, Encoder
from tokenizers_for_tests import char_level, every_tokenizer, gpt2_like

ids = st.lists(st.integers(0, 99), min_size=1, max_size=8).map(tuple)
targets = st.floats(-100, 100, width=32) | st.just(math.nan)
answers = st.lists(st.tuples(st.integers(0, 99), st.booleans()), max_size=8)
# Rows of any ids, the padding's and the stop's among them.
raw_rows = st.lists(st.tuples(ids, answers, targets, st.floats(0, 9, width=32)), min_size=1, max_size=6)


def rows_of(raw: list[tuple[tuple[int, ...], list[tuple[int, bool]], float, float]]) -> list[Encoded]:
    """What an encoder might have made."""
    return [
        Encoded(7 * i, prompt, tuple(token for token, _ in answer), tuple(w for _, w in answer), target, weight, False)
        for i, (prompt, answer, target, weight) in enumerate(raw)
    ]


def back(batch: Batch, index: int) -> Encoded:
    """One row, read back out of the tensors."""
    prompt, answer = batch.prompt_mask[index], batch.answer_mask[index]
    return Encoded(
        int(batch.row_id[index]),
        tuple(batch.prompt_ids[index][prompt].tolist()),
        tuple(batch.answer_ids[index][answer].tolist()),
        tuple(batch.weighed[index][answer].tolist()),
        float(batch.target[index]),
        float(batch.weight[index]),
        False,
    )


def same(first: Encoded, second: Encoded) -> bool:
    """Equal, where nan equals nan."""
    return repr(first) == repr(second)


@settings(deadline=None)
@given(raw_rows, st.integers(0, 99))
def test_rows_come_back_unchanged_whatever_the_padding_token(raw: list, pad_id: int) -> None:
    rows = rows_of(raw)
    # The padding's id may be a real token of a row: masks mark positions, not ids.
    batch = collate(rows, pad_id)
    assert all(same(back(batch, i), row) for i, row in enumerate(rows))
    assert batch.prompt_ids.shape[1] == max(len(row.prompt_ids) for row in rows)
    assert batch.answer_ids.shape[1] == max(len(row.answer_ids) for row in rows)


@settings(deadline=None)
@given(raw_rows)
def test_prompts_are_padded_on_the_left_answers_on_the_right(raw: list) -> None:
    rows = rows_of(raw)
    batch = collate(rows, 5)
    for i, row in enumerate(rows):
        n, m = len(row.prompt_ids), len(row.answer_ids)
        assert batch.prompt_mask[i].tolist() == [False] * (batch.prompt_ids.shape[1] - n) + [True] * n
        assert batch.answer_mask[i].tolist() == [True] * m + [False] * (batch.answer_ids.shape[1] - m)
    assert (batch.prompt_ids[~batch.prompt_mask] == 5).all()
    assert (batch.answer_ids[~batch.answer_mask] == 5).all()
    assert not batch.weighed[~batch.answer_mask].any()


@pytest.mark.parametrize("name", every_tokenizer())
def test_the_stop_is_there_and_trained_even_where_it_is_the_padding_token_too(name: str) -> None:
    tokenizer = every_tokenizer()[name]
    stop = tokenizer.eos_token_id
    codec = LabelCodec.fit(["no", "not sure", "yes"], tokenizer)
    encoder = Encoder(tokenizer, "Text: {text}\nAnswer:", codec, labels=codec.labels)
    rows = [encoder.encode(Example(i, {"text": "x"}, Target(label))) for i, label in enumerate(codec.labels)]
    batch = collate(rows, pad_id=stop)  # GPT-2's kind: padding = eos
    for i, row in enumerate(rows):
        trained = batch.answer_ids[i][batch.answer_mask[i]].tolist()
        assert tuple(trained) == row.answer_ids
        assert trained.count(stop) == 1
        assert trained[-1] == stop
    assert batch.prompt_mask.all()  # equal prompts: nothing in them is padding, whatever ids they hold


def test_gpt2_kind_has_no_padding_token_of_its_own() -> None:
    # Guard: the test above covers the case that matters.
    assert gpt2_like().pad_token_id is None


def test_types_and_targets() -> None:
    rows = [
        Encoded(3, (7, 8), (5, 1), (True, False), 2.0, 1.0, False),
        Encoded(10**12, (9,), (), (), math.nan, 0.0, True),
    ]
    batch = collate(rows, 0)
    kinds = {name: tensor.dtype for name, tensor in batch.tensors().items()}
    assert kinds == {
        "prompt_ids": torch.int64,
        "prompt_mask": torch.bool,
        "answer_ids": torch.int64,
        "answer_mask": torch.bool,
        "weighed": torch.bool,
        "target": torch.float32,
        "weight": torch.float32,
        "row_id": torch.int64,
        "answer": torch.int64,
    }
    assert batch.answer.tolist() == [-1, -1]
    assert collate([replace(rows[0], answer=7)], 0).answer.tolist() == [7]
    assert batch.prompt_ids.tolist() == [[7, 8], [0, 9]]
    assert batch.answer_ids.tolist() == [[5, 1], [0, 0]]
    assert batch.weighed.tolist() == [[True, False], [False, False]]
    assert batch.weight.tolist() == [1.0, 0.0]
    assert batch.row_id.tolist() == [3, 10**12]
    assert batch.target[0] == 2.0
    assert batch.target[1].isnan()


def test_rows_without_answers_give_an_answer_width_of_zero() -> None:
    batch = collate([Encoded(0, (7, 8), (), (), math.nan, 1.0, False)], 0)
    assert batch.answer_ids.shape == batch.answer_mask.shape == batch.weighed.shape == (1, 0)


def test_some_rows_of_a_batch() -> None:
    rows = [Encoded(i, (i + 1,) * (i + 1), (9, 1), (True, False), float(i), 1.0, False) for i in range(4)]
    batch = collate(rows, 0)
    some = batch.rows(torch.tensor([3, 1]))
    assert [back(some, 0), back(some, 1)] == [rows[3], rows[1]]
    assert some.prompt_ids.shape == (2, 4)


def test_encoder_and_collate_together_by_hand() -> None:
    tokenizer = char_level()
    codec = LabelCodec.fit(["no", "yes"], tokenizer)
    encoder = Encoder(tokenizer, "{text}?", codec, labels=codec.labels)
    rows = [Example(0, {"text": "a"}, Target("no"), 2.0), Example(1, {"text": "bcd"}, Target("yes"))]
    batch = collate([encoder.encode(row) for row in rows], tokenizer.pad_token_id)
    written = [tokenizer.convert_ids_to_tokens(row) for row in batch.prompt_ids.tolist()]
    assert written == [["<pad>", "<pad>", "a", "?"], ["b", "c", "d", "?"]]
    written = [tokenizer.convert_ids_to_tokens(row) for row in batch.answer_ids.tolist()]
    assert written == [[" ", "n", "o", "<eos>", "<pad>"], [" ", "y", "e", "s", "<eos>"]]
    assert batch.target.tolist() == [0.0, 1.0]
    assert batch.weight.tolist() == [2.0, 1.0]


def row_of(prompt: int, answer: int) -> Encoded:
    """A row of so many tokens."""
    return Encoded(prompt, tuple(range(2, 2 + prompt)), tuple(range(answer)), (True,) * answer, 1.0, 1.0, False)


def test_trimmed_rows_lose_only_columns_that_are_padding_in_all() -> None:
    rows = [row_of(3, 2), row_of(9, 5), row_of(1, 1), row_of(4, 2)]
    batch = collate(rows, 0)
    for index in ([0], [2], [0, 3], [1, 2], [3, 2, 0]):
        part = batch.rows(torch.tensor(index)).trimmed()
        alone = collate([rows[i] for i in index], 0)
        for name, tensor in part.tensors().items():
            assert torch.equal(tensor, getattr(alone, name)), name
    assert batch.trimmed().prompt_ids.shape == batch.prompt_ids.shape
    assert batch.rows(torch.tensor([2])).prompt_ids.shape[1] == 9


def test_trimmed_keeps_columns_whatever_the_padding_side() -> None:
    batch = collate([row_of(3, 2), row_of(5, 2)], 0)
    pad = torch.nn.functional.pad
    wide = replace(
        batch,
        prompt_ids=pad(batch.prompt_ids, (2, 3), value=7),
        prompt_mask=pad(batch.prompt_mask, (2, 3)),
        answer_ids=pad(batch.answer_ids, (0, 4), value=7),
        answer_mask=pad(batch.answer_mask, (0, 4)),
        weighed=pad(batch.weighed, (0, 4)),
    )
    assert all(torch.equal(tensor, getattr(batch, name)) for name, tensor in wide.trimmed().tensors().items())
