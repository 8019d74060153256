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


@dataclass(frozen=True)
class ResidualSettings(Settings):
    """Settings of director `residual`: what of it is left out or read otherwise, to see what each part is worth."""

    residual_reads: str = setting(
        "both",
        "Director 'residual': states that correct the writer: at the answer, at the prompt's end, or both.",
        group="Model",
        choices=("both", "answer", "prompt"),
    )
    residual_answer: str = setting(
        "own",
        "Director 'residual': in training, read the model's own greedy answer, or what scheduled sampling feeds.",
        group="Model",
        choices=("own", "fed"),
    )
    residual_gradient: bool = setting(
        True,
        "Director 'residual': let its loss train the writer's distribution, too.",
        group="Model",
    )


@dataclass(frozen=True)
class RewardSettings(Settings):
    """Settings of director `reward`."""

    reward_costs: str | None = setting(
        None,
        "Director 'reward': cost of each answer (row) where each label (column) is right, in class order, such as"
        " '0 1; 5 0'; default: 0 for the right label, 1 for others.",
        group="Loss",
    )
