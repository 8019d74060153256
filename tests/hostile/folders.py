"""Saved models as a stranger might send them: seeded mutations of a good folder, by kind.

A case is (seed, kind): `mutate` changes a copy of a saved model in place and says what it did. Whatever code a mutation
plants writes the canary file when it runs, so that a test sees it.
"""

import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

Mutation = Callable[[Path, random.Random, Path], str]
JUNK: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, float("nan"), float("inf"), 10**30, "", "x" * 100_000, "\x00", "../../../etc/passwd", "/etc/passwd",
    [], {}, [[]], {"a": {"b": []}}, ["x"] * 10_000, "{0.__class__}", "os:system", "\ud800", -0.0, [None], {"": None},
)  # fmt: skip
MANIFEST = "predgen.json"


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to every value inside JSON data."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(p for key, value in list(inner)[:50] for p in places(value, (*path, key)))]


def put(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Data with a value replaced."""
    if not path:
        return value
    holder = data
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return data


def edited(path: Path, rng: random.Random) -> str:
    """Put junk in one place of a JSON file."""
    data = json.loads(path.read_text(encoding="utf-8"))
    place, value = rng.choice(places(data)[1:]), rng.choice(JUNK)
    path.write_text(json.dumps(put(data, place, value)), encoding="utf-8")
    return f"{path.name}{list(place)} = {repr(value)[:60]}"


def field_types(run: Path, rng: random.Random, canary: Path) -> str:
    return edited(run / MANIFEST, rng)


def left_out(run: Path, rng: random.Random, canary: Path) -> str:
    data = json.loads((run / MANIFEST).read_text(encoding="utf-8"))
    place = rng.choice([p for p in places(data) if p and isinstance(p[-1], str)])
    holder = data
    for key in place[:-1]:
        holder = holder[key]
    del holder[place[-1]]
    (run / MANIFEST).write_text(json.dumps(data), encoding="utf-8")
    return f"without {list(place)}"


def nesting(run: Path, rng: random.Random, canary: Path) -> str:
    depth, sign = rng.choice([50, 1000, 100_000]), rng.choice(["[]", '{"a":}'])
    text = "[" * depth + "]" * depth if sign == "[]" else '{"a":' * depth + "1" + "}" * depth
    whole = (run / MANIFEST).read_text(encoding="utf-8").rstrip()
    (run / MANIFEST).write_text(text if rng.random() < 0.3 else f'{whole[:-1]}, "more": {text}}}', encoding="utf-8")
    return f"{depth} x {sign}"


def sizes(run: Path, rng: random.Random, canary: Path) -> str:
    name = rng.choice([MANIFEST, "adapter/adapter_config.json", "trained-rows.json"])
    padding = rng.choice([" " * 30_000_000, "0" * 5_000_000, '"' + "a" * 10_000_000])
    (run / name).write_text((run / name).read_text(encoding="utf-8") + padding, encoding="utf-8")
    return f"{name} + {len(padding)} x {padding[0]!r}"


def unknown_names(run: Path, rng: random.Random, canary: Path) -> str:
    data = json.loads((run / MANIFEST).read_text(encoding="utf-8"))
    place = rng.choice([("config", "peft"), ("setup", "method"), ("setup", "loss"), ("codec", "name"), ("setup", "director"),
                        ("config", "metric"), ("task", "metrics"), ("setup", "kind"), ("task", "kind"), ("task", "form")])  # fmt: skip
    value = rng.choice(
        ["nothing", "os:system", "predgen.cli.main:app", "__class__", "full", "none", "predictor", "sequence", "math"]
    )
    (run / MANIFEST).write_text(json.dumps(put(data, place, value)), encoding="utf-8")
    return f"{place} = {value}"


def paths_outside(run: Path, rng: random.Random, canary: Path) -> str:
    data = json.loads((run / MANIFEST).read_text(encoding="utf-8"))
    target = rng.choice(
        ["../../..", "/etc", "/dev/zero", "~", "", ".", "\x00", "a/b/c", "file:///etc", "-", "x" * 5000]
    )
    place = rng.choice(
        [("base", "name"), ("config", "model"), ("config", "data"), ("task", "folder"), ("config", "data_dir")]
    )
    (run / MANIFEST).write_text(json.dumps(put(data, place, target)), encoding="utf-8")
    return f"{place} = {target[:40]!r}"


def planted_code(run: Path, rng: random.Random, canary: Path) -> str:
    code = f"open({str(canary)!r}, 'w').write('ran')\n"
    base = Path(json.loads((run / MANIFEST).read_text(encoding="utf-8"))["base"]["name"])
    name = rng.choice(
        ["modeling_x.py", "sitecustomize.py", "predgen_x.py", "adapter/peft.py", "json.py", "conftest.py"]
    )
    (run / name).write_text(code)
    (base / "modeling_x.py").write_text(code + "class X: pass\n")
    how = rng.choice(["auto_map", "tokenizer", "extract", "trust", "adapter"])
    manifest = json.loads((run / MANIFEST).read_text(encoding="utf-8"))
    if how == "auto_map":
        config = json.loads((base / "config.json").read_text())
        config |= {
            "auto_map": {"AutoConfig": "modeling_x.X", "AutoModelForCausalLM": "modeling_x.X"},
            "model_type": "x",
        }
        (base / "config.json").write_text(json.dumps(config))
    elif how == "tokenizer":
        config = json.loads((base / "tokenizer_config.json").read_text())
        config |= {"auto_map": {"AutoTokenizer": [None, "modeling_x.X"]}, "tokenizer_class": "X"}
        (base / "tokenizer_config.json").write_text(json.dumps(config))
    elif how == "extract":
        manifest["task"]["extract"] = rng.choice(["predgen_x:main", "modeling_x:X", "os:system", "subprocess:run"])
    elif how == "adapter":
        config = json.loads((run / "adapter/adapter_config.json").read_text())
        config |= {
            "auto_mapping": {"base_model_class": "X", "parent_library": "predgen_x"},
            "peft_type": rng.choice(["LORA", "X"]),
        }
        (run / "adapter/adapter_config.json").write_text(json.dumps(config))
    if how in ("trust", "auto_map", "tokenizer"):
        manifest["config"]["trust_remote_code"] = True
        from predgen.engine.base_model import fingerprint

        manifest["base"]["fingerprint"] = fingerprint(base)  # the author of a folder can make it fit
    (run / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return f"{how}, {name}"


class _Canary:
    """Writes the canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.canary}",)


def planted_files(run: Path, rng: random.Random, canary: Path) -> str:
    import pickle

    base = Path(json.loads((run / MANIFEST).read_text(encoding="utf-8"))["base"]["name"])
    data = pickle.dumps(_Canary(canary))
    name = rng.choice(
        ["adapter/adapter_model.bin", "head.bin", "adapter/training_args.bin", "optimizer.pt", "predgen.pkl"]
    )
    (run / name).write_bytes(data)
    (base / rng.choice(["pytorch_model.bin", "model.gguf", "tokenizer.model", "chat_template.jinja"])).write_bytes(
        rng.choice(
            [
                data,
                b"GGUF\x03\x00\x00\x00" + data,
                b"{{ cycler.__init__.__globals__.os.system('touch " + os.fsencode(canary) + b"') }}",
            ]
        )
    )
    if rng.random() < 0.5:
        (run / "adapter/adapter_model.safetensors").unlink()
    return name


def _tensors(path: Path) -> tuple[dict[str, Any], bytes]:
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def _write_tensors(path: Path, header: dict[str, Any], data: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def adapter_tensors(run: Path, rng: random.Random, canary: Path) -> str:
    path = run / "adapter/adapter_model.safetensors"
    header, data = _tensors(path)
    names = [name for name in header if name != "__metadata__"]
    name = rng.choice(names)
    how = rng.choice(["removed", "renamed", "nan", "inf", "dtype", "shape", "offsets", "zeroed"])
    start, end = header[name]["data_offsets"]
    if how == "removed":
        header.pop(name)
    elif how == "renamed":
        header[name.replace("lora", "lola")] = header.pop(name)
    elif how in ("nan", "inf", "zeroed"):
        value = struct.pack("<f", {"nan": float("nan"), "inf": float("inf"), "zeroed": 0.25}[how])
        data = data[:start] + value + data[start + 4 :]
    elif how == "dtype":
        header[name]["dtype"] = rng.choice(["I32", "F16", "BOOL", "X"])
    elif how == "shape":
        header[name]["shape"] = rng.choice([[1], [10**12, 10**12], header[name]["shape"][::-1], [-1], []])
    else:
        header[name]["data_offsets"] = [start, rng.choice([end + 10**12, -4, start])]
    _write_tensors(path, header, data)
    return f"{how} {name}"


def bits(run: Path, rng: random.Random, canary: Path) -> str:
    path = rng.choice([p for p in sorted(run.rglob("*")) if p.is_file() and p.stat().st_size and p.name != "README.md"])
    raw = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 1, 5])):
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(raw))
    return str(path.relative_to(run))


def truncated(run: Path, rng: random.Random, canary: Path) -> str:
    path = rng.choice([p for p in sorted(run.rglob("*")) if p.is_file() and p.stat().st_size and p.name != "README.md"])
    raw = path.read_bytes()
    path.write_bytes(raw[: rng.choice([0, 1, 8, len(raw) // 2, len(raw) - 1])])
    return str(path.relative_to(run))


def token_ids(run: Path, rng: random.Random, canary: Path) -> str:
    data = json.loads((run / MANIFEST).read_text(encoding="utf-8"))
    found = [p for p in places(data["codec"]) if p and isinstance(put_get(data["codec"], p), int)]
    place, value = rng.choice(found), rng.choice([10**6, -1, 2**63, 2**31, 128, 1.5])
    put(data, ("codec", *place), value)
    (run / MANIFEST).write_text(json.dumps(data), encoding="utf-8")
    return f"codec{list(place)} = {value}"


def put_get(data: Any, path: tuple[Any, ...]) -> Any:
    """The value at a path."""
    for key in path:
        data = data[key]
    return data


def templates(run: Path, rng: random.Random, canary: Path) -> str:
    data = json.loads((run / MANIFEST).read_text(encoding="utf-8"))
    value = rng.choice(
        [
            "{",
            "}",
            "{0}",
            "{text!r}",
            "{text:>1000000000}",
            "{text.__class__}",
            "{other}",
            "",
            "{text}{",
            "{text[0]}",
            "{{text}}",
        ]
    )
    for place in (("task", "prompt"), ("config", "prompt")):
        put(data, place, value)
    (run / MANIFEST).write_text(json.dumps(data), encoding="utf-8")
    return value


def adapter_config(run: Path, rng: random.Random, canary: Path) -> str:
    path = run / "adapter/adapter_config.json"
    if rng.random() < 0.4:
        return edited(path, rng)
    data = json.loads(path.read_text(encoding="utf-8"))
    change: dict[str, Any] = rng.choice([
        {"init_lora_weights": "pissa_niter_99999999"}, {"r": 10_000_000}, {"r": 0}, {"r": -1}, {"peft_type": "PREFIX_TUNING"},
        {"target_modules": "(a+)+$"}, {"target_modules": ".*"}, {"layers_to_transform": list(range(10**6))}, {"modules_to_save": ["lm_head"]},
        {"lora_alpha": 1e300}, {"lora_alpha": float("nan")}, {"loftq_config": {"loftq_bits": 4}}, {"rank_pattern": {".*": 10**7}},
        {"megatron_config": {"a": 1}, "megatron_core": "os"}, {"base_model_name_or_path": "/etc"}, {"use_dora": True}, {"bias": "all"},
        {"task_type": "SEQ_CLS"}, {"lora_bias": True}, {"eva_config": {}}, {"corda_config": {}}, {"runtime_config": {"x": 1}},
    ])  # fmt: skip
    path.write_text(json.dumps({**data, **change}), encoding="utf-8")
    return repr(change)[:80]


def side_files(run: Path, rng: random.Random, canary: Path) -> str:
    text = rng.choice(
        [
            "",
            "{",
            "[1]",
            "null",
            '{"a": 1}',
            "[" * 100_000,
            '{"train": "x"}',
            "\x00",
            "!!python/object/apply:os.system ['touch x']",
        ]
    )
    (run / "config.yaml").write_text(text, encoding="utf-8")
    (run / "trained-rows.json").write_text(text, encoding="utf-8")
    return text[:40]


def symlinks(run: Path, rng: random.Random, canary: Path) -> str:
    name = rng.choice(
        [MANIFEST, "adapter/adapter_config.json", "adapter/adapter_model.safetensors", "trained-rows.json"]
    )
    (run / name).unlink()
    target = rng.choice(["/etc/passwd", "/dev/zero", "/dev/null", "/nonexistent", str(run), name.rsplit("/", 1)[-1]])
    (run / name).symlink_to(target)
    return f"{name} -> {target}"


MUTATIONS: dict[str, Mutation] = {
    f.__name__: f
    for f in (
        field_types, left_out, nesting, sizes, unknown_names, paths_outside, planted_code, planted_files, adapter_tensors, bits,
        truncated, token_ids, templates, adapter_config, side_files, symlinks,
    )
}  # fmt: skip
