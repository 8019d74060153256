"""Prompt templates: which columns they name, and what is wrong with them."""

from string import Formatter

from predgen.errors import ConfigError


def prompt_fields(template: str) -> tuple[str, ...]:
    r"""Return the columns that a prompt template names, each once, in order.

    A template holds `{column}` fields and nothing else of Python's format language; `{{` and `}}` are literal braces.

    Raises:
        ConfigError: If braces are unbalanced, a field has no name, a number, a format, a conversion, an attribute or an
            index, the template has no field, or it ends in blanks.

    Example:
        >>> prompt_fields("Review: {text}\nScore:")
        ('text',)
    """
    if not isinstance(template, str):
        raise ConfigError(f"`prompt` is {template!r}, but must be text such as 'Review: {{text}}\\nScore:'.")
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(
            f"`prompt` {template!r} has unbalanced braces ({error}). Write fields as {{column}}, a literal brace as {{{{ or }}}}."
        ) from None
    names = [_checked(name, spec, conversion, template) for _, name, spec, conversion in parts if name is not None]
    if not names:
        raise ConfigError(
            f"`prompt` {template!r} has no field; name at least one column, e.g. 'Review: {{text}}\\nScore:'."
        )
    if template != template.rstrip():
        raise ConfigError(
            f"`prompt` ends in blanks: {template[-20:]!r}. Remove them: the separator between prompt and answer belongs to the "
            "answer, because tokenizers join a blank to the word after it."
        )
    return tuple(dict.fromkeys(names))


def _checked(name: str, spec: str | None, conversion: str | None, template: str) -> str:
    """Return a field's name, or raise if it is more than a name."""
    written = "{" + name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "") + "}"
    where = f"field {written} of `prompt` {template!r}"
    if not name.strip() or name.isdigit():
        raise ConfigError(
            f"{where} names no column. Write the column's name inside the braces, or {{{{ and }}}} for literal braces."
        )
    if spec or conversion:
        raise ConfigError(f"{where} has a format or conversion; write only {{{name}}}: cells are put in as they are.")
    if "." in name or "[" in name:
        raise ConfigError(
            f"{where} reads an attribute or item; fields are column names. Rename the column if it holds '.' or '['."
        )
    return name
