"""What holds for all tests: no network, checked shapes and types, the same random numbers, one thread."""

import os

# Before the first import of huggingface_hub, which reads it once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Before the first import of numba, by SHAP: compiling takes far longer than what the docs' example then computes.
os.environ["NUMBA_DISABLE_JIT"] = "1"

from type_checks import begin_test, check_calls_of

# Before the first import of predgen: from here on beartype checks every annotated call in it.
check_calls_of("predgen")

import gc
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import predgen
from forks import ForkedPython
from predgen import RunConfig
from predgen.bases import find
from predgen.bases.cache import Origin, place_of_base, write_origin
from predgen.engine import abilities
from predgen.engine.backbone import Backbone
from tiny_models import save_first_layer

torch.set_num_threads(1)
FIND_ABILITIES = abilities.find_abilities


def pytest_collection_finish() -> None:
    """Have garbage be looked for among what tests make alone.

    Each training asks for a full collection; with torch, transformers and some thousand tests in memory it takes longer than
    the training.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _same_start() -> None:
    """Seed every global generator before each test, so that its outcome does not depend on the order of tests."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    begin_test()


@pytest.fixture
def hears_ctrl_c() -> Iterator[None]:
    """Ctrl-C as a shell's foreground has it, for this process and those it starts; a background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def forked_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever starts Python in this test gets a fork of this process, see `forks.py`."""
    monkeypatch.setattr(subprocess, "Popen", ForkedPython)


@pytest.fixture(scope="session")
def embedded_folder() -> Path:
    """Folder of the base model that the package ships."""
    return Path(predgen.__file__).parent / "assets" / "embedded"


@pytest.fixture(scope="session", autouse=True)
def _abilities_found_once() -> Iterator[None]:
    """What a base model can do is found out once for each architecture and configuration, not for each of its models.

    It is a matter of a model's code, not of its weights: hundreds of tests build the same tiny Llama. Tests of the checks
    themselves take `real_abilities`.
    """
    remembered: dict[tuple[object, ...], abilities.Abilities] = {}

    def find(backbone: Backbone) -> abilities.Abilities:
        lm = backbone.lm
        key = (type(lm), lm.config.to_json_string(), lm.dtype, lm.config._attn_implementation)
        if key not in remembered:
            remembered[key] = FIND_ABILITIES(backbone)
        return remembered[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(abilities, "find_abilities", find)
        yield


@pytest.fixture
def real_abilities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are tried out as they are outside tests."""
    monkeypatch.setattr(abilities, "find_abilities", FIND_ABILITIES)


@pytest.fixture(scope="session")
def shallow_folder(tmp_path_factory: pytest.TempPathFactory, embedded_folder: Path) -> Path:
    """The embedded model's first layer."""
    return save_first_layer(embedded_folder, tmp_path_factory.mktemp("package") / "assets" / "embedded")


@pytest.fixture
def shallow_embedded(shallow_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ "embedded" is that layer alone, where a test is not about what the model knows."""
    monkeypatch.setattr(find, "files", lambda package: shallow_folder.parents[1])
    return shallow_folder


@pytest.fixture(scope="session", autouse=True)
def _default_base(tmp_path_factory: pytest.TempPathFactory, shallow_folder: Path) -> Iterator[None]:
    """A cache of bases in which the default's name stands for the embedded model's first layer: tests download nothing."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREDGEN_CACHE", str(cache))
        place = place_of_base(RunConfig(task="sst2").model)
        shutil.copytree(shallow_folder, place)
        write_origin(place, Origin("the embedded model under another name"))
        yield
