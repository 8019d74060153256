"""Records what `predgen` computes, to the last bit, so that two versions of it can be compared.

`python tools/record_runs.py OUT.json` trains some dozens of models for a few optimizer steps each on rows made up here, on one
thread: three methods on labels, numbers and math answers, PredGen with each loss, director and sampling mode, and several PEFT
methods; on tiny random base models, and a few on the embedded one. Kept of each run are the losses and gradient norms of every step, the predictions of fixed rows, and digests of the
saved weights. `python tools/record_runs.py OUT.json --against BEFORE.json` says which of them moved, and by how much.

It takes the names of `predgen`'s documents alone, so that it runs on earlier and later versions as it is: call it with
another checkout on PYTHONPATH. Bits are equal on one machine only, with one version of torch.
"""

import argparse
import hashlib
import itertools
import json
import math
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models
from transformers import BloomConfig, BloomForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import predgen
from predgen.config import config_from
from predgen.core import Decoding

SUBJECTS = ("the film", "this book", "our dinner", "a long walk", "the old song", "my new coat", "that tea", "the hall")
JUDGED = (
    "was dull",
    "was fine",
    "was a joy from the first to the last minute",
    "came too late",
    "went on and on",
    "fell short",
)
LABELS = ("bad", "good", "good enough", "very good indeed")
FILES = {"label": "classification", "number": "regression", "grid": "regression", "math": "math"}
"""Which rows -> kind of task. `grid` holds numbers of which more can be written than fit into one pass."""

_SHORT = {"max_steps": 5, "batch_size": 6, "rank": 4, "alpha": 8.0, "learning_rate": 5e-3, "max_steps_for_sampling": 4}
_FULL = {"max_steps": 5, "batch_size": 6, "peft": "full", "learning_rate": 2e-4, "max_steps_for_sampling": 4}
_FORMAT = {
    "number": {"minimum": 0.0, "maximum": 4.9, "decimals": 1},
    "grid": {"minimum": -40.0, "maximum": 40.0, "decimals": 2},
}


def cases() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the runs: name, which rows, settings."""
    for rows in FILES:
        yield f"predictor {rows}", rows, {"method": "predictor"}
        yield f"generator {rows}", rows, {"method": "generator"}
        yield f"predgen {rows}", rows, {"method": "predgen"}
    for loss in ("wdal", "sum", "adaptive", "director_only"):
        yield f"loss {loss}", "label", {"loss": loss}
    for director in ("ordered", "expected"):
        yield f"director {director}", "number", {"director": director}
    yield "director ordered grid", "grid", {"director": "ordered"}
    for sampling in ("off", "sequence", "marginal"):
        yield f"sampling {sampling} label", "label", {"sampling": sampling}
        yield f"sampling {sampling} number", "number", {"sampling": sampling}
    yield "sampling sequence expected", "number", {"sampling": "sequence", "director": "expected"}
    yield "sampling sequence grid", "grid", {"sampling": "sequence"}
    for sampling in ("off", "sequence", "parallel"):
        yield f"sampling {sampling} math", "math", {"sampling": sampling}
    yield "sampling parallel passes", "math", {"sampling": "parallel", "sampling_passes": 3, "rationale": False}
    yield "adalora label", "label", {"peft": "adalora", "max_steps": 12, "batch_size": 4}
    yield "adalora number", "number", {"peft": "adalora", "max_steps": 12, "batch_size": 4, "method": "generator"}
    yield "dora label", "label", {"peft": "dora"}
    yield "full label", "label", _FULL
    yield "full math", "math", _FULL
    yield "reduction batch", "label", {"reduction": "batch", "gradient_accumulation": 2}
    yield (
        "accumulation",
        "number",
        {"gradient_accumulation": 2, "batch_size": 3, "pooling": "mean", "method": "predictor"},
    )
    yield "checkpointing", "label", {"gradient_checkpointing": True}
    yield "checkpointing marginal", "label", {"gradient_checkpointing": True, "sampling": "marginal"}
    yield "checkpointing expected", "number", {"gradient_checkpointing": True, "director": "expected"}
    yield "evaluation in steps", "number", {"eval_steps": 2, "class_weight": "none", "optimizer": "sgd"}
    yield "balanced", "label", {"class_weight": "balanced", "lr_schedule": "linear"}
    for rows, settings in (
        ("label", {}),
        ("number", {"director": "expected"}),
        ("grid", {}),
        ("label", {"sampling": "marginal"}),
    ):
        yield " ".join(("no trees", rows, *settings.values())), rows, {"model": "bloom", **settings}
    for rows in ("label", "number", "math"):
        yield f"embedded {rows}", rows, {"model": "embedded", "max_steps": 3}


def base_model(name: str, scratch: Path) -> str:
    """Write a tiny random model with one token per character, once, and return where; "embedded" is predgen's own.

    Weights are ten times as large as usual: almost flat distributions would hide what changes.
    """
    folder = scratch / name
    if name == "embedded" or folder.is_dir():
        return name if name == "embedded" else str(folder)
    alphabet = "".join(map(chr, range(32, 127))) + "\n"
    vocabulary = {token: index for index, token in enumerate(["<pad>", "<eos>", "<unk>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    tokenizer.decoder = decoders.Fuse()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    wrapped.save_pretrained(folder)
    ids: dict[str, Any] = {
        "vocab_size": len(vocabulary),
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 1,
        "initializer_range": 0.2,
    }
    torch.manual_seed(0)
    if name == "bloom":  # its ALiBi takes no 4-D masks: no trees
        BloomForCausalLM(BloomConfig(hidden_size=32, n_layer=2, n_head=4, **ids)).save_pretrained(folder)
    else:
        sizes: dict[str, Any] = {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        }
        LlamaForCausalLM(LlamaConfig(**sizes, **ids, num_key_value_heads=2)).save_pretrained(folder)
    return str(folder)


def made_up(rows: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Make rows whose target depends on their words, of very unequal length."""
    rng = random.Random(f"{rows} {seed}")
    made = []
    for _ in range(count):
        parts = [(rng.randrange(len(SUBJECTS)), rng.randrange(len(JUDGED))) for _ in range(rng.choice((1, 1, 2, 4)))]
        text = ", and ".join(f"{SUBJECTS[s]} {JUDGED[j]}" for s, j in parts)
        score = sum(j for _, j in parts) / len(parts)
        made.append({"text": text, **_answer(rows, score, rng)})
    return made


def _answer(rows: str, score: float, rng: random.Random) -> dict[str, Any]:
    """The columns that follow the text."""
    if rows == "label":
        return {"answer": LABELS[min(3, int(score))]}
    if rows == "number":
        return {"answer": round(min(4.9, score + rng.random() / 2), 2)}
    if rows == "grid":
        return {"answer": round(8 * score - 20 + rng.random(), 3)}
    left, right = rng.randrange(1, 20), rng.randrange(1, 9)
    return {"answer": left * right, "rationale": f"{left} * {right} = {left * right}"}


def _meant(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings without those that the method, or its sampling mode, has not."""
    method, mode = settings.get("method", "predgen"), settings.get("sampling", "token")
    useless = {"max_steps_for_sampling"} if method != "predgen" or mode in ("off", "marginal") else set()
    useless |= {"decimals"} if method == "predictor" else set()
    return {name: value for name, value in settings.items() if name not in useless}


def recorded(rows: str, settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Train one model and return what it computed."""
    settings = {**settings, "model": base_model(settings.get("model", "llama"), scratch)}
    data, held_out, new = (scratch / f"{rows}-{part}.jsonl" for part in ("train", "validation", "new"))
    for path, count, seed in ((data, 28, 0), (held_out, 8, 1), (new, 9, 2)):
        path.write_text("".join(json.dumps(row) + "\n" for row in made_up(rows, count, seed)), "utf-8")
    given: dict[str, Any] = {"data": str(data), "validation_data": str(held_out), "prompt": "Read: {text}\nAnswer:"}
    given |= {"target": "answer", "kind": FILES[rows], "seed": 3, "eval_batch_size": 4}
    own = {} if "peft" in settings and settings["peft"] == "full" else _SHORT
    config = config_from(_meant({**given, **_FORMAT.get(rows, {}), **own, **settings}))
    folder = Path(tempfile.mkdtemp(dir=scratch))
    trained = predgen.train(config, folder, overwrite=True)
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    texts = [{"text": json.loads(line)["text"]} for line in new.read_text("utf-8").splitlines()]
    found: dict[str, Any] = {"log": [{k: exact(v) for k, v in line.items() if k not in _CLOCK} for line in log]}
    asked = {"own": Decoding()}
    if settings.get("method") != "predictor":
        asked["greedy"] = Decoding(how="greedy")
        if FILES[rows] == "regression":
            asked["numbers"] = Decoding(how="mean", distribution=True, max_nodes=60)
    loaded = predgen.load(folder)
    for name, decoding in asked.items():
        predicted, again = (
            [exact(p.to_dict()) for p in m.predict(texts, decoding=decoding)] for m in (trained, loaded)
        )
        found[f"predictions {name}"] = predicted
        found[f"loaded {name} alike"] = predicted == again
    found["weights"] = {
        str(p.relative_to(folder)): digest(p) for p in sorted(folder.rglob("*.safetensors")) if is_saved(p)
    }
    found["files"] = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    return found


_CLOCK = ("time_s", "train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos")


def is_saved(path: Path) -> bool:
    """Whether a file belongs to the saved model, not to a checkpoint on the way."""
    return not any(part.startswith("checkpoint") for part in path.parts)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def exact(value: Any) -> Any:  # noqa: ANN401  (plain JSON data)
    """Return plain data in which no digit of a number is lost."""
    if isinstance(value, dict):
        return {key: exact(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [exact(part) for part in value]
    return value.hex() if isinstance(value, float) else value


def differences(before: Any, now: Any, place: str = "") -> Iterator[tuple[str, float]]:  # noqa: ANN401
    """Yield where two records differ, with the difference of numbers relative to the larger one; inf for all else."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            yield from differences(before.get(key), now.get(key), f"{place} / {key}" if place else str(key))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for index, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from differences(old, new, f"{place}[{index}]")
    elif before != now:
        numbers = [float.fromhex(v) for v in (before, now) if isinstance(v, str) and ("0x" in v)]
        size = max(map(abs, numbers), default=0.0)
        yield place, abs(numbers[0] - numbers[1]) / size if len(numbers) == 2 and size else math.inf


def compared(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Say for each run what moved; nothing where all bits are equal."""
    said = []
    for name, found in itertools.groupby(differences(before, now), key=lambda pair: pair[0].split(" / ")[0]):
        moved = list(found)
        worst = max(moved, key=lambda pair: pair[1])
        said.append(f"{name}: {len(moved)} values moved, most by {worst[1]:.1e}: {worst[0]}")
    return said


def main() -> int:
    """Record all runs, or those whose name contains a word, and compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="where the record is written (JSON)")
    parser.add_argument("--against", type=Path, help="an earlier record to compare with")
    parser.add_argument("--only", default="", help="record the runs whose name contains this word")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    warnings.simplefilter("ignore")
    record = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, rows, settings in cases():
            if given.only in name:
                start = time.process_time()
                record[name] = recorded(rows, settings, Path(scratch))
                print(f"{name}: {time.process_time() - start:.1f} s", file=sys.stderr)
    given.out.write_text(json.dumps(record, indent=1), encoding="utf-8")
    if given.against is None:
        return 0
    before = json.loads(given.against.read_text(encoding="utf-8"))
    said = compared({name: before[name] for name in before if given.only in name}, record)
    print("\n".join(said) or f"{len(record)} runs, all bits equal")
    return bool(said)


if __name__ == "__main__":
    raise SystemExit(main())
