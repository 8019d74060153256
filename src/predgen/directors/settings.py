"""Settings of the directors."""

from dataclasses import dataclass

from predgen.settings import Settings, setting


@dataclass(frozen=True)
class OrderedSettings(Settings):
    """Settings of director `ordered`."""

    ordered_last_weight: float = setting(
        2.0,
        "Director 'ordered': weight of the last digit before normalising (paper D.2: 2).",
        group="Loss",
        low=0.0,
        source="arXiv:2502.17817, appendix D.2",
    )
