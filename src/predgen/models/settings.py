"""Settings of the prediction methods."""

from dataclasses import dataclass
from typing import Any

from predgen import registries
from predgen.settings import Settings, setting

MAX_TREE_NODES = 256
_MOST_NODES = 1 << 20  # each takes the memory of a token


def _head_norm() -> Any:  # noqa: ANN401  (a field of a dataclass)
    """Declare how heads read states: a setting of every method that has one."""
    return setting(
        "none",
        "Heads read states as they are (none), or standardised by mean and deviation of training rows (standard).",
        group="Model",
        choices=("standard", "none"),
    )


@dataclass(frozen=True)
class PredictorSettings(Settings):
    """Settings of the Predictor."""

    pooling: str = setting(
        "last",
        "Predictor: how the prompt's states are pooled into one vector.",
        group="Model",
        choices=("last", "mean", "first"),
    )
    head_norm: str = _head_norm()


@dataclass(frozen=True)
class WriterSettings(Settings):
    """Settings of methods that write: the Generator has no others."""

    max_tree_nodes: int = setting(
        MAX_TREE_NODES,
        "Most trie nodes to run in one pass; larger grids of numbers are expanded level by level.",
        group="Sampling",
        low=1,
        high=_MOST_NODES,
    )


@dataclass(frozen=True)
class PredGenSettings(WriterSettings):
    """Settings of PredGen."""

    director: str | None = setting(
        None,
        "PredGen's task adapter; default: linear for classes, value for numbers, ordered for math.",
        group="Model",
        choices=registries.directors,
        by_kind={"classification": "linear", "regression": "value", "math": "ordered"},
    )
    head_norm: str = _head_norm()
    loss: str = setting(
        "wdal_shifted",
        "How PredGen combines the writer's and the director's loss.",
        group="Loss",
        choices=registries.losses,
        source="the code published with arXiv:2502.17817",
    )
    reduction: str = setting(
        "example",
        "Combine the losses per example, or per batch as the paper's code does.",
        group="Loss",
        choices=("example", "batch"),
    )
    sampling: str = setting(
        "token",
        "Scheduled sampling: which tokens PredGen is fed during training.",
        group="Sampling",
        choices=registries.sampling,
    )
