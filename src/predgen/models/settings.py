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
        "standard",
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
        "PredGen's task adapter; default: residual for classes and numbers (linear and value where a row's answers cannot all be"
        " run in one pass), ordered for math.",
        group="Model",
        choices=registries.directors,
        by_kind={"classification": "residual", "regression": "residual", "math": "ordered"},
        without_tree={"classification": "linear", "regression": "value"},
    )
    head_norm: str = _head_norm()
    loss: str | None = setting(
        None,
        "How PredGen combines the writer's and the director's loss; default: sum for classes and numbers, wdal_shifted for math.",
        group="Loss",
        choices=registries.losses,
        by_kind={"classification": "sum", "regression": "sum", "math": "wdal_shifted"},
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
