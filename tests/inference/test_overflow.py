"""Numbers inside a model that exceed their type: it has no answer, and none is made up."""

from pathlib import Path

import pytest
import torch

from predgen.config import RunConfig
from predgen.core import Decoding
from predgen.data.examples import to_examples
from predgen.data.tables import load_task
from predgen.errors import ModelError
from predgen.inference.trained import TrainedModel
from predgen.training.run import train
from task_files import publish
from tiny_runs import tiny_base, tiny_data, tiny_run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("overflow") / "base")


def overflow(trained: TrainedModel) -> None:
    """Make the last norm's output infinite wherever it exceeds 1."""
    *_, norm = (p for name, p in trained.model.backbone.lm.named_parameters() if name.endswith("norm.weight"))
    with torch.no_grad():
        norm.fill_(torch.finfo(norm.dtype).max)


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("method", ["predictor", "generator", "predgen"])
def test_a_model_whose_numbers_overflow_is_refused_when_it_answers(base: Path, method: str, kind: str) -> None:
    trained = tiny_run(base, kind, tiny_data(kind, 4), method=method, max_steps=1)
    rows = [{"text": "a dull book"}, {"text": "good wine"}]
    assert len(trained.predict(rows)) == 2
    overflow(trained)
    with pytest.raises(ModelError, match="not finite"):
        trained.predict(rows)


def test_free_writing_and_options_are_no_way_round(base: Path, tmp_path: Path) -> None:
    publish("piqa", tmp_path)
    settings = {"max_length": 256, "batch_size": 4, "max_steps": 1, "rank": 2}
    given = RunConfig(task="piqa", method="options", model=str(base), data_dir=str(tmp_path), **settings)
    options = train(given)
    rows = to_examples(load_task(options.task, "test", data_dir=tmp_path), options.task)[:2]
    assert len(options.predict_examples(rows)) == 2
    overflow(options)
    with pytest.raises(ModelError, match="not finite"):
        options.predict_examples(rows)

    free = tiny_run(base, "regression", tiny_data("regression", 4), method="generator", max_steps=1)
    overflow(free)
    with pytest.raises(ModelError, match="not finite"):
        free.predict([{"text": "a dull book"}], decoding=Decoding("free"))
