"""What somebody may have meant by a name that is not known."""

import difflib
from collections.abc import Iterable
from itertools import islice

# What other libraries, papers and people call a thing -> what it is called here.
_MEANT = {
    "lr": "learning_rate", "eta": "learning_rate", "bs": "batch_size", "per_device_train_batch_size": "batch_size",
    "grad_accum": "gradient_accumulation", "gradient_accumulation_steps": "gradient_accumulation", "wd": "weight_decay",
    "num_epochs": "epochs", "num_train_epochs": "epochs", "epoch": "epochs", "passes": "epochs", "steps": "max_steps",
    "r": "rank", "lora_r": "rank", "lora_rank": "rank", "lora_alpha": "alpha", "adapter": "peft", "base": "model",
    "base_model": "model", "model_name_or_path": "model", "checkpoint": "model", "head": "director", "scheduler": "lr_schedule",
    "lr_scheduler": "lr_schedule", "lr_scheduler_type": "lr_schedule", "optim": "optimizer", "clip": "max_grad_norm",
    "output": "out", "output_dir": "out", "o": "out", "label": "target", "label_column": "target", "y": "target",
    "template": "prompt", "text": "prompt", "text_column": "prompt", "input": "data", "file": "data", "train": "data",
    "train_file": "data", "train_data": "data", "val_data": "validation_data", "valid": "validation_data",
    "dev_data": "validation_data", "problem_type": "kind", "max_len": "max_length", "max_seq_length": "max_length",
    "seq_len": "max_length", "early_stopping": "patience", "early_stopping_patience": "patience", "fp16": "bf16",
    "mixed_precision": "bf16", "precision": "dtype", "torch_dtype": "dtype", "digits": "decimals", "n_rows": "limit",
    "samples": "limit", "max_samples": "limit", "tracker": "report_to", "log_to": "report_to", "random_state": "seed",
    "n_jobs": "workers", "jobs": "workers", "mse_loss": "mse", "acc": "accuracy", "f1": "macro_f1", "qlora": "lora",
}  # fmt: skip


_COMPARED = 10_000  # names: to compare one takes microseconds, and a file may have a million columns


def close_names(name: str, known: Iterable[str]) -> list[str]:
    """Return at most three of the known names: what `name` means elsewhere, else those that are written or read like it.

    Example:
        >>> close_names("lr", ["loss", "rank", "learning_rate"]), close_names("rate", ["loss", "learning_rate"])
        (['learning_rate'], ['learning_rate'])
    """
    names, key = list(islice(known, _COMPARED)), name.strip("-").replace("-", "_").lower()
    if _MEANT.get(key) in names:
        return [_MEANT[key]]
    alike = difflib.get_close_matches(key, names, n=3, cutoff=0.5)
    return list(dict.fromkeys([*alike, *(other for other in names if key in other.split("_"))]))[:3]


def near_matches(name: str, known: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the closest known names, or an empty string."""
    close = close_names(name, known)
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
