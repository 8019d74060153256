import pytest
from hypothesis import given
from hypothesis import strategies as st

from predgen.codecs.trie import Trie
from predgen.errors import CodecError

STOP = 0
# Few token ids, so that prefixes and shared beginnings are common.
answer_sets = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple), min_size=1, unique=True)


@given(answer_sets)
def test_legal_tokens_are_those_that_some_answer_continues_with(answers: list[tuple[int, ...]]) -> None:
    trie = Trie(answers, STOP)
    prefixes = {answer[:length] for answer in answers for length in range(len(answer) + 1)}
    for prefix in prefixes:
        node = trie.start
        for token in prefix:
            node = trie.advance(node, token)
        # Second route: look at all answers.
        follow = {a[len(prefix)] for a in answers if len(a) > len(prefix) and a[: len(prefix)] == prefix}
        expected = follow | ({STOP} if prefix in answers else set())
        assert trie.legal(node) == tuple(sorted(expected))
        assert trie.is_forced(node) == (len(expected) == 1)
        assert trie.answer_at(node) == (answers.index(prefix) if prefix in answers else None)
    assert len(trie) == len(prefixes)
    assert trie.size == len(answers)


@given(answer_sets)
def test_parents_come_before_children(answers: list[tuple[int, ...]]) -> None:
    trie = Trie(answers, STOP)
    for node in range(1, len(trie)):
        parent = trie.parents[node]
        assert parent < node
        assert trie.depths[node] == trie.depths[parent] + 1
        assert trie.advance(parent, trie.tokens[node]) == node


def test_stop_decides_between_a_label_and_its_extension() -> None:
    trie = Trie([(5,), (5, 6)], STOP)
    assert trie.legal(trie.advance(0, 5)) == (0, 6)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([], "at least one answer"),
        ([()], r"answer 0 is \(\)"),
        ([(1,), (2, 0)], r"answer 1 is \(2, 0\).*stop token 0"),
        ([(1, 2), (3,), (1, 2)], r"answers 0 and 2 have the same tokens \(1, 2\)"),
    ],
)
def test_bad_answers_are_errors(answers: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(CodecError, match=message):
        Trie(answers, STOP)


@pytest.mark.parametrize("token", [0, 9, -1])
def test_illegal_token_is_an_error_that_names_the_legal_ones(token: int) -> None:
    trie = Trie([(1,), (2,)], STOP)
    with pytest.raises(CodecError, match=rf"token {token} is not legal at node 0; legal are \(1, 2\)"):
        trie.advance(trie.start, token)
