"""Pretrain a small Llama-architecture language model on plain text, on a CPU.

    python tools/pretrain.py --text train.txt.xz --valid validation.txt.xz --extra gsm8k.jsonl --out DIR --minutes 70

Writes an ordinary Hugging Face folder: config.json, model.safetensors (float16), tokenizer.json, training.json. The
model shipped in `src/predgen/assets/embedded` was made with the defaults. The learning-rate schedule runs over the
time given, not over steps, so that any machine ends with a finished model; repeated runs therefore differ slightly.
"""

import argparse
import copy
import json
import lzma
import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

BOOK_SEPARATOR = "<|book|>"
END, PAD = "<|end|>", "<|pad|>"
MAX_VALIDATION_TOKENS = 60_000
EVALUATE_EVERY_S = 600.0
LOG_EVERY_STEPS = 50
VALIDATION_BATCH = 8
HEADS, KEY_VALUE_HEADS, CONTEXT = 8, 2, 1024

TokenIds = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class PretrainConfig:
    """Size of the model and of the run.

    Attributes:
        minutes: Training time; evaluations count, reading and tokenizing do not.
        vocab: Tokens in the vocabulary, at most 65,536 (token ids are kept in 16 bits).
        hidden: Width of the model, a multiple of twice the 8 heads.
        layers: Number of layers.
        ffn: Width of the feed-forward layers.
        seq: Tokens per training sequence.
        batch: Sequences per optimizer step.
        lr: Peak learning rate of AdamW, which trains embeddings and norms; matrices use Muon at 0.02.
        threads: CPU threads.
        seed: Seed of the initial weights.
    """

    minutes: float = 70.0
    vocab: int = 4096
    hidden: int = 256
    layers: int = 6
    ffn: int = 640
    seq: int = 256
    batch: int = 16
    lr: float = 2e-3
    threads: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 0 or (value == 0 and field.name != "seed"):
                raise ValueError(f"--{field.name} is {value}, but must be above 0.")
        if not 258 <= self.vocab <= 65_536:
            raise ValueError(f"--vocab is {self.vocab}; allowed are 258 (256 bytes and 2 special tokens) to 65536.")
        if self.hidden % (2 * HEADS):
            raise ValueError(
                f"--hidden is {self.hidden}, but must be a multiple of {2 * HEADS} (rotary, {HEADS} heads)."
            )
        if self.seq > CONTEXT:
            raise ValueError(f"--seq is {self.seq}, above the model's context of {CONTEXT} tokens.")


@dataclass(frozen=True)
class Corpus:
    """Token ids of the training and validation texts.

    Attributes:
        train: All training documents, an end token after each.
        valid: At most 60,000 validation tokens.
        valid_bytes: UTF-8 bytes of the text behind `valid`.
    """

    train: TokenIds
    valid: TokenIds
    valid_bytes: int

    def bits_per_byte(self, nats_per_token: float) -> float:
        """Convert a loss into bits per byte, which does not depend on the tokenizer."""
        return nats_per_token / math.log(2) * len(self.valid) / self.valid_bytes


# ---------------------------------------------------------------- text -> token ids


def read_text(path: Path) -> str:
    """Read a UTF-8 file, packed (.xz) or plain.

    Raises:
        ValueError: If the file is missing, damaged or not UTF-8.
    """
    try:
        data = path.read_bytes()
        return (lzma.decompress(data) if path.suffix == ".xz" else data).decode("utf-8")
    except OSError as error:
        raise ValueError(f"cannot read {str(path)!r}: {error.strerror}.") from error
    except (lzma.LZMAError, UnicodeDecodeError) as error:
        raise ValueError(f"{str(path)!r} must be UTF-8 text, plain or packed as .xz: {error}.") from error


def read_books(path: Path) -> list[str]:
    """Read the documents of a file, separated by lines with `<|book|>`.

    Raises:
        ValueError: If there is none.
    """
    books = [book.strip() for book in read_text(path).split(BOOK_SEPARATOR) if book.strip()]
    if not books:
        raise ValueError(f"{str(path)!r} holds no text.")
    return books


def read_problems(path: Path) -> list[str]:
    """Read math problems, one JSON object with "question" and "answer" per line, as one document each.

    GSM8K's calculator marks, <<2+3=5>>, become (2+3=5): the model should see its digits, not its markup.

    Raises:
        ValueError: If a line is not such an object.
    """
    problems = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            row = json.loads(line)
            problems.append(row["question"] + "\n" + row["answer"].replace("<<", "(").replace(">>", ")"))
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f'{str(path)!r}, line {number}: needs a JSON object with texts "question" and "answer" ({error}).'
            ) from error
    return problems


def train_tokenizer(documents: Sequence[str], vocab: int) -> Tokenizer:
    """Train a byte-level BPE whose digits stand one by one, on the first fifth of every 100,000 characters."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pieces = (text[i : i + 20_000] for text in documents for i in range(0, len(text), 100_000))
    tokenizer.train_from_iterator(pieces, trainer)
    return tokenizer


def load_or_train_tokenizer(out: Path, documents: Sequence[str], vocab: int) -> PreTrainedTokenizerFast:
    """Take the tokenizer that already lies in `out`, or train one and save it there.

    Raises:
        ValueError: If the one in `out` has more than `vocab` tokens.
    """
    path = out / "tokenizer.json"
    if path.exists():
        print(f"using the tokenizer in {path}; delete it to train a new one", flush=True)
    backend = Tokenizer.from_file(str(path)) if path.exists() else train_tokenizer(documents, vocab)
    if backend.get_vocab_size() > vocab:
        raise ValueError(f"{str(path)!r} has {backend.get_vocab_size()} tokens, above --vocab {vocab}; delete it.")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=END, bos_token=END, pad_token=PAD, model_max_length=CONTEXT
    )
    tokenizer.save_pretrained(out)
    return tokenizer


def encode(tokenizer: PreTrainedTokenizerFast, documents: Sequence[str], piece_characters: int = 50_000) -> TokenIds:
    """Tokenize documents into one long row, an end token after each document."""
    end = np.array([tokenizer.eos_token_id], dtype=np.uint16)
    rows: list[TokenIds] = []
    for text in documents:
        pieces = [text[i : i + piece_characters] for i in range(0, len(text), piece_characters)]
        rows += [np.array(e.ids, dtype=np.uint16) for e in tokenizer.backend_tokenizer.encode_batch(pieces)]
        rows.append(end)
    return np.concatenate(rows)


def make_corpus(
    tokenizer: PreTrainedTokenizerFast, train: Sequence[str], valid: Sequence[str], config: PretrainConfig
) -> Corpus:
    """Tokenize both texts.

    Raises:
        ValueError: If one is too short for a single batch.
    """
    corpus_train, corpus_valid = encode(tokenizer, train), encode(tokenizer, valid)[:MAX_VALIDATION_TOKENS]
    needed = {"--text": (config.batch + 1) * config.seq + 1, "--valid": VALIDATION_BATCH * config.seq + 1}
    for flag, ids in (("--text", corpus_train), ("--valid", corpus_valid)):
        if len(ids) < needed[flag]:
            raise ValueError(f"{flag} has {len(ids)} tokens, but one batch needs {needed[flag]}; give more text.")
    n_bytes = len(str(tokenizer.decode(corpus_valid.tolist())).encode())
    return Corpus(corpus_train, corpus_valid, n_bytes)


# ---------------------------------------------------------------- model and optimizers


def build_model(tokenizer: PreTrainedTokenizerFast, config: PretrainConfig) -> LlamaForCausalLM:
    """Make a randomly initialised model."""
    torch.manual_seed(config.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden,
            intermediate_size=config.ffn,
            num_hidden_layers=config.layers,
            num_attention_heads=HEADS,
            num_key_value_heads=KEY_VALUE_HEADS,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            rms_norm_eps=1e-5,
        )
    )


def build_optimizers(model: LlamaForCausalLM, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    named = list(model.named_parameters())
    matrices = [p for name, p in named if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in named if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=0.02, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def learning_rate_factor(step: int, share_done: float) -> float:
    """Share of the peak rate: 100 steps of warm-up, flat until 40 % of the time, then falling linearly to 2 %."""
    decay = 1.0 if share_done < 0.4 else max(0.02, 1 - (share_done - 0.4) / 0.6)
    return min(1.0, (step + 1) / 100) * decay


def token_loss(model: LlamaForCausalLM, ids: Tensor, reduction: str = "mean") -> Tensor:
    """Cross-entropy of each token given those before it, in nats."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    return cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction=reduction)


@torch.no_grad()
def validation_loss(model: LlamaForCausalLM, ids: TokenIds, seq: int) -> float:
    """Mean loss over the validation tokens in windows of `seq`, in nats per token."""
    model.train(False)
    total, count = 0.0, 0
    window = seq * VALIDATION_BATCH
    for start in range(0, len(ids) - window, window):
        batch = torch.from_numpy(ids[start : start + window].astype(np.int64)).view(VALIDATION_BATCH, seq)
        total += token_loss(model, batch, reduction="sum").item()
        count += batch[:, 1:].numel()
    model.train()
    return total / count


# ---------------------------------------------------------------- training


def batches(ids: TokenIds, config: PretrainConfig) -> Iterator[Tensor]:
    """Yield batches [batch, seq + 1] without end; each pass cuts the text at another offset and shuffles the pieces."""
    step, starts = 0, list[int]()
    while True:
        if len(starts) < config.batch:
            offset = int(np.random.RandomState(step).randint(config.seq))
            n_pieces = (len(ids) - offset - 1) // config.seq
            starts = [int(i) * config.seq + offset for i in np.random.RandomState(step).permutation(n_pieces)]
        chosen = [starts.pop() for _ in range(config.batch)]
        yield torch.from_numpy(np.stack([ids[i : i + config.seq + 1] for i in chosen]).astype(np.int64))
        step += 1


def save(model: LlamaForCausalLM, out: Path, facts: dict[str, float]) -> None:
    """Write weights and `training.json`, each file replaced whole, so that a killed run leaves the last good ones.

    A float16 copy is written; the weights in training keep their precision.
    """
    with tempfile.TemporaryDirectory(dir=out, prefix=".save-") as folder:
        copy.deepcopy(model).half().save_pretrained(folder)
        (Path(folder) / "training.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        for path in Path(folder).iterdir():
            os.replace(path, out / path.name)


def evaluate_and_save(model: LlamaForCausalLM, corpus: Corpus, out: Path, steps: int, config: PretrainConfig) -> float:
    """Measure on the validation text, save, print; return the loss in nats per token."""
    loss = validation_loss(model, corpus.valid, config.seq)
    bits = corpus.bits_per_byte(loss)
    tokens = steps * config.batch * config.seq
    facts = {"steps": steps, "tokens": tokens, "valid_loss_nats_per_token": loss, "valid_bits_per_byte": bits}
    save(model, out, facts)
    print(f"== step {steps}: valid {loss:.4f} nats/token, {bits:.3f} bits/byte", flush=True)
    return loss


def optimizer_step(
    model: LlamaForCausalLM,
    optimizers: Sequence[torch.optim.Optimizer],
    peak_rates: Sequence[float],
    ids: Tensor,
    factor: float,
) -> float:
    """Take one step at `factor` times the peak learning rates; return the training loss.

    Raises:
        FloatingPointError: If the loss is not finite.
    """
    loss = token_loss(model, ids)
    if not torch.isfinite(loss):
        raise FloatingPointError("the training loss is no longer finite; lower --lr. The last saved model is intact.")
    loss.backward()  # type: ignore[no-untyped-call]  # torch annotates this in part
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer, peak in zip(optimizers, peak_rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = peak * factor
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item()


def train(model: LlamaForCausalLM, corpus: Corpus, out: Path, config: PretrainConfig) -> float:
    """Train for `config.minutes`, saving every ten minutes and at the end; return the final validation loss."""
    optimizers = build_optimizers(model, config.lr)
    peak_rates = [float(optimizer.param_groups[0]["lr"]) for optimizer in optimizers]
    model.train()
    start = last_saved = time.monotonic()
    steps, share_done = 0, 0.0
    for ids in batches(corpus.train, config):
        share_done = (time.monotonic() - start) / (config.minutes * 60)
        loss = optimizer_step(model, optimizers, peak_rates, ids, learning_rate_factor(steps, share_done))
        steps += 1
        if steps % LOG_EVERY_STEPS == 0:
            rate = steps * config.batch * config.seq / (time.monotonic() - start)
            print(f"step {steps} loss {loss:.3f} {rate:.0f} tokens/s, {share_done:.1%} of the time", flush=True)
        if share_done >= 1:
            break
        if time.monotonic() - last_saved > EVALUATE_EVERY_S:
            last_saved = time.monotonic()
            evaluate_and_save(model, corpus, out, steps, config)
    return evaluate_and_save(model, corpus, out, steps, config)


def pretrain(text: Path, valid: Path, extra: Sequence[Path], out: Path, config: PretrainConfig) -> float:
    """Read, tokenize, train and save; return the final validation loss in nats per token.

    Raises:
        ValueError: If a file is missing, malformed or too short.
    """
    torch.set_num_threads(config.threads)
    documents = read_books(text) + [problem for path in extra for problem in read_problems(path)]
    valid_documents = read_books(valid)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = load_or_train_tokenizer(out, documents, config.vocab)
    corpus = make_corpus(tokenizer, documents, valid_documents, config)
    model = build_model(tokenizer, config)
    print(
        f"{len(corpus.train):,} training tokens, {len(corpus.valid):,} validation tokens, "
        f"{corpus.valid_bytes / len(corpus.valid):.2f} bytes/token, "
        f"{sum(p.numel() for p in model.parameters()):,} parameters",
        flush=True,
    )
    return train(model, corpus, out, config)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True, help="training text, books separated by <|book|>")
    parser.add_argument("--valid", type=Path, required=True, help="validation text of the same form")
    parser.add_argument("--extra", type=Path, nargs="*", default=[], help="JSON lines with question and answer")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    for field in fields(PretrainConfig):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    options = vars(parser.parse_args(arguments))
    paths = {name: options.pop(name) for name in ("text", "valid", "extra", "out")}
    try:
        pretrain(**paths, config=PretrainConfig(**options))
    except (ValueError, FloatingPointError) as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
