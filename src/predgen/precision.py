"""Which precision the processor is fast in."""

from dataclasses import replace

from predgen.config import RunConfig


def has_bfloat16() -> bool:
    """Whether products of bfloat16 matrices are done by the processor: a GPU, or a CPU with AVX512-BF16 or AMX.

    Where they are not, torch emulates them; on a CPU with AVX2 that was measured to take 60 times as long as float32.
    """
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if torch.accelerator.is_available():
        return True
    # Private names, since torch has no public ones; where one goes, its products are not asked for.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in names)


def with_precision(config: RunConfig) -> tuple[RunConfig, str | None]:
    """Return the settings with `dtype` "auto" resolved for this machine, and a line to say; None: nothing to say.

    What is saved names the precision that was used, so that a model does not change where it is loaded.
    """
    if config.dtype == "auto":
        fast = has_bfloat16()
        said = "bfloat16 products of float32 weights" if fast else "float32: this processor has no bfloat16 products"
        return replace(config, dtype="float32", bf16=fast), f"Precision: {said}."
    if (config.bf16 or config.dtype == "bfloat16") and not has_bfloat16():
        asked = "bf16" if config.bf16 else "dtype bfloat16"
        return config, (
            f"Warning: {asked} was asked for, but this processor only emulates it, many times slower than float32. Take"
            " --dtype auto."
        )
    return config, None
