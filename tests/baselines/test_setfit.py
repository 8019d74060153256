"""SetFit by its package, where it is installed; a clear word where it is not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from predgen import registries
from predgen.baselines import base
from predgen.baselines.base import make_baseline, require_packages
from predgen.errors import ConfigError
from tiny_models import save_bert
from tiny_runs import tiny_config, tiny_data, tiny_rows
from tokenizers_for_tests import char_level


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "find_spec", lambda name: None)
    require_packages(["constant", "tfidf", "encoder"])
    with pytest.raises(ConfigError, match=r"'setfit'.*predgen\[peers\]"):
        require_packages(["constant", "setfit"])


def test_numbers_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'setfit' serves classification, not regression"):
        make_baseline("setfit", "regression")


def test_every_baseline_serves_some_kind() -> None:
    kinds = {name: registries.baselines.facts(name).get("kinds") for name in registries.baselines}
    assert kinds["constant"] is None
    assert kinds["encoder"] == kinds["embedding"] == ("classification", "regression")


@pytest.mark.filterwarnings("ignore")  # of packages that are not ours
def test_its_probabilities_are_those_of_a_linear_model_on_vectors_it_has_tuned(tmp_path: Path) -> None:
    pytest.importorskip("setfit")
    folder = save_bert(tmp_path, char_level())
    own = {"setfit_model": str(folder), "setfit_learning_rate": 1e-2}
    baseline, data = make_baseline("setfit", "classification", own), tiny_data("classification", n_train=8)
    baseline.fit(tiny_config(folder, "classification", seed=1, max_steps=2), data)
    assert (baseline.facts["optimizer_steps"], baseline.facts["train_rows"]) == (2, 8)
    rows = tiny_rows(3, "classification", seed=4)
    found = baseline.predict(rows)
    body, head = baseline._model.model_body, baseline._model.model_head  # type: ignore[attr-defined]  # the package's own
    vectors = np.stack([body.encode(row.fields["text"]) for row in rows])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose([p.probabilities for p in found], head.predict_proba(vectors), atol=1e-5)
    assert [p.value for p in found] == [baseline.labels[int(np.argmax(p.probabilities))] for p in found]


def test_rows_with_weights_are_refused_by_name(tmp_path: Path) -> None:
    pytest.importorskip("setfit")
    config = tiny_config(tmp_path, "classification", class_weight="balanced")
    data = tiny_data("classification", n_train=9)
    uneven = replace(data, train=[data.train[0], *data.train])
    with pytest.raises(ConfigError, match="class_weight"):
        make_baseline("setfit", "classification").fit(config, uneven)
