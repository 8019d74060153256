"""Parameter-efficient fine-tuning methods. Importing one of its own tuners makes that known to PEFT."""

from importlib import import_module
from typing import Any

_EXPORTS = {
    "MeloraConfig": "predgen.peft_methods.tuners.melora",
    "MosloraConfig": "predgen.peft_methods.tuners.moslora",
    "PropulsionConfig": "predgen.peft_methods.tuners.propulsion",
    "RocoftConfig": "predgen.peft_methods.tuners.rocoft",
}
__all__ = ["MeloraConfig", "MosloraConfig", "PropulsionConfig", "RocoftConfig"]


# Only when they are asked for: the package's settings are read without torch.
def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'predgen.peft_methods' has no attribute {name!r}")
