"""The generated opinions: seeded, consistent, new words in test, and not to be solved by counting words."""

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from predgen.demo import opinions
from predgen.demo.opinion_words import ADJECTIVES, HELD_OUT_OCCASIONS, JOINS, PHRASES, TRAIN_OCCASIONS
from predgen.demo.opinions import LABELS, make_opinions, noise_ceiling
from predgen.errors import ConfigError

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def splits() -> dict[str, Rows]:
    return make_opinions(800, 200, 500, seed=0)


def texts(rows: Rows) -> list[str]:
    return [row["text"] for row in rows]


def words(rows: Rows) -> set[str]:
    return {word for text in texts(rows) for word in re.findall("[a-z]+", text.lower())}


def test_rows_have_text_score_and_label(splits: dict[str, Rows]) -> None:
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 800, "validation": 200, "test": 500}
    for row in (row for rows in splits.values() for row in rows):
        assert list(row) == ["text", "score", "label"]
        assert 0.0 <= row["score"] <= 10.0
        assert row["score"] == round(row["score"], 1)


def test_label_follows_from_the_score(splits: dict[str, Rows]) -> None:
    for row in splits["train"]:
        assert row["label"] == ("negative" if row["score"] < 4.0 else "positive" if row["score"] > 6.0 else "mixed")


def test_every_label_is_common(splits: dict[str, Rows]) -> None:
    for rows in splits.values():
        counts = Counter(row["label"] for row in rows)
        assert set(counts) == set(LABELS)
        assert min(counts.values()) > 0.2 * len(rows)


def test_no_text_occurs_twice(splits: dict[str, Rows]) -> None:
    every = [text for rows in splits.values() for text in texts(rows)]
    assert len(set(every)) == len(every)


def test_seed_decides() -> None:
    assert make_opinions(20, 5, 5, seed=3) == make_opinions(20, 5, 5, seed=3)
    assert make_opinions(20, 5, 5, seed=3) != make_opinions(20, 5, 5, seed=4)


def test_more_rows_of_one_split_leave_the_others_as_they_are() -> None:
    small, large = make_opinions(20, 5, 10, seed=0), make_opinions(40, 9, 10, seed=0)
    assert large["test"] == small["test"]
    assert large["train"][:20] == small["train"]
    assert large["validation"][:5] == small["validation"]


def test_word_lists_share_no_word() -> None:
    families = [family for pair in ADJECTIVES.values() for family in pair]
    listed = [word for family in families for word in family]
    for occasions in (TRAIN_OCCASIONS, HELD_OUT_OCCASIONS):
        listed += [*occasions, *(noun for nouns in occasions.values() for noun in nouns)]
    assert Counter(listed).most_common(1)[0][1] == 1


def test_train_has_none_of_the_held_out_words(splits: dict[str, Rows]) -> None:
    new_adjectives = {word for _, family in ADJECTIVES.values() for word in family}
    new_nouns = {noun for nouns in HELD_OUT_OCCASIONS.values() for noun in nouns}
    old_nouns = {noun for nouns in TRAIN_OCCASIONS.values() for noun in nouns}
    assert not words(splits["train"]) & (new_adjectives | new_nouns)
    assert not words(splits["test"]) & old_nouns
    found = Counter(
        word for text in texts(splits["test"]) for word in re.findall("[a-z]+", text) if word in new_adjectives
    )
    assert set(found) == new_adjectives
    assert found.total() / (2 * len(splits["test"])) == pytest.approx(opinions.HELD_OUT_SHARE, abs=0.05)


def test_texts_are_one_ordinary_sentence(splits: dict[str, Rows]) -> None:
    for text in texts(splits["train"] + splits["test"]):
        assert 9 <= len(text.split()) <= 28
        assert text[0].isupper()
        assert text.endswith(".")
        assert "{" not in text


def read_back(text: str) -> float:
    """The score that the rules give a text, by parsing it: a second way, from text to number."""
    valence_of = {word: valence for valence, families in ADJECTIVES.items() for family in families for word in family}
    factor_of = {text.removesuffix("{a}").strip(): factor for text, factor, _ in PHRASES}

    def clause(words: str) -> float:
        *_, phrase, adjective = re.fullmatch(r"the (\w+) (was|seemed) (.*?) ?(\w+)", words).groups()  # type: ignore[union-attr]
        return max(-1.0, min(1.0, factor_of[phrase] * valence_of[adjective]))

    lowered = text[0].lower() + text[1:]
    for join, weight_1, weight_2, _, _ in JOINS:
        found = re.fullmatch(
            re.escape(join).replace(r"\{0\}", "(?P<a>the [^,]*)").replace(r"\{1\}", "(?P<b>the [^,]*)"), lowered
        )
        if found:
            valence = weight_1 * clause(found["a"]) + weight_2 * clause(found["b"])
            return 5 + 5 * valence / (weight_1 + weight_2)
    raise AssertionError(f"no rule made {text!r}")


def test_rules_by_hand() -> None:
    # "very superb" is 1.3 * 0.8, cut to 1; "but" weighs the second clause 3 times: 5 + 5 * (1 * 1 + 3 * -0.8) / 4 = 3.25.
    assert read_back("The tea was very superb, but the host was dreadful.") == pytest.approx(3.25)
    # "not dull" is -0.5 * -0.4 = 0.2, and "and" weighs evenly: 5 + 5 * (0.2 + 0.4) / 2 = 6.5.
    assert read_back("The tea seemed not dull, and the host was good.") == pytest.approx(6.5)
    # What "although" introduces weighs less, wherever it stands: 5 + 5 * (3 * 0.8 - 0.8) / 4 = 7.
    assert read_back("The tea was superb, although the host was vile.") == pytest.approx(7.0)
    assert read_back("Although the host was vile, the tea was superb.") == pytest.approx(7.0)


def test_scores_are_what_the_texts_say_up_to_noise(splits: dict[str, Rows]) -> None:
    residuals = np.array([row["score"] - read_back(row["text"]) for rows in splits.values() for row in rows])
    assert np.abs(residuals).max() < 6 * opinions.NOISE_STD + 0.05  # 12 uniform draws stay within 6 standard deviations
    assert residuals.std() == pytest.approx(opinions.NOISE_STD, rel=0.06)
    assert abs(residuals.mean()) < 0.03


def test_noise_has_the_stated_spread() -> None:
    # Uniform rounding to 0.1 adds a variance of 0.1^2 / 12, cutting at 0 and 10 takes a little away.
    ceiling = noise_ceiling(2000, seed=1)
    assert ceiling.rmse == pytest.approx((opinions.NOISE_STD**2 + 0.1**2 / 12) ** 0.5, rel=0.06)
    assert 0.97 < ceiling.r2 < 1
    assert 0.9 < ceiling.accuracy < 1


def test_ceiling_is_measured_on_the_test_rows(splits: dict[str, Rows], monkeypatch: pytest.MonkeyPatch) -> None:
    variance = np.var([row["score"] for row in splits["test"]])
    ceiling = noise_ceiling(500, seed=0)
    assert ceiling.r2 == pytest.approx(1 - ceiling.rmse**2 / variance)
    monkeypatch.setattr(opinions, "NOISE_STD", 0.0)
    assert noise_ceiling(500, seed=0).rmse < 0.1 / 3**0.5  # only rounding is left


def test_counting_words_does_not_solve_it(splits: dict[str, Rows]) -> None:
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    features = vectorizer.fit_transform(texts(splits["train"]))
    model = Ridge(alpha=1.0).fit(features, [row["score"] for row in splits["train"]])
    assert model.score(features, [row["score"] for row in splits["train"]]) > 0.5  # it does learn something
    found = model.score(vectorizer.transform(texts(splits["test"])), [row["score"] for row in splits["test"]])
    assert found < noise_ceiling(500, seed=0).r2 - 0.4
    # No fault of the words alone: with words it has seen, counting does not reach the ceiling either.
    seen = make_opinions(1300, 0, 0, seed=0)["train"][800:]
    found = model.score(vectorizer.transform(texts(seen)), [row["score"] for row in seen])
    assert found < noise_ceiling(500, seed=0).r2 - 0.2


def test_impossible_numbers_of_rows_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="`n_train` is -1, but must be 0 or more"):
        make_opinions(-1, 0, 0, seed=0)
    with pytest.raises(ConfigError, match="`n_test` is 1, but a ceiling needs at least 2 rows"):
        noise_ceiling(1)
    monkeypatch.setattr(opinions, "_opinion", lambda _rng, *, held_out: ("always the same", 0.0))
    with pytest.raises(ConfigError, match="`n_test` is 3: no further text was found after 1 rows; ask for fewer"):
        make_opinions(0, 0, 3, seed=0)
