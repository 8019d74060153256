"""What holds for all tests: no network, checked shapes and types, the same random numbers, one thread."""

import os

# Before the first import of huggingface_hub, which reads it once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from type_checks import check_calls_of

# Before the first import of predgen: from here on beartype checks every annotated call in it.
check_calls_of("predgen")

import gc
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import predgen

torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """Have garbage be looked for among what tests make alone.

    Each training asks for a full collection; with torch, transformers and some thousand tests in memory it takes longer than
    the training.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """Seed every global generator before each test, so that its outcome does not depend on the order of tests."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def hears_ctrl_c() -> Iterator[None]:
    """Ctrl-C as a shell's foreground has it, for this process and those it starts; a background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def embedded_folder() -> Path:
    """Folder of the base model that the package ships."""
    return Path(predgen.__file__).parent / "assets" / "embedded"
