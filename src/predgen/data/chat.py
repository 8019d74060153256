"""A chat model's frame around a prompt: what its own template puts before a user's text and after it.

chat template -> rendered once, with marks for the texts -> before, after, end of turn -> `Encoder`, codec, saved model

The template is the tokenizer's: text of a stranger, which transformers renders in a sandbox. It is rendered when a model is
trained, and never again: what is saved are the two texts and the token.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from predgen.codecs.spelling import PLAIN_TURN, Turn
from predgen.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_USER, _ANSWER = "5c7a1e90 user", "e27d4b38 answer"  # what no template holds

_Text = Annotated[str, Field(max_length=1 << 16)]


@dataclass(frozen=True, slots=True)
class ChatFrame:
    """What stands around a prompt.

    Attributes:
        before: Text before it: a system text where there is one, and the beginning of the user's turn.
        after: Text after it: the end of the user's turn and the beginning of the assistant's.
        stop: Id of the token that ends the assistant's turn.
    """

    before: _Text
    after: _Text
    stop: Annotated[int, Field(ge=0, lt=1 << 31)]

    @property
    def turn(self) -> Turn:
        """Where answers stand: at the start of a line or right behind a mark, without a blank."""
        return Turn("", self.stop, ("\n", "") if self.after.endswith("\n") else ("",))


def turn_of(frame: ChatFrame | None) -> Turn:
    """Where answers stand; right behind a plain prompt without a frame."""
    return PLAIN_TURN if frame is None else frame.turn


def chat_frame(tokenizer: "PreTrainedTokenizerBase", system: str | None = None) -> ChatFrame:
    """Find a tokenizer's frame.

    Args:
        tokenizer: Tokenizer of the base model.
        system: System text; None: the template's own, or none.

    Raises:
        ConfigError: If the tokenizer has no chat template, it takes no system text, or ends no turn by a token of its own.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ConfigError(
            "`format` is 'chat', but the base model's tokenizer has no chat template: it was not trained to chat. Take"
            " 'plain', or an instruct model."
        )
    messages = [{"role": "user", "content": _USER}]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    asked = _rendered(tokenizer, messages, opens_turn=True)
    answered = _rendered(tokenizer, [*messages, {"role": "assistant", "content": _ANSWER}], opens_turn=False)
    if asked.count(_USER) != 1 or answered.count(_ANSWER) != 1 or (system and system not in asked):
        raise ConfigError(
            "`format` is 'chat', but the chat template does not put each text into the prompt once"
            f"{', as it is with `system`' if system else ''}. Take 'plain'."
        )
    before, after = asked.split(_USER)
    return ChatFrame(before, after, _end_of_turn(tokenizer, answered.split(_ANSWER)[1]))


def _rendered(tokenizer: "PreTrainedTokenizerBase", messages: list[dict[str, str]], *, opens_turn: bool) -> str:
    """Text of a conversation by the tokenizer's template."""
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opens_turn))
    except Exception as error:  # a template may raise what it likes, of jinja's classes and others
        hint = " Leave out `system`." if messages[0]["role"] == "system" else " Take `format` 'plain'."
        raise ConfigError(f"the base model's chat template cannot be used: {error}.{hint}") from error


def _end_of_turn(tokenizer: "PreTrainedTokenizerBase", rest: str) -> int:
    """The special token with which a template goes on after an answer, or else the end of sequence."""
    ids = tokenizer.encode(rest.lstrip(), add_special_tokens=False)
    marks = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special} | {*tokenizer.all_special_ids}
    if ids and ids[0] in marks:
        return int(ids[0])
    if isinstance(tokenizer.eos_token_id, int):
        return tokenizer.eos_token_id
    raise ConfigError(
        "the chat template ends no turn by a special token, and there is no end of sequence. Take 'plain'."
    )
