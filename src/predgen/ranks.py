"""Processes of one run, as `accelerate launch` and `torchrun` start them; known before torch is imported."""

import os

from predgen.errors import ConfigError

_SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}


def rank() -> int:
    """This process's number, from 0; 0 where there is one process."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_rank() -> bool:
    """Whether this is the process that speaks and writes for all."""
    return rank() == 0


def require_whole_weights() -> None:
    """Refuse launchers that let each process hold a part of the weights.

    Raises:
        ConfigError: Naming the launcher's flag.
    """
    for variable, name in _SHARDING.items():
        if os.environ.get(variable, "").lower() == "true":
            raise ConfigError(
                f"the launcher asks for {name} ({variable}), which shards weights, but checkpoints and the looks at validation rows"
                " need them whole on each process. Launch without it, by DDP (`accelerate launch --multi_gpu` or `torchrun`); large"
                " bases fit by --quantize nf4, --gradient-checkpointing or --adapt-layers."
            )
