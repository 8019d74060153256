"""What is kept of an analysis: whole files, of the same settings only."""

from pathlib import Path

import numpy as np
import pytest

from predgen.analysis.store import Store
from predgen.errors import ConfigError

SETTINGS = {"run": "a1", "rows": "b2", "answer_tokens": None}


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    store = Store(tmp_path / "new" / "folder")
    assert store.states("run", SETTINGS) is None
    assert store.results("run", "ksg", SETTINGS) == []
    arrays = {"trained": np.arange(6.0).reshape(3, 2), "none": np.zeros((3, 0))}
    store.keep_states("run", SETTINGS, arrays)
    store.keep_results("run", "ksg", SETTINGS, [{"nats": 0.1}])
    again = Store(tmp_path / "new" / "folder")
    found = again.states("run", SETTINGS)
    assert found is not None
    assert found.keys() == arrays.keys()
    assert all((found[name] == value).all() and found[name].shape == value.shape for name, value in arrays.items())
    assert again.results("run", "ksg", SETTINGS) == [{"nats": 0.1}]
    assert again.results("run", "mine", SETTINGS) == []
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".new"]


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.keep_states("run", SETTINGS, {"trained": np.zeros((1, 1))})
    store.keep_results("run", "ksg", SETTINGS, [])
    other = {**SETTINGS, "answer_tokens": 3}
    for read in (lambda: store.states("run", other), lambda: store.results("run", "ksg", other)):
        with pytest.raises(
            ConfigError, match=r"made with other settings \(answer_tokens None -> 3\). Give those again"
        ):
            read()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"{", b'{"settings": {}}', b"[1]"])
def test_damaged_files_are_said_and_how_to_go_on(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path)
    (tmp_path / "states" / "run.npz").write_bytes(content)
    (tmp_path / "results" / "run.ksg.json").write_bytes(content)
    for read in (lambda: store.states("run", SETTINGS), lambda: store.results("run", "ksg", SETTINGS)):
        with pytest.raises(ConfigError, match=r"is damaged: .*Delete it; its part is measured again\."):
            read()


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.keep_results("run", "ksg", SETTINGS, [{"nats": 0.1}])
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        store.keep_results("run", "ksg", SETTINGS, [{"nats": float("nan")}])
    assert store.results("run", "ksg", SETTINGS) == [{"nats": 0.1}]
