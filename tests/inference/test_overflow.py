"""Numbers inside a model that exceed their type: it has no answer, and none is made up."""

from pathlib import Path

import pytest
import torch

from predgen.errors import ModelError
from tiny_runs import tiny_base, tiny_data, tiny_run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("overflow") / "base")


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("method", ["predictor", "generator", "predgen"])
def test_a_model_whose_numbers_overflow_is_refused_when_it_answers(base: Path, method: str, kind: str) -> None:
    trained = tiny_run(base, kind, tiny_data(kind, 4), method=method, max_steps=1)
    rows = [{"text": "a dull book"}, {"text": "good wine"}]
    assert len(trained.predict(rows)) == 2
    *_, norm = (p for name, p in trained.model.backbone.lm.named_parameters() if name.endswith("norm.weight"))
    with torch.no_grad():
        norm.fill_(torch.finfo(norm.dtype).max)  # the last norm's output is infinite wherever it exceeds 1
    with pytest.raises(ModelError, match="not finite"):
        trained.predict(rows)
