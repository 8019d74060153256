"""What PredGen takes where director and loss are left open, and that a saved model says what it took."""

from pathlib import Path

import pytest

import predgen
from predgen.errors import ConfigError
from tiny_models import save_bloom
from tiny_runs import tiny_base, tiny_data, tiny_run
from tokenizers_for_tests import char_level

USED = {"classification": ("residual", "linear"), "regression": ("residual", "value")}


@pytest.mark.parametrize("kind", USED)
def test_residual_and_sum_where_all_answers_take_one_pass(kind: str, tmp_path: Path) -> None:
    data = tiny_data(kind, n_validation=4)
    trained = tiny_run(tiny_base(tmp_path / "base"), kind, data, tmp_path / "run", max_steps=1, as_shipped=True)
    reloaded = predgen.load(tmp_path / "run")
    for model in (trained, reloaded):
        used = model.model.setup.settings
        assert (used["director"], used["loss"], used["head_norm"]) == (USED[kind][0], "sum", "standard")
        assert (model.config.director, model.config.loss) == (USED[kind][0], "sum")


def test_a_grid_beyond_one_pass_has_director_value(tmp_path: Path) -> None:
    base, data = tiny_base(tmp_path / "base"), tiny_data("regression")
    trained = tiny_run(base, "regression", data, tmp_path / "run", max_steps=1, as_shipped=True, max_tree_nodes=1)
    assert trained.model.tree is None
    assert predgen.load(tmp_path / "run").config.director == "value"
    with pytest.raises(ConfigError, match="`residual_reads`"):
        tiny_run(base, "regression", data, max_steps=1, as_shipped=True, max_tree_nodes=1, residual_reads="prompt")


@pytest.mark.parametrize("kind", USED)
def test_a_base_without_trees_has_the_head_that_reads_one_answer(kind: str, tmp_path: Path) -> None:
    base = save_bloom(tmp_path / "base", char_level())
    trained = tiny_run(base, kind, tiny_data(kind), max_steps=1, as_shipped=True)
    assert trained.model.obstacle is not None
    assert trained.config.director == USED[kind][1]
