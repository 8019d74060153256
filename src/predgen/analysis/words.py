"""Tokens as people read them: the text of each token, and which tokens of a prompt come from the row's own fields."""

import re
from collections.abc import Sequence
from typing import Any

from predgen.data.encode import Encoder

_UNREADABLE = "\N{REPLACEMENT CHARACTER}"  # what tokenizers decode a part of a character to


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:  # noqa: ANN401  (tokenizers of transformers are untyped)
    """Return the text that each token adds to those before it; joined, they are the decoded text.

    A character that several tokens spell together (byte-level tokenizers write rare ones byte by byte) stands at the last
    of them; the others are empty.
    """
    texts: list[str] = []
    done = ""
    for end in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[:end], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        is_partial = text.endswith(_UNREADABLE) and end < len(ids)
        texts.append("" if is_partial else text[len(done) :])
        done = done if is_partial else text
    return texts


def token_labels(texts: Sequence[str]) -> list[str]:
    r"""Return short labels: blanks cut, line breaks as signs, and ## before letters that go on with the word before.

    Example:
        >>> token_labels(["A", " fun", "ny", ",", "\n", " ", ""])
        ['A', 'fun', '##ny', ',', '\u21b5', '\u2423', '\u2026']
    """
    labels, before = [], ""
    for text in texts:
        label = text.strip(" ").replace("\n", "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}").replace("\t", "\\t")
        if not label:
            label = "\N{OPEN BOX}" if text else "\N{HORIZONTAL ELLIPSIS}"
        goes_on = text[:1].isalpha() and before[-1:].isalpha()
        labels.append(f"##{label}" if goes_on else label)
        before = text or before
    return labels


def field_tokens(encoder: Encoder, texts: Sequence[str]) -> list[bool]:
    """Mark the tokens that hold text of the row's own fields; all, where the prompt cannot be told apart so.

    Args:
        encoder: Knows the template.
        texts: Text of each prompt token, see `token_texts`.
    """
    *inner, (literal, name) = encoder.pieces
    last = literal if name else literal.rstrip()  # a prompt ends without blanks
    pattern = "".join(re.escape(text) + ("(.*?)" if field else "") for text, field in [*inner, (last, name)])
    match = re.search(pattern + r"\Z", "".join(texts), re.DOTALL)
    spans = [match.span(i + 1) for i in range(match.re.groups)] if match else []
    if not any(start < end for start, end in spans):
        return [True] * len(texts)
    marks, place = [], 0
    for text in texts:
        end = place + len(text)
        marks.append(any(place < stop and start < end for start, stop in spans) and bool(text.strip() or not text))
        place = end
    return marks
