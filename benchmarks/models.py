"""Base models of the suite: pretrained ones, and others with random weights, which serve for speed only."""

import shutil
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, TaskType, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.settings import Setting
from predgen.bases.find import EMBEDDED, find_base

ATTENTION = "sdpa"
RANK, ALPHA = 8, 16.0  # predgen's defaults
CONTEXT = 1024
_PAGE_BYTES = 4096
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def base_folder(setting: Setting) -> Path:
    """Folder of a size's base model, written at first use.

    Random models take the embedded model's tokenizer of 4,096 tokens. Their embeddings keep the width of their own,
    larger vocabulary, so that logits cost what they cost there; texts get a little longer, for ours and peers alike.
    """
    if setting.spec.sizes is None:
        return find_base(setting.spec.base)
    embedded = find_base(EMBEDDED)
    folder = setting.folder / "base"
    if not folder.exists():
        lm = _random(setting, AutoTokenizer.from_pretrained(embedded))
        half_done = setting.folder / "base.part"
        lm.save_pretrained(half_done)
        for name in _TOKENIZER_FILES:
            shutil.copy(embedded / name, half_done / name)
        half_done.rename(folder)
    return folder


def _random(setting: Setting, tokenizer: Any) -> Any:  # noqa: ANN401  (transformers' classes are untyped)
    """Make a model; the same sizes always give the same weights."""
    config = AutoConfig.for_model(
        setting.spec.family,
        **(setting.spec.sizes or {}),
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        lm: Any = AutoModelForCausalLM.from_config(config)
    return lm.to(getattr(torch, setting.spec.dtype))


def load_lm(setting: Setting) -> Any:  # noqa: ANN401
    """Load the base as a causal language model, as a user of transformers would."""
    lm: Any = AutoModelForCausalLM.from_pretrained(
        base_folder(setting), dtype=getattr(torch, setting.spec.dtype), attn_implementation=ATTENTION
    )
    return _read_in(lm).to(setting.spec.device).eval()


def _read_in(model: Any) -> Any:  # noqa: ANN401
    """Touch every page of weights that are mapped from a file: else they would count as memory of the first step."""
    for parameter in model.parameters():
        parameter.detach().flatten()[:: _PAGE_BYTES // parameter.element_size()].sum()
    return model


def with_lora(lm: Any) -> Any:  # noqa: ANN401
    """Put on the adapter that all variants train: rank 8 on every linear layer but the output embedding."""
    config = LoraConfig(task_type=TaskType.CAUSAL_LM, r=RANK, lora_alpha=int(ALPHA), target_modules="all-linear")
    return get_peft_model(lm.requires_grad_(False), config)


def load_classifier(setting: Setting, n_classes: int) -> Any:  # noqa: ANN401
    """Load the base under a random classification head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(
            base_folder(setting),
            num_labels=n_classes,
            dtype=getattr(torch, setting.spec.dtype),
            attn_implementation=ATTENTION,
        )
    return _read_in(model).to(setting.spec.device).eval()


def classifier_folder(setting: Setting, n_classes: int) -> Path:
    """Folder of `load_classifier`'s model, written at first use."""
    folder = setting.folder / f"classifier-{n_classes}"
    if not folder.exists():
        half_done = setting.folder / "classifier.part"
        load_classifier(setting, n_classes).save_pretrained(half_done)
        for name in _TOKENIZER_FILES:
            shutil.copy(base_folder(setting) / name, half_done / name)
        half_done.rename(folder)
    return folder
