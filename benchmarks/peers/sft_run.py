"""One epoch of supervised fine-tuning on a table with transformers' Trainer, from file to saved adapter.

python -m benchmarks.peers.sft_run MODEL TABLE.csv OUT TEMPLATE BATCH_SIZE DTYPE

Batches are shuffled and padded to their longest row, labels with -100, by `DataCollatorForSeq2Seq`: Trainer's very own
default collator cannot pad labels. Settings are those of predgen's defaults where both have them.
"""

import csv
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

from benchmarks.models import ATTENTION, with_lora
from benchmarks.peers.sft import IGNORED

MAX_LENGTH = 512  # predgen's default


def encode(row: dict[str, str], template: str, tokenizer: Any) -> dict[str, list[int]]:  # noqa: ANN401
    """Prompt and answer as ids, labels on the answer only."""
    answer = [*tokenizer.encode(" " + row["score"], add_special_tokens=False), tokenizer.eos_token_id]
    prompt = tokenizer.encode(template.format(**row), add_special_tokens=False)[: MAX_LENGTH - len(answer)]
    ids = prompt + answer
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": [IGNORED] * len(prompt) + answer}


def main() -> None:
    """Train and save."""
    model, table, out, template, batch_size, dtype = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(model)
    with Path(table).open(encoding="utf-8", newline="") as file:
        rows = [encode(row, template, tokenizer) for row in csv.DictReader(file)]
    lm = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype), attn_implementation=ATTENTION)
    arguments = TrainingArguments(
        out,
        num_train_epochs=1,
        per_device_train_batch_size=int(batch_size),
        learning_rate=2e-3,
        lr_scheduler_type="cosine",
        warmup_steps=0.06,
        save_strategy="no",
        report_to="none",
    )
    collator = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORED)
    trainer = Trainer(with_lora(lm), arguments, train_dataset=rows, data_collator=collator)
    trainer.train()
    trainer.save_model(out)


if __name__ == "__main__":
    main()
