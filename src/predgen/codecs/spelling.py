"""How a tokenizer spells answer text. Ids are looked up once, when a codec is made, and never again (docs/methods.md, codecs).

A tokenizer writes the same characters with other tokens at the start of a text, after a blank and inside a word. All
lookups here therefore encode an *anchor*, a bit of prompt, with and without the text, and keep what the text added.
"""

import copy
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from predgen.errors import CodecError, ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

# Prompts mostly end with a colon. The others serve tokenizers that merge a colon with what follows it: Llama 3 and
# Qwen have a token ":\n".
ANCHORS = (":", "a", "1", "?")


@dataclass(frozen=True, slots=True)
class Turn:
    """Where an answer stands: right behind a prompt, or at the start of an assistant's turn of a chat.

    Attributes:
        separator: What stands between prompt and answer, and belongs to the answer.
        stop: Id of the token that ends it; None: the tokenizer's end of sequence.
        anchors: Bits of text that an answer may follow; the first that stays whole counts.
    """

    separator: str = " "
    stop: int | None = None
    anchors: tuple[str, ...] = ANCHORS


PLAIN_TURN = Turn()

_PLAIN: "WeakKeyDictionary[PreTrainedTokenizerBase, Tokenizer]" = WeakKeyDictionary()


def stop_id(tokenizer: "PreTrainedTokenizerBase", turn: Turn = PLAIN_TURN) -> int:
    """Id of the token that ends an answer.

    Args:
        tokenizer: Tokenizer of the base model.
        turn: Where the answer stands.

    Returns:
        The turn's own, else the end-of-sequence token's id.

    Raises:
        CodecError: If the tokenizer has no such token.
    """
    stop = tokenizer.eos_token_id if turn.stop is None else turn.stop
    if not isinstance(stop, int):
        raise CodecError(
            f"tokenizer {_name(tokenizer)} has eos_token_id {stop!r}, but every answer ends with that token. "
            "Set `eos_token` in the model folder's tokenizer_config.json to a token of the vocabulary."
        )
    return stop


def text_ids(tokenizer: "PreTrainedTokenizerBase", text: str, turn: Turn = PLAIN_TURN) -> tuple[int, ...]:
    """Ids of the turn's separator, a blank if nothing else is said, and `text`, as they continue a prompt.

    Strings of special tokens inside `text` are spelled like any other text.

    Args:
        tokenizer: Tokenizer of the base model.
        text: Text without blanks at its ends.
        turn: Where the answer stands.

    Returns:
        Token ids, at least one; neither the stop nor any other special token is among them.

    Raises:
        CodecError: If `text` is blank, or decoding the ids does not give it back.
    """
    if not text.strip():
        raise CodecError(
            f"text to write is {text!r}, but an answer needs a visible character. Fill in or drop the row."
        )
    return continuation_ids(tokenizer, turn.separator + text, turn)


def continuation_ids(tokenizer: "PreTrainedTokenizerBase", text: str, turn: Turn = PLAIN_TURN) -> tuple[int, ...]:
    """Ids of `text` as it continues a prompt, with no blank added; see `text_ids`."""
    for anchor, ids in _continuations(tokenizer, text, turn.anchors):
        # Blanks and case are left out: word-level tokenizers space words as they like, some know only lower case.
        if _bare(_decode(tokenizer, (*anchor, *ids))) == _bare(_decode(tokenizer, anchor) + text):
            return ids
    raise CodecError(
        f"tokenizer {_name(tokenizer)} cannot spell {_shorten(text)!r}: its tokens decode to another text or are special. "
        "Write the answer with other characters, or use a base model whose vocabulary has these."
    )


def char_ids(tokenizer: "PreTrainedTokenizerBase", characters: str) -> dict[str, int]:
    """The single token of each character, as it is spelled inside a word.

    Numbers are written one token per character, whatever merges the tokenizer has, so that 13.4 has one spelling.

    Args:
        tokenizer: Tokenizer of the base model.
        characters: Characters to look up.

    Returns:
        Character -> token id, all ids different.

    Raises:
        CodecError: If the tokenizer has no token for one of the characters alone.
    """
    table: dict[str, int] = {}
    for character in characters:
        token = _char_id(tokenizer, character)
        if token is None or token in table.values():
            raise CodecError(
                f"tokenizer {_name(tokenizer)} cannot spell the character {character!r} alone inside a word, but numbers "
                "are written one token per character. Use a base model whose vocabulary has that character."
            )
        table[character] = token
    return table


def separator_ids(tokenizer: "PreTrainedTokenizerBase", turn: Turn = PLAIN_TURN) -> tuple[int, ...]:
    """The token for a lone blank, to stand between a prompt and a number.

    Args:
        tokenizer: Tokenizer of the base model.
        turn: Where the answer stands.

    Returns:
        One id, or none where the turn has no separator, or the tokenizer no such token.
    """
    if not turn.separator:
        return ()
    found = [ids[0] for _, ids in _continuations(tokenizer, " ") if len(ids) == 1]
    found += _vocabulary_ids(tokenizer, ("Ġ", "▁", " "))
    return next(((token,) for token in found if _adds(tokenizer, token, " ")), ())


def _char_id(tokenizer: "PreTrainedTokenizerBase", character: str) -> int | None:
    """Id of a character inside a word, or None."""
    alone = _vocabulary_ids(tokenizer, (character,))
    found = alone + _vocabulary_ids(tokenizer, ("##" + character,))
    # Byte tokens, such as Llama 2's "<0x31>", are found only by encoding.
    found += [ids[0] for _, ids in _continuations(tokenizer, character) if len(ids) == 1]
    for token in found:
        if _adds(tokenizer, token, character):
            return token
    # A word-level tokenizer decodes "1 3" for "13": there the token's own name must do.
    if any(_adds(tokenizer, token, " " + character) for token in alone) and not separator_ids(tokenizer):
        return alone[0]
    return None


def _adds(tokenizer: "PreTrainedTokenizerBase", token: int, text: str) -> bool:
    """Whether decoding `token` after an anchor adds exactly `text`."""
    anchors = [_encode(tokenizer, anchor) for anchor in ANCHORS]
    return any(_decode(tokenizer, (*ids, token)) == _decode(tokenizer, ids) + text for ids in anchors if ids)


def _continuations(
    tokenizer: "PreTrainedTokenizerBase", text: str, anchors: tuple[str, ...] = ANCHORS
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield (anchor's ids, ids that `text` adds) for every anchor that stays whole; never with special tokens."""
    special = {*tokenizer.all_special_ids}
    for anchor in anchors:
        before, both = _encode(tokenizer, anchor), _encode(tokenizer, anchor + text)
        added = both[len(before) :]
        if added and both[: len(before)] == before and special.isdisjoint(both):
            yield before, added


def _vocabulary_ids(tokenizer: "PreTrainedTokenizerBase", names: tuple[str, ...]) -> list[int]:
    """Ids of those names that are ordinary tokens of the vocabulary."""
    ids = [tokenizer.convert_tokens_to_ids(name) for name in names]
    return [token for token in ids if isinstance(token, int) and token not in tokenizer.all_special_ids]


def _encode(tokenizer: "PreTrainedTokenizerBase", text: str) -> tuple[int, ...]:
    """Ids of ordinary text: none added, none of the special tokens read out of it."""
    with may_give_up(tokenizer):
        return tuple(plain_text_tokenizer(tokenizer).encode(text, add_special_tokens=False).ids)


@contextmanager
def may_give_up(tokenizer: "PreTrainedTokenizerBase") -> Iterator[None]:
    """Say in a sentence that a tokenizer cannot read or write a text.

    A base model brings its own patterns. The engine that runs them gives up where a match takes more than ten million
    steps, which reaches Python as a Rust panic, no `Exception`; a vocabulary without unknown token is a plain `Exception`.

    Raises:
        ModelError: If it gives up.
    """
    try:
        yield
    except BaseException as error:  # panics are of no class that could be imported
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ModelError(
            f"tokenizer {_name(tokenizer)} gave up on a text: {error}. Shorten or drop the row, or use another base model."
        ) from error


def plain_text_tokenizer(tokenizer: "PreTrainedTokenizerBase") -> "Tokenizer":
    """Return a copy of a fast tokenizer's backend to which strings of special tokens are ordinary text.

    Whether they are is a switch of the backend. Switched to and fro on the one that others use, too, it would give another
    thread's prompts other tokens now and then; so there are two, and neither is ever switched. The copy is made once.

    Args:
        tokenizer: Fast tokenizer of the base model.

    Raises:
        CodecError: If its parts are Python code, of which there is no copy.
    """
    found = _PLAIN.get(tokenizer)
    if found is None:
        try:
            found = copy.deepcopy(tokenizer.backend_tokenizer)
        except Exception as error:  # tokenizers raises Exception itself
            raise CodecError(
                f"tokenizer {_name(tokenizer)} cannot be copied: {error}. Use one without parts in Python."
            ) from error
        found.encode_special_tokens = True
        found.no_truncation()  # transformers leaves in the backend what its last call asked for
        found.no_padding()
        _PLAIN[tokenizer] = found
    return found


def _decode(tokenizer: "PreTrainedTokenizerBase", ids: tuple[int, ...]) -> str:
    """Text of ids, as it is."""
    with may_give_up(tokenizer):
        text = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert isinstance(text, str)
    return text


def _bare(text: str) -> str:
    """Text without blanks, case and Unicode variants."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _shorten(text: str, limit: int = 80) -> str:
    """Beginning of a long text, for messages."""
    return text if len(text) <= limit else text[:limit] + "..."


def _name(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Class of a tokenizer, and the model it came from where known."""
    origin = getattr(tokenizer, "name_or_path", "")
    return type(tokenizer).__name__ + (f" ({origin})" if origin else "")
