"""Parameter-efficient fine-tuning methods. Importing the package makes its own tuners known to PEFT."""

from predgen.peft_methods.tuners.melora import MeloraConfig
from predgen.peft_methods.tuners.moslora import MosloraConfig
from predgen.peft_methods.tuners.propulsion import PropulsionConfig
from predgen.peft_methods.tuners.rocoft import RocoftConfig

__all__ = ["MeloraConfig", "MosloraConfig", "PropulsionConfig", "RocoftConfig"]
