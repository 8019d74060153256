"""The legal math answers as an automaton: free text, a cue, a separator, a number (docs/methods.md, codec `answer`)."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from predgen.codecs.base import AnswerSpace
from predgen.errors import CodecError

_DIGITS = "0123456789"


class AnswerState(NamedTuple):
    """What has been written of an answer.

    Attributes:
        phase: "rationale" until the cue is complete, then "separator", then "number".
        used: Tokens written in phase "rationale", those of a cue begun among them; later the rationale's tokens alone.
        match: Tokens of the cue (phase "rationale") or of the separator (phase "separator") written last.
        text: Characters of the number.
    """

    phase: Literal["rationale", "separator", "number"]
    used: int
    match: int
    text: str


class AnswerAutomaton(AnswerSpace):
    """Rationale of at most `budget` tokens, cue, separator, canonical number.

    In the rationale every token but the stop is legal. It ends where its last tokens are the cue, whoever chose them.
    Once the budget is used up, only tokens are legal after which it stays within the budget: the cue's, one by one. If
    the last rationale tokens are the cue's first ones, the cue may be completed or begun anew.

    Numbers have one spelling each: no leading zeros, no trailing zeros after the point, no "-0".

    Args:
        cue: Token ids between rationale and separator, at least one.
        separator: Token ids between cue and number.
        characters: Token id of each digit, "." and "-".
        stop: Id of the stop token.
        budget: Most rationale tokens, >= 0; 0: no rationale.
        max_integer_digits: Most digits before the point, >= 1.
        max_decimals: Most digits after the point, >= 0.

    Raises:
        CodecError: If a limit is out of range or tokens are missing or not distinct.

    Example:
        >>> characters = {character: 10 + i for i, character in enumerate("0123456789.-")}
        >>> space = AnswerAutomaton((4, 6), (5,), characters, stop=0, budget=1, max_integer_digits=4, max_decimals=2)
        >>> state = space.advance(space.start, 99)
        >>> space.legal(space.start), space.legal(state), space.max_tokens
        (None, (4,), 13)
    """

    def __init__(
        self,
        cue: Sequence[int],
        separator: Sequence[int],
        characters: Mapping[str, int],
        stop: int,
        budget: int,
        max_integer_digits: int,
        max_decimals: int,
    ) -> None:
        self.cue, self.separator, self.characters, self.stop = tuple(cue), tuple(separator), dict(characters), stop
        self.budget, self.max_integer_digits, self.max_decimals = budget, max_integer_digits, max_decimals
        ids = [self.characters.get(character) for character in _DIGITS + ".-"]
        if None in ids or len({*ids, stop}) <= len(ids) or not self.cue or stop in (*self.cue, *self.separator):
            raise CodecError(
                f"cue {self.cue}, separator {self.separator} and characters {self.characters} must have a cue token, one "
                f"token per character, and none equal to the stop {stop}. Save the model again, or copy it anew."
            )
        if budget < 0 or max_integer_digits < 1 or max_decimals < 0:
            raise CodecError(
                f"budget {budget}, max_integer_digits {max_integer_digits} and max_decimals {max_decimals} must be at least "
                "0, 1 and 0. Save the model again, or copy it anew."
            )
        self._failure = _failure_table(self.cue)
        self._texts = {token: character for character, token in self.characters.items()}

    @property
    def start(self) -> AnswerState:
        return AnswerState("rationale", 0, 0, "")

    @property
    def max_tokens(self) -> int:
        """Longest answer in tokens, sign, point and stop included."""
        point = self.max_decimals > 0
        number = 1 + self.max_integer_digits + point + self.max_decimals
        return self.budget + len(self.cue) + len(self.separator) + number + 1

    def legal(self, state: Hashable) -> tuple[int, ...] | None:
        assert isinstance(state, AnswerState)
        if state.phase == "separator":
            return (self.separator[state.match],)
        if state.phase == "rationale":
            if state.used < self.budget:
                return None
            return tuple(sorted(token for token in {*self.cue} if self._keeps_budget(state, token)))
        characters = next_characters(state.text, self.max_integer_digits, self.max_decimals)
        stop = (self.stop,) if is_canonical(state.text) else ()
        return tuple(sorted((*(self.characters[character] for character in characters), *stop)))

    def advance(self, state: Hashable, token: int) -> AnswerState:
        assert isinstance(state, AnswerState)
        legal = self.legal(state)
        if token == self.stop or (legal is not None and token not in legal):
            allowed = "every token but the stop" if legal is None else f"{legal}"
            raise CodecError(f"token {token} is not legal in phase {state.phase!r}; legal: {allowed}.")
        if state.phase == "number":
            return state._replace(text=state.text + self._texts[token])
        if state.phase == "separator":
            return self._after_separator(state._replace(match=state.match + 1))
        match = self._match(state.match, token)
        if match < len(self.cue):
            return AnswerState("rationale", state.used + 1, match, "")
        return self._after_separator(AnswerState("separator", state.used + 1 - len(self.cue), 0, ""))

    def reads_cue_early(self, rationale: Sequence[int]) -> bool:
        """Whether the cue is complete before its last token in `rationale` followed by the cue."""
        match = 0
        for token in (*rationale, *self.cue[:-1]):
            match = self._match(match, token)
            if match == len(self.cue):
                return True
        return False

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments from which an equal automaton is made, as JSON data."""
        return {
            "cue": list(self.cue),
            "separator": list(self.separator),
            "characters": dict(self.characters),
            "stop": self.stop,
            "budget": self.budget,
            "max_integer_digits": self.max_integer_digits,
            "max_decimals": self.max_decimals,
        }

    def _after_separator(self, state: AnswerState) -> AnswerState:
        """The number's first state, once the separator is complete."""
        return AnswerState("number", state.used, 0, "") if state.match == len(self.separator) else state

    def _keeps_budget(self, state: AnswerState, token: int) -> bool:
        """Whether the rationale stays within the budget if `token` comes next and the cue is completed after it."""
        return state.used + 1 - self._match(state.match, token) <= self.budget

    def _match(self, match: int, token: int) -> int:
        """Longest beginning of the cue that ends with `token`, after `match` of its tokens (Knuth, Morris, Pratt 1977)."""
        while match and self.cue[match] != token:
            match = self._failure[match - 1]
        return match + 1 if self.cue[match] == token else 0


def next_characters(text: str, max_integer_digits: int, max_decimals: int) -> str:
    """Characters that may follow the beginning `text` of a canonical number.

    Example:
        >>> next_characters("", 4, 2), next_characters("-0", 4, 2), next_characters("1.2", 4, 2)
        ('0123456789-', '.', '123456789')
    """
    whole, point, fraction = text.removeprefix("-").partition(".")
    if point:
        room = max_decimals - len(fraction)
        # The last place may not hold a zero, or the number would have a shorter spelling.
        return _DIGITS if room > 1 else _DIGITS[1:] if room else ""
    if not whole:
        return (_DIGITS if text == "" or max_decimals else _DIGITS[1:]) + ("-" if text == "" else "")
    may_grow = whole != "0" and len(whole) < max_integer_digits
    return (_DIGITS if may_grow else "") + ("." if max_decimals else "")


def is_canonical(text: str) -> bool:
    """Whether `text`, written by `next_characters`, is a whole number in its one spelling.

    Example:
        >>> [is_canonical(text) for text in ("12", "-0.5", "-0", "1.", "1.50")]
        [True, True, False, False, False]
    """
    return text[-1:].isdigit() and text != "-0" and not ("." in text and text.endswith("0"))


def _failure_table(cue: tuple[int, ...]) -> list[int]:
    """For each beginning of the cue, the length of its longest proper beginning that is also its end."""
    table = [0] * len(cue)
    length = 0
    for index in range(1, len(cue)):
        while length and cue[index] != cue[length]:
            length = table[length - 1]
        length += cue[index] == cue[length]
        table[index] = length
    return table
