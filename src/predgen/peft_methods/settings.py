"""Settings of the PEFT methods, with the defaults of their papers."""

from dataclasses import dataclass
from typing import Any

from predgen.settings import Settings, setting

_RANK = "Rank r of the adapter (rocoft: number of columns or rows; melora: rank of each block; adalora: average after pruning); default: the PEFT method's own."
_ALPHA = "Scale of a low-rank adapter; the update is multiplied by alpha / rank; default: the PEFT method's own."


def _rank(default: int, source: str) -> Any:  # noqa: ANN401
    """Declare the rank of a method."""
    return setting(default, _RANK, group="Model", low=1, source=source)


def _alpha(default: float, source: str) -> Any:  # noqa: ANN401
    """Declare the scale of a method."""
    return setting(default, _ALPHA, group="Model", low=0.0, source=source)


@dataclass(frozen=True)
class AdapterSettings(Settings):
    """Settings of everything that adapts linear layers."""

    adapt_layers: int | None = setting(
        None,
        "Number of the base's uppermost layers that are adapted; default: all. Gradients stop below them: on a base of 30 layers,"
        " 10 make a step cost about two thirds.",
        group="Model",
        low=1,
    )


@dataclass(frozen=True)
class LoraSettings(AdapterSettings):
    """Settings of `lora` and `adalora`."""

    rank: int = _rank(8, "arXiv:2106.09685, RoBERTa runs; arXiv:2303.10512, the largest budget")
    alpha: float = _alpha(16.0, "arXiv:2106.09685")


@dataclass(frozen=True)
class DoraSettings(AdapterSettings):
    """Settings of `dora`."""

    rank: int = _rank(32, "arXiv:2402.09353, LLaMA runs")
    alpha: float = _alpha(64.0, "arXiv:2402.09353, LLaMA runs")


@dataclass(frozen=True)
class LoraFaSettings(AdapterSettings):
    """Settings of `lora_fa`."""

    rank: int = _rank(128, "arXiv:2308.03303")
    alpha: float = _alpha(256.0, "arXiv:2308.03303")


@dataclass(frozen=True)
class MosloraSettings(AdapterSettings):
    """Settings of `moslora`."""

    rank: int = _rank(16, "arXiv:2406.11909, LLaMA runs")
    alpha: float = _alpha(32.0, "arXiv:2406.11909, LLaMA runs")


@dataclass(frozen=True)
class MeloraSettings(AdapterSettings):
    """Settings of `melora`."""

    rank: int = _rank(1, "arXiv:2402.17263, LLaMA runs")
    alpha: float = _alpha(16.0, "arXiv:2402.17263, LLaMA runs")
    melora_blocks: int = setting(
        8,
        "MELoRA: number of blocks n; has to divide the width of every layer.",
        group="Model",
        low=1,
        source="arXiv:2402.17263, LLaMA runs",
    )


@dataclass(frozen=True)
class RocoftSettings(AdapterSettings):
    """Settings of `rocoft`."""

    rank: int = _rank(3, "arXiv:2410.10075, LLaMA runs")
    rocoft_axis: str = setting(
        "column",
        "RoCoFT: whether columns or rows of the weights train.",
        group="Model",
        choices=("column", "row"),
        source="arXiv:2410.10075",
    )
    rocoft_selection: str = setting(
        "first",
        "RoCoFT: which columns or rows train, the first ones or a seeded random choice.",
        group="Model",
        choices=("first", "random"),
        source="arXiv:2410.10075",
    )


@dataclass(frozen=True)
class PropulsionSettings(AdapterSettings):
    """Settings of `propulsion`."""

    propulsion_degree: int = setting(
        15,
        "Propulsion: power k of the factors; multiplies the effective learning rate.",
        group="Model",
        low=1,
        source="the code published with arXiv:2409.10927",
    )
