"""Settings of the sampling modes."""

from dataclasses import dataclass

from predgen import registries
from predgen.errors import ConfigError
from predgen.settings import Settings, setting


@dataclass(frozen=True)
class SampledSettings(Settings):
    """Settings of the modes that feed own tokens with a probability."""

    sampling_schedule: str = setting(
        "linear",
        "How the sampling probability p grows.",
        group="Sampling",
        choices=registries.schedules,
        source="arXiv:2502.17817, section 4",
    )
    p_min: float = setting(
        0.0, "Sampling probability at the first optimizer step.", group="Sampling", low=0.0, high=1.0
    )
    p_max: float = setting(1.0, "Highest sampling probability.", group="Sampling", low=0.0, high=1.0)
    max_steps_for_sampling: int | None = setting(
        None,
        "Optimizer steps until p reaches p_max; default: half of the run, at most 500 (the paper's 500).",
        group="Sampling",
        low=1,
        source="arXiv:2502.17817, Table 3",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.p_min > self.p_max:
            raise ConfigError(f"`p_min` is {self.p_min:g}, above `p_max` {self.p_max:g}; p grows from p_min to p_max.")


@dataclass(frozen=True)
class ParallelSettings(SampledSettings):
    """Settings of mode `parallel`."""

    sampling_passes: int = setting(
        2,
        "Sampling 'parallel': passes over the answer; as many as it has tokens equal 'token'.",
        group="Sampling",
        low=1,
    )
