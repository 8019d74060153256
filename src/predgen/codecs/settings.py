"""Settings of the codecs: how answers are written."""

from dataclasses import dataclass

from predgen.settings import Settings, setting


@dataclass(frozen=True)
class NumberSettings(Settings):
    """Settings of codec `number`."""

    decimals: int | None = setting(
        None,
        "Decimals written for numbers, in fixed format; default: the fewest (at most 3) that keep rounding under 1 % of the target's std.",
        group="Data",
        low=0,
        high=6,
    )
    number_format: str = setting(
        "auto",
        "Write numbers as fixed-width decimals, or with significant digits and an exponent; auto: fixed, unless the grid would be large or rounding would exceed 1 % of the target's std.",
        group="Data",
        choices=("auto", "fixed", "scientific"),
    )


@dataclass(frozen=True)
class AnswerSettings(Settings):
    """Settings of codec `answer`."""

    rationale: bool = setting(True, "Math: write the worked solution before the answer.", group="Data")
