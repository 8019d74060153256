"""Labels of `y`: what is written for them, and what comes back."""

from pathlib import Path

import numpy as np
import pytest

import predgen
from predgen import PredGenClassifier
from predgen.errors import ConfigError
from tiny_runs import tiny_base

TEXTS = [f"case {i} was {'fine' if i % 2 else 'dull'}" for i in range(24)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


def fitted(base: Path, y: list[object], **settings: object) -> PredGenClassifier:
    return PredGenClassifier(str(base), max_steps=2, batch_size=4, settings=settings).fit(TEXTS, y)


@pytest.mark.parametrize("texts", [None, {0: "negative", 1: "positive"}])
def test_whole_numbers_come_back_whatever_is_written(base: Path, tmp_path: Path, texts: dict[int, str] | None) -> None:
    y = [i % 2 for i in range(24)]
    model = fitted(base, y, **({"label_texts": texts} if texts else {}))
    assert model.trained_.labels == (("negative", "positive") if texts else ("0", "1"))
    assert model.classes_.tolist() == [0, 1]
    predicted = model.predict(TEXTS)
    assert predicted.dtype == np.array(y).dtype
    assert predicted.tolist() == model.classes_[model.predict_proba(TEXTS).argmax(axis=1)].tolist()
    assert 0 <= model.score(TEXTS, y) <= 1
    loaded = predgen.load(model.save(tmp_path / "run"))
    values = [prediction.value for prediction in loaded.predict([{"text": text} for text in TEXTS])]
    assert values == predicted.tolist()
    assert {type(value) for value in values} == {int}


def test_truth_values_come_back(base: Path) -> None:
    model = fitted(base, [i % 2 == 0 for i in range(24)])
    assert model.predict(TEXTS).dtype == bool
    assert {type(p.value) for p in model.trained_.predict([{"text": text} for text in TEXTS])} == {bool}


def test_a_label_without_a_text_is_refused(base: Path) -> None:
    with pytest.raises(ConfigError, match=r"no text for the labels '2' of `y`, only for the labels '0', '1'"):
        fitted(base, [i % 3 for i in range(24)], label_texts={0: "negative", 1: "positive"})
