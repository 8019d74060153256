"""The sentence encoder's baseline: features as their formulas say, whatever stands beside a text in its batch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.linear_model import Ridge
from transformers import AutoModel

from predgen import registries
from predgen.baselines.linear import DENSE_STRENGTHS, Embedding
from predgen.baselines.settings import EmbeddingSettings
from predgen.compare.plan import BASELINES
from predgen.core import Example
from predgen.embeddings import SentenceEncoder
from predgen.errors import DataError, ModelError
from tiny_models import save_bert
from tiny_runs import tiny_rows
from tokenizers_for_tests import char_level

TEXTS = ["a", "The film is long, and it is warm.", "no", "negative, very negative", "a"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny random BERT with a character tokenizer."""
    return str(save_bert(tmp_path_factory.mktemp("encoder"), char_level()))


def alone(text: str, encoder: str) -> np.ndarray:
    """A text's vector, by itself: the mean of its states, of length 1."""
    ids = char_level()(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        states = AutoModel.from_pretrained(encoder).eval()(input_ids=ids).last_hidden_state[0]
    mean = states.mean(0).numpy()
    return mean / np.linalg.norm(mean)


def rows_of(*columns: list[str]) -> list[Example]:
    """Rows with a field per column."""
    return [
        Example(i, {f"f{k}": text for k, text in enumerate(texts)}, None)
        for i, texts in enumerate(zip(*columns, strict=True))
    ]


def embedding_features(rows: list[Example], encoder: str) -> np.ndarray:
    """Features of rows."""
    return SentenceEncoder(encoder).features(rows)


def embedding(encoder: str) -> Embedding:
    """The baseline with an encoder."""
    return Embedding(EmbeddingSettings(embedding_model=encoder))


def test_one_text_is_its_vector_whatever_stands_beside_it(encoder: str) -> None:
    found = embedding_features(rows_of(TEXTS), encoder)
    assert np.allclose(found, [alone(text, encoder) for text in TEXTS], atol=1e-6)


def test_a_pair_is_difference_product_and_cosine(encoder: str) -> None:
    others = TEXTS[::-1]
    found = embedding_features(rows_of(TEXTS, others), encoder)
    for row, first, second in zip(found, TEXTS, others, strict=True):
        u, v = alone(first, encoder), alone(second, encoder)
        assert np.allclose(row, [*np.abs(u - v), *(u * v), u @ v], atol=1e-6)
    assert np.allclose(embedding_features(rows_of(others, TEXTS), encoder), found, atol=1e-6), (
        "order makes no difference"
    )


def test_three_texts_are_three_vectors(encoder: str) -> None:
    found = embedding_features(rows_of(TEXTS, TEXTS, TEXTS), encoder)
    assert found.shape == (len(TEXTS), 3 * 16)


def test_it_is_the_best_of_its_strengths_on_validation_rows(encoder: str) -> None:
    rows = tiny_rows(60, "regression")
    train, validation, test = rows[:30], rows[30:45], rows[45:]
    found = [p.value for p in embedding(encoder).fit_rows(train, validation, "regression").predict(test)]
    features = embedding_features(rows, encoder)
    scaled = (features - features[:30].mean(0)) / features[:30].std(0)
    y = np.array([float(str(r.target.value)) for r in rows if r.target])
    models = [Ridge(1 / c).fit(scaled[:30], y[:30]) for c in DENSE_STRENGTHS]
    best = min(models, key=lambda model: float(np.mean((model.predict(scaled[30:45]) - y[30:45]) ** 2)))
    assert np.allclose(found, best.predict(scaled[45:]), atol=1e-4)


def test_labels_come_with_probabilities(encoder: str) -> None:
    rows = tiny_rows(40, "classification")
    baseline = embedding(encoder).fit_rows(rows[:20], rows[20:30], "classification")
    found = baseline.predict(rows[30:])
    assert np.allclose([np.sum(p.probabilities) for p in found], 1)
    assert [p.value for p in found] == [baseline.labels[int(np.argmax(p.probabilities))] for p in found]


def test_what_it_cannot_do_is_refused(encoder: str, tmp_path: Path) -> None:
    rows = tiny_rows(8, "regression")
    with pytest.raises(DataError, match="validation"):
        embedding(encoder).fit_rows(rows, [], "regression")
    with pytest.raises(ModelError, match="predgen models get minilm"):
        Embedding(EmbeddingSettings()).fit_rows(rows, rows, "regression")
    weights = load_file(Path(encoder) / "model.safetensors")
    for path in Path(encoder).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights.pop(next(name for name in weights if "attention" in name))
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="lacks"):
        embedding(str(tmp_path)).fit_rows(rows, rows, "regression")


def test_a_plan_takes_it_only_where_it_is_asked_for() -> None:
    assert set(BASELINES) < set(registries.baselines)
    assert "embedding" not in BASELINES
    assert EmbeddingSettings().embedding_model == "minilm"
