"""Make a tuner known to PEFT, so that `get_peft_model` and `PeftModel.from_pretrained` find it by name."""

from peft import PeftType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils import register_peft_method


def peft_type(name: str) -> PeftType:
    """The member of PEFT's enumeration for a method, added if PEFT has none: it admits no names but its own.

    A member added here is looked up by value, pickled, copied and written as JSON like the others.

    Example:
        >>> peft_type("rocoft") is PeftType("ROCOFT") is peft_type("rocoft")
        True
    """
    value = name.upper()
    if value not in PeftType.__members__:
        member = str.__new__(PeftType, value)
        member._name_ = member._value_ = value
        # First the attribute: once a name is in the member map, the enumeration refuses to set it.
        setattr(PeftType, value, member)
        PeftType._member_names_.append(value)
        PeftType._member_map_[value] = member
        PeftType._value2member_map_[value] = member
    return PeftType(value)


def register_tuner(name: str, config_cls: type, model_cls: type) -> None:
    """Register a tuner with PEFT; registering the same classes again changes nothing.

    Raises:
        KeyError: If PEFT has another method of that name.
    """
    if PEFT_TYPE_TO_CONFIG_MAPPING.get(peft_type(name)) is not config_cls:
        register_peft_method(name=name, config_cls=config_cls, model_cls=model_cls)
