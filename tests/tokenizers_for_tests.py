"""Small tokenizers of the common kinds, made in memory: no network, no files but the embedded model's."""

import functools
import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import predgen

SENTENCES = (
    "The film is a positive surprise: warm, funny and 100 minutes long.",
    "The plot is negative, very negative, and the ending of 2024 is worse than that of 2023.",
    "Tom has 12 apples and buys 30 more, so he has 12 + 30 = 42 apples.\n#### 42",
    "Half of 48 is 24. 48 + 24 = 72 clips.\n#### 72",
    "Score: 13.4 Temperature: -5.0 Answer: 0.75 Question? yes or no, 2024 2024 2023 100 100",
)
_EMBEDDED = Path(predgen.__file__).parent / "assets" / "embedded"


def _wrap(tokenizer: Tokenizer, **special: str) -> PreTrainedTokenizerFast:
    """Put a transformers face on a tokenizer."""
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", **special)


@functools.cache
def gpt2_like() -> PreTrainedTokenizerFast:
    """Byte-level BPE; numbers such as 2024 have tokens of their own; unk = bos = eos, no padding token, as GPT-2's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    end = "<|endoftext|>"
    return _wrap(tokenizer, unk_token=end, bos_token=end, eos_token=end)


@functools.cache
def llama2_like() -> PreTrainedTokenizerFast:
    """BPE with the word-start mark "▁", byte fallback, and a bos token that is put before every text."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(vocab_size=160, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    # Line breaks and "$" are left out of the vocabulary: only byte tokens can write them.
    tokenizer.train_from_iterator([sentence.replace("\n", " ") for sentence in SENTENCES] * 3, trainer)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    data = json.loads(tokenizer.to_str())
    vocabulary = data["model"]["vocab"]
    vocabulary.update({f"<0x{byte:02X}>": len(vocabulary) + byte for byte in range(256)})
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return _wrap(tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def _characters(alphabet: str) -> PreTrainedTokenizerFast:
    """One token per character; others are unknown."""
    vocabulary = {token: index for index, token in enumerate(["<pad>", "<eos>", "<unk>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.decoder = decoders.Fuse()
    return _wrap(tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


@functools.cache
def char_level() -> PreTrainedTokenizerFast:
    """One token per printable ASCII character, blank and line break."""
    return _characters("\n" + "".join(map(chr, range(32, 127))))


@functools.cache
def without_digits() -> PreTrainedTokenizerFast:
    """One token per letter and mark, none for digits."""
    return _characters("\n" + "".join(chr(code) for code in range(32, 127) if not chr(code).isdigit()))


@functools.cache
def word_level() -> PreTrainedTokenizerFast:
    """One token per lower-cased word or mark, one per digit; blanks have no token."""
    words = "<pad> <eos> <unk> the film is a positive negative surprise yes no not sure answer : ? . - + #### 0 1 2 3 4 5 6 7 8 9"
    tokenizer = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(words.split())}, unk_token="<unk>")
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(True)])
    return _wrap(tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


@functools.cache
def embedded() -> PreTrainedTokenizerFast | None:
    """The tokenizer of the model that ships with the package; None in a checkout without it."""
    return AutoTokenizer.from_pretrained(_EMBEDDED) if (_EMBEDDED / "tokenizer.json").is_file() else None


def every_tokenizer() -> dict[str, PreTrainedTokenizerFast]:
    """Name -> tokenizer, for all that can write numbers and text of any kind."""
    found = {
        "gpt2_like": gpt2_like(),
        "llama2_like": llama2_like(),
        "char_level": char_level(),
        "embedded": embedded(),
    }
    return {name: tokenizer for name, tokenizer in found.items() if tokenizer is not None}
