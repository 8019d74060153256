"""GGUF files: turned back into what they were made from, or refused in a sentence, within bounds."""

import json
import random
import struct
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import predgen
from gguf_files import embedded_tokenizer, write_embedded, write_small
from predgen import RunConfig
from predgen.bases import fetch, find
from predgen.bases.cache import ORIGIN, digest_of, origin_of, place_of_gguf
from predgen.bases.convert import convert_gguf
from predgen.bases.find import EMBEDDED, find_base
from predgen.bases.gguf_header import read_header
from predgen.engine.base_model import load_base
from predgen.errors import ModelError
from predgen.inference.trained import TrainedModel

ROWS = [{"text": f"row {i}", "label": "good" if i % 2 else "bad"} for i in range(24)]
CONFIG = {"prompt": "{text}\nIt is:", "target": "label", "kind": "classification", "max_steps": 1}


def train_on(base: Path, folder: Path) -> TrainedModel:
    """Train one step on a base."""
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return predgen.train(RunConfig(model=str(base), data=str(data), **CONFIG), folder / "run")


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory, shallow_folder: Path) -> tuple[Path, Path]:
    """A GGUF file of the embedded model's first layer, and what it was turned into, in a cache of this module's own."""
    folder = tmp_path_factory.mktemp("gguf")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(find, "files", lambda package: shallow_folder.parents[1])
        file = write_embedded(folder / "tiny.gguf")
        patch.setenv("PREDGEN_CACHE", str(folder / "cache"))
        return file, find_base(str(file))


@pytest.fixture(autouse=True)
def _cache(converted: tuple[Path, Path], shallow_embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use that cache."""
    monkeypatch.setenv("PREDGEN_CACHE", str(converted[0].parent / "cache"))


def test_a_file_becomes_the_model_and_tokenizer_it_was_made_from(converted: tuple[Path, Path]) -> None:
    file, folder = converted
    base = load_base(str(file))
    text = "The play was 13.4 times  better,\nthey said: <|end|> über"
    own = embedded_tokenizer()
    ids = own.encode(text, add_special_tokens=False)
    assert base.tokenizer.encode(text, add_special_tokens=False) == ids
    assert base.folder == folder
    original = AutoModelForCausalLM.from_pretrained(find_base(EMBEDDED), dtype=torch.float32).eval()
    with torch.no_grad():
        expected, found = original(torch.tensor([ids])).logits, base.lm(torch.tensor([ids])).logits
    assert torch.allclose(found, expected, atol=1e-4)
    assert not hasattr(base.lm.config, "quantization_config")


def test_the_folder_says_what_it_was_made_from(converted: tuple[Path, Path]) -> None:
    file, folder = converted
    origin = origin_of(folder)
    assert origin is not None
    assert (origin.digest, origin.quantised) == (digest_of(file), "F16")
    assert "near" not in origin.in_words(), "16-bit weights are the published ones"


def test_a_file_is_converted_once_and_again_when_it_has_changed(
    converted: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def convert(file: Path, folder: Path) -> str:
        calls.append(file)
        folder.mkdir()
        (folder / "config.json").write_text("{}", encoding="utf-8")
        return "Q4_1"

    monkeypatch.setattr(fetch, "convert_gguf", convert)
    assert find_base(str(converted[0])) == converted[1]
    assert calls == []
    copy = write_small(tmp_path / "other.gguf")
    folders = [find_base(str(copy)), find_base(str(copy))]
    write_small(copy, block_count=1)
    folders.append(find_base(str(copy)))
    assert len(calls) == 2
    assert folders[0] == folders[1] != folders[2]
    assert "near, not equal" in origin_of(folders[0]).in_words()


def test_a_model_trained_on_a_file_loads_elsewhere_by_its_digest(converted: tuple[Path, Path], tmp_path: Path) -> None:
    file = tmp_path / "here.gguf"
    file.write_bytes(converted[0].read_bytes())
    trained = train_on(file, tmp_path)
    expected = trained.predict(ROWS[:3])
    file.unlink()
    assert predgen.load(tmp_path / "run").predict(ROWS[:3]) == expected
    moved = tmp_path / "moved.gguf"
    moved.write_bytes(converted[0].read_bytes())
    assert predgen.load(tmp_path / "run", base=str(moved)).predict(ROWS[:3]) == expected


def test_a_folder_written_by_another_version_of_transformers_from_the_same_file_is_the_same_base(
    converted: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, folder = converted
    trained = train_on(file, tmp_path)
    monkeypatch.setenv("PREDGEN_CACHE", str(tmp_path / "cache"))
    other = place_of_gguf(digest_of(file))
    other.mkdir(parents=True)
    for path in folder.iterdir():
        text = path.read_bytes()
        (other / path.name).write_bytes(
            text.replace(b'"transformers_version": "', b'"transformers_version": "9.')
            if path.name == "config.json"
            else text
        )
    assert predgen.load(tmp_path / "run").predict(ROWS[:2]) == trained.predict(ROWS[:2])
    (other / ORIGIN).write_text('{"source": "x", "digest": "' + "0" * 64 + '"}', encoding="utf-8")
    with pytest.raises(predgen.errors.SavedModelError, match="another base model"):
        predgen.load(tmp_path / "run")


@pytest.mark.parametrize(
    ("architecture", "values", "said"),
    [
        ("llama", {"block_count": 10**9}, "block_count"),
        ("llama", {"context_length": 10**12}, "context_length"),
        ("llama", {"embedding_length": 10**9}, "embedding_length"),
        ("unheard_of", {}, "unheard_of"),
    ],
)
def test_claims_that_the_tensors_do_not_bear_out_are_refused_before_a_model_is_made(
    tmp_path: Path, architecture: str, values: dict[str, int], said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        read_header(write_small(tmp_path / "x.gguf", architecture, **values))


def test_every_truncation_and_any_changed_byte_is_read_or_refused_in_bounded_time(tmp_path: Path) -> None:
    whole = write_small(tmp_path / "whole.gguf", block_count=1).read_bytes()
    path, rng = tmp_path / "x.gguf", random.Random(0)
    changed = [whole[:n] for n in range(0, len(whole) - 1, 3)]
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content) - 256)] = rng.randrange(256)
        changed.append(bytes(content))
    refused, started = 0, time.process_time()
    for content in changed:
        path.write_bytes(content)
        try:
            read_header(path)
        except ModelError:
            refused += 1
    assert refused >= len(whole) // 3, "every truncation is refused, and most changes"
    assert time.process_time() - started < 20


@pytest.mark.parametrize("at", [8, 16])
def test_counts_beyond_the_file_are_refused_at_once(tmp_path: Path, at: int) -> None:
    path = write_small(tmp_path / "x.gguf")
    content = bytearray(path.read_bytes())
    content[at : at + 8] = struct.pack("<Q", 1 << 62)
    path.write_bytes(content)
    with pytest.raises(ModelError, match="announces"):
        read_header(path)


@pytest.mark.usefixtures("forked_python")
def test_a_file_without_one_of_its_tensors_is_not_filled_up_with_random_numbers(tmp_path: Path) -> None:
    file = write_embedded(tmp_path / "x.gguf", leave_out="blk.0.ffn_up.weight")
    with pytest.raises(ModelError, match="up_proj"):
        convert_gguf(file, tmp_path / "out")


def test_what_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("predgen.bases.convert._SECONDS", 0.1)
    with pytest.raises(ModelError, match="not converted within"):
        convert_gguf(write_small(tmp_path / "x.gguf"), tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"GGUF", b"PK\x03\x04" + bytes(100), b"GGUF" + bytes(100)])
def test_files_that_are_no_gguf_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="GGUF"):
        find_base(str(path))
    assert not list((path.parent).glob("*.part"))
