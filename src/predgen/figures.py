"""How figures are written for people: by significant digits, so that none is rounded to nothing."""

_PLAIN = 1e7
"""From here on, figures are written with an exponent."""


def number(value: float | None, digits: int = 3, absent: str = "not defined") -> str:
    """Write a figure with so many significant digits; whole ones are not rounded below 1e7.

    Args:
        value: The figure.
        digits: Significant digits.
        absent: What stands for None and nan.

    Example:
        >>> number(0.9), number(0.06014), number(1234.5), number(2.5e-12), number(1.7e9), number(0.0)
        ('0.900', '0.0601', '1234', '2.50e-12', '1.70e+09', '0.00')
        >>> number(0.87654, 4), number(None)
        ('0.8765', 'not defined')
    """
    if value is None or value != value:
        return absent
    if 10**digits <= abs(value) < _PLAIN:
        return f"{value:.0f}"
    return f"{value:#.{digits}g}".rstrip(".")


def p_value(value: float | None) -> str:
    """Write a p-value; small ones as a bound, for their digits mean nothing.

    Example:
        >>> p_value(0.0312), p_value(0.00002)
        ('0.031', '< 0.001')
    """
    if value is None:
        return "not defined"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
