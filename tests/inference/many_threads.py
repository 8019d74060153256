"""One loaded model asked by many threads at once, without the tests' type checks, which would cost most of the time.

python tests/inference/many_threads.py WORK --threads 64 --calls 1000

Prints as JSON how many calls were made, and the texts for which some thread's prompt or answer was not that of one thread.
"""

import argparse
import json
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import predgen
from predgen.core import Example, Prediction
from predgen.inference.trained import TrainedModel
from predgen.training.run import train
from tiny_runs import tiny_config, tiny_data
from tokenizers_for_tests import gpt2_like

# The template's own marks are special tokens; what rows hold of them is ordinary text.
PROMPT = "<|endoftext|>Decide, please, whether what follows is low or high.\nText: {text}<|endoftext|> ="


def texts(n: int) -> list[str]:
    """Texts, all different, most of which hold the mark of the template."""
    marks = ("", "<|endoftext|>", " says <|endoftext|> twice <|endoftext|>")
    return [f"number {i} is warm{marks[i % 3]} and long" for i in range(n)]


def differing(trained: TrainedModel, n_threads: int, n_calls: int) -> list[str]:
    """Texts for which some thread's prompt or answer is not that of a single thread."""
    rows = texts(n_calls)
    trained.predict([{"text": text} for text in rows[:2]])  # from here on, what prompts share is run once and kept
    alone = {text: asked(trained, text) for text in rows}

    def calls(thread: int) -> list[str]:
        start = thread * n_calls // n_threads
        return [text for text in rows[start:] + rows[:start] if asked(trained, text) != alone[text]]

    with ThreadPoolExecutor(n_threads) as pool:
        return [text for found in pool.map(calls, range(n_threads)) for text in found]


def asked(trained: TrainedModel, text: str) -> tuple[tuple[int, ...], Prediction]:
    """The prompt of a text, and what the model says, to the bit."""
    return trained.encoder.encode(Example(0, {"text": text})).prompt_ids, trained.predict([{"text": text}])[0]


def smallest(work: Path) -> TrainedModel:
    """A model of one layer that has learned nothing but a head: a call costs what calling costs."""
    tokenizer = gpt2_like()
    end = tokenizer.eos_token_id
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        initializer_range=0.2,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(work / "base")
    tokenizer.save_pretrained(work / "base")
    data = tiny_data("classification", 8)
    data = replace(data, task=replace(data.task, prompt=PROMPT))
    settings = tiny_config(work / "base", "classification", method="predictor", peft="none", epochs=1.0)
    train(replace(settings, prompt=PROMPT), work / "run", data=data)
    return predgen.load(work / "run")


def main() -> None:
    """Ask."""
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--threads", type=int, default=64)
    parser.add_argument("--calls", type=int, default=1000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    trained = smallest(given.work)
    found = differing(trained, given.threads, given.calls)
    print(json.dumps({"calls": given.threads * given.calls, "differing": found}))


if __name__ == "__main__":
    main()
