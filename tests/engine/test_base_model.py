"""Finding, checking and loading base models."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from cli_runs import flat, predgen
from other_models import other_model
from predgen.engine.base_model import find_base, fingerprint, load_base
from predgen.errors import ModelError
from tiny_runs import tiny_base, tiny_data, tiny_run
from tokenizers_for_tests import char_level


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def base(whole: Path, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "base"))


def test_loaded_base_is_the_model_of_transformers_in_eval_state(base: Path) -> None:
    found = load_base(str(base))
    plain = AutoModelForCausalLM.from_pretrained(base)
    assert (found.name, found.folder, found.lm.training) == (str(base), base, False)
    assert found.tokenizer.get_vocab() == char_level().get_vocab()
    state, own = plain.state_dict(), found.lm.state_dict()
    assert state.keys() == own.keys()
    assert all(torch.equal(state[name], own[name]) for name in state)


@pytest.mark.parametrize(("dtype", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_weights_are_of_the_asked_type(base: Path, dtype: str, expected: torch.dtype) -> None:
    assert {p.dtype for p in load_base(str(base), dtype=dtype).lm.parameters()} == {expected}


def test_embedded_base_needs_no_folder(embedded_folder: Path) -> None:
    assert find_base("embedded") == embedded_folder
    assert load_base("embedded").name == "embedded"


def test_bars_are_left_as_found(base: Path) -> None:
    shown = logging.is_progress_bar_enabled()
    load_base(str(base))
    assert logging.is_progress_bar_enabled() is shown
    (base / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError):
        load_base(str(base))
    assert logging.is_progress_bar_enabled() is shown


@pytest.mark.parametrize("name", ["./no/such/folder", "/no/such/folder", "~/no_such_folder", "a/b/c"])
def test_missing_folder_is_said_without_asking_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*args: object, **kwargs: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", asked)
    with pytest.raises(ModelError, match=f"base model '{name}' does not exist"):
        find_base(name)


def test_hub_out_of_reach_is_said() -> None:
    with pytest.raises(
        ModelError, match=r"base model 'nobody/nothing' is neither a local folder nor to be had from the hub: ."
    ):
        find_base("nobody/nothing")


@pytest.mark.parametrize(("trusted", "wants_code"), [(False, False), (True, True)])
def test_only_needed_files_are_asked_from_the_hub(
    trusted: bool, wants_code: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def download(name: str, allow_patterns: list[str], local_dir: Path | None) -> str:
        assert local_dir is None, "the hub's own cache"
        asked.append(allow_patterns)
        return "somewhere"

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert find_base("some/model", trust_remote_code=trusted) == Path("somewhere")
    assert ("*.py" in asked[0]) is wants_code
    assert "*.safetensors" in asked[0]
    assert not any(pattern.endswith((".bin", ".pt", ".pth", ".pkl")) or pattern == "*" for pattern in asked[0])


def test_folder_without_config_is_refused(base: Path) -> None:
    (base / "config.json").unlink()
    with pytest.raises(ModelError, match=r"has no config\.json"):
        load_base(str(base))


def test_pickled_weights_are_refused(base: Path) -> None:
    torch.save(load_file(str(base / "model.safetensors")), base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no \.safetensors weights\. Pickled weights are refused"):
        load_base(str(base))


def test_cut_off_weights_are_refused_by_size(base: Path) -> None:
    path = base / "model.safetensors"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelError, match=f"is damaged: its header announces {size} bytes, but it has {size - 10}"):
        load_base(str(base))


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 64, (8).to_bytes(8, "little") + b"[1,2,3]]"])
def test_strange_weights_are_refused(base: Path, content: bytes) -> None:
    (base / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match="is damaged: its safetensors header cannot be read"):
        load_base(str(base))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_damaged_json_is_said(base: Path, name: str, content: str) -> None:
    (base / name).write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=r"cannot be loaded|has no fast"):
        load_base(str(base))


def test_model_of_another_kind_is_refused(base: Path) -> None:
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (base / "config.json").write_text(json.dumps(config | {"model_type": "vit"}), encoding="utf-8")
    with pytest.raises(ModelError, match="has to be a causal language model"):
        load_base(str(base))


# Fingerprints


def test_fingerprint_does_not_depend_on_place_and_other_files(whole: Path, base: Path) -> None:
    (base / "README.md").write_text("hello")
    assert fingerprint(base) == fingerprint(whole)
    assert len(fingerprint(base)) == 64


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_fingerprint_sees_settings_and_tokenizer(whole: Path, base: Path, name: str) -> None:
    path = base / name
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")
    assert fingerprint(base) != fingerprint(whole)


@pytest.mark.parametrize("which", [0, -1])
def test_fingerprint_sees_weights(whole: Path, base: Path, which: int) -> None:
    state = load_file(str(base / "model.safetensors"))
    list(state.values())[which].view(-1)[which] += 1.0
    save_file(state, str(base / "model.safetensors"), metadata={"format": "pt"})
    assert fingerprint(base) != fingerprint(whole)


def test_fingerprint_sees_a_second_file_of_weights(whole: Path, base: Path) -> None:
    shutil.copy(base / "model.safetensors", base / "more.safetensors")
    assert fingerprint(base) != fingerprint(whole)


# --- more tokens than embeddings --------------------------------------------------------------------------------------


def add_tokens(base: Path, *, tokens: tuple[str, ...] = (), pad: str | None = None) -> int:
    """Add tokens to a saved tokenizer, the model left as it is; return how many the tokenizer then has."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(list(tokens))
    if pad is not None:
        tokenizer.add_special_tokens({"pad_token": pad})
    tokenizer.save_pretrained(base)
    return len(tokenizer)


def test_tokens_without_an_embedding_are_refused_with_both_sizes(base: Path) -> None:
    rows = load_base(str(base)).lm.get_input_embeddings().weight.shape[0]
    size = add_tokens(base, tokens=("<POS>", "<NEG>"))
    assert size == rows + 2
    with pytest.raises(ModelError, match=f"needs {size} embeddings.* has {rows}.*'<NEG>', '<POS>'"):
        load_base(str(base))


def test_tokens_without_an_embedding_stop_a_run_before_it_trains(base: Path, tmp_path: Path) -> None:
    rows = load_base(str(base)).lm.get_input_embeddings().weight.shape[0]
    size = add_tokens(base, tokens=("<POS>", "<NEG>"))
    data = tmp_path / "rows.csv"
    data.write_text("t,y\n" + "".join(f"nice {i},<POS>\nnasty {i},<NEG>\n" for i in range(20)))
    given = ("--data", data, "--prompt", "{t} =", "--target", "y", "--kind", "classification", "--max-steps", "2")
    result = predgen("train", "--model", base, *given, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert re.search(rf"\b{size}\b.*\b{rows}\b", flat(result.stderr))


def test_a_padding_token_without_an_embedding_does_no_harm(base: Path) -> None:
    size = add_tokens(base, pad="[PAD]")
    assert size == load_base(str(base)).lm.get_input_embeddings().weight.shape[0] + 1
    model = tiny_run(base, "classification", tiny_data("classification", 4), epochs=1.0)
    assert model.pad_id == 0
    assert len(model.predict([{"text": "good wine"}, {"text": "the road is long and dull"}])) == 2


def test_a_base_that_is_not_causal_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    other_model("xlnet").save_pretrained(tmp_path)
    char_level().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"XLNetLMHeadModel.*not causal"):
        load_base(str(tmp_path))


def test_llama_4_is_loaded(tmp_path: Path) -> None:
    other_model("llama4").save_pretrained(tmp_path)
    char_level().save_pretrained(tmp_path)
    assert type(load_base(str(tmp_path)).lm).__name__ == "Llama4ForCausalLM"
