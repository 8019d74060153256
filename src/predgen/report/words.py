"""Numbers, lists and findings in words."""

import math
from collections.abc import Iterable, Mapping, Sequence

from predgen import figures
from predgen.findings.base import Difference, Findings, MetricEstimate

_CONTROLS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"}
_CONTROLS |= {0x7F: "\u2421", **{code: "\ufffd" for code in [*range(0x80, 0xA0), *range(0xD800, 0xE000)]}}
_CONTROLS |= {code: f"\\u{code:04x}" for code in [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]}
_MINUS = "\u2212"
_MOST_DECIMALS = 5  # of a column; more are written as significant digits
_NAMED = 4  # tasks that a sentence names before it only counts them


def clean(text: str) -> str:
    """Return text whose control characters are pictures, halves of surrogate pairs U+FFFD, and overriding marks written out.

    A page cannot hold the first two: NUL is an error in HTML, and a lone surrogate has no UTF-8. The marks would turn round
    what stands beside a text, too; those that only say in which direction a letter goes stay.
    """
    return text.replace("\r\n", "\n").translate(_CONTROLS)


def as_figure(value: float | None, decimals: int | None = None) -> str:
    """Return a number with three significant digits, or, in a column, with so many decimals; "not defined" for None."""
    if value is None or decimals is None or decimals > _MOST_DECIMALS or abs(value) >= 1e12:
        return figures.number(value).replace("-", _MINUS)
    text = f"{value:,.{decimals}f}"
    is_zero = not text.strip("-0.,")
    return text.lstrip("-") if is_zero else text.replace("-", _MINUS)


def exact(value: float | None) -> str:
    """Return a number for other programs to read, to six digits; "" for None."""
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def decimals_for(estimates: Iterable[MetricEstimate]) -> int:
    """Return how many decimals show two digits of the narrowest interval, at least 3; 3 where there are no intervals."""
    widths = [e.high - e.low for e in estimates if e.low is not None and e.high is not None and e.high > e.low]
    return max(3, 1 - math.floor(math.log10(min(widths)))) if widths else 3


def count(n: int, what: str, plural: str | None = None) -> str:
    """Return "1 task", "3 tasks"."""
    return f"{n:,} {what if n == 1 else plural or what + 's'}"


def listed(names: Sequence[str], last: str = "and") -> str:
    """Return "a, b and c"."""
    return f"{', '.join(names[:-1])} {last} {names[-1]}" if len(names) > 1 else "".join(names)


def bytes_in_words(value: float | None) -> str:
    """Return an amount of memory in MiB."""
    return "not recorded" if value is None else f"{value / 2**20:,.0f} MiB"


def settings_in_words(settings: Mapping[str, object]) -> str:
    """Return "loss sum, p_max 0.9"."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def finding(found: Findings) -> list[str]:
    """Return what was found, in sentences: what the verdicts show, what they rest on, and which runs are in no figure."""
    return [sentence for sentence in (_shown(found), _rests_on(found), _absent(found)) if sentence]


def _shown(found: Findings) -> str:
    """Which comparisons show a difference."""
    differences = found.differences
    if not differences:
        return f"No two methods were measured on the same rows, so that no difference could be tested on {_tasks(found.tasks)}."
    different = [d for d in differences if d.verdict != "no difference shown"]
    judged = [d for d in different if not found.is_among_losers(d)]
    compared = {d.task for d in differences}
    tasks = _tasks([task for task in found.tasks if task in compared])
    tested = f"{count(len(differences), 'comparison')} of methods on {tasks}"
    if not different:
        return f"No difference is shown in any of {tested}, after correction for their number."
    aside = len(different) - len(judged)
    losers = f"{count(aside, 'difference')} between methods of which neither is above the constant baseline"
    if not judged:
        return f"In {tested} only {losers} {'is' if aside == 1 else 'are'} shown, which says little."
    rest = len(differences) - len(different)
    wins = _wins(judged).items()
    told = "; ".join(f"{better} is better than {worse} on {_tasks(on)}" for (better, worse), on in wins)
    ending = f"; in the other {rest} no difference is shown" if rest else ""
    ending += f"; {losers} {'is' if aside == 1 else 'are'} left aside" if aside else ""
    return f"Of {tested}, {len(judged)} show a difference after correction for their number: {told}{ending}."


def _wins(judged: Sequence[Difference]) -> dict[tuple[str, str], list[str]]:
    """(Better, worse) -> tasks, the pairs with the most tasks first."""
    wins: dict[tuple[str, str], list[str]] = {}
    for d in judged:
        pair = (d.first, d.second) if d.verdict == "first better" else (d.second, d.first)
        wins.setdefault(pair, []).append(d.task)
    return dict(sorted(wins.items(), key=lambda item: -len(item[1])))


def _rests_on(found: Findings) -> str:
    """Seeds, rows and tasks that cannot be learned."""
    fewest, most = seeds_a_figure(found)
    if most == 1:
        seeds = "one seed, so that nothing is known about other seeds"
    else:
        seeds = f"{most} seeds" if fewest == most else f"{fewest} to {most} seeds"
    sentence = f"Every figure is about {found.split} rows and rests on {seeds}"
    if not found.not_learnable:
        return sentence + "."
    ground = "no method is shown to beat the constant baseline, so that comparisons there say little"
    return f"{sentence}; on {_tasks(found.not_learnable)} {ground}."


def _absent(found: Findings) -> str:
    """How many runs are in no figure."""
    single = [s for s in found.shortfalls if s.variant != "all"]
    whole = [s.source for s in found.shortfalls if s.variant == "all"]
    in_figures = {record for entry in found.entries if entry.derived_from is None for record in entry.records}
    counts = [(sum(s.status == status for s in single), status) for status in ("missing", "failed", "refused")]
    told = [
        f"{n} {'is' if n == 1 else 'are'} {status}" if status != "failed" else f"{n} failed"
        for n, status in counts
        if n
    ]
    parts = [f"Of {len(in_figures) + len(single)} runs {listed(told)}"] if told else []
    parts += [f"of {_tasks(whole)} there is no run yet"] if whole else []
    sentence = "; ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}." if sentence else ""


def seeds_a_figure(found: Findings) -> tuple[int, int]:
    """Return how many seeds the figures of methods rest on, fewest and most; baselines have no seed of their own."""
    baselines = {variant.name for variant in found.variants if variant.baseline is not None}
    numbers = [len(entry.seeds) for entry in found.entries if entry.variant not in baselines]
    return (min(numbers), max(numbers)) if numbers else (1, 1)


def _tasks(names: Sequence[str]) -> str:
    """Tasks by name where they are few, else their number."""
    return listed(names) if len(names) <= _NAMED else count(len(names), "task")
