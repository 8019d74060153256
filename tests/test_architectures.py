"""The table of architectures says what the load-time checks say, and predictions are those of scoring one by one."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
SOME = ("llama", "gemma3n_text", "bloom", "zamba2", "jamba", "rwkv", "openai-gpt", "xlnet")
EVERY_WAY = {"tree", "levels", "sequential", "uncached", "equal lengths", "refused"}


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("architectures", ROOT / "tools" / "architectures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["architectures"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def written() -> dict[str, dict[str, object]]:
    found = json.loads((ROOT / "docs" / "architectures.json").read_text(encoding="utf-8"))
    return {one["name"]: one for one in found}


def assert_as_written(tool: ModuleType, name: str, written: dict[str, object]) -> None:
    found = tool.check(name)
    assert found.way == written["way"]
    if found.way == "refused":
        assert found.error is None
    else:
        assert found.error < 1e-5  # float32


@pytest.mark.parametrize("name", SOME)
@pytest.mark.filterwarnings("ignore")  # what transformers says of fallbacks without kernels
def test_some_rows_of_the_table_are_what_the_checks_say(
    name: str, tool: ModuleType, written: dict[str, dict[str, object]]
) -> None:
    assert_as_written(tool, name, written[name])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_all_rows_of_the_table_are_what_the_checks_say(tool: ModuleType, written: dict[str, dict[str, object]]) -> None:
    assert list(written) == list(tool.NAMES)
    for name in tool.NAMES:
        assert_as_written(tool, name, written[name])


def test_the_table_covers_sixty_model_types_and_every_way(
    tool: ModuleType, written: dict[str, dict[str, object]]
) -> None:
    run = {tool.VARIANTS.get(name, (name,))[0] for name, one in written.items() if one["way"] != "refused"}
    assert len(run) >= 60
    assert {one["way"] for one in written.values()} >= EVERY_WAY
    assert {written[name]["way"] for name in SOME} >= EVERY_WAY
