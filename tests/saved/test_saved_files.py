"""The files of a saved model: damage, tensors that are not the configuration's, and values that run away are refused."""

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import predgen
from predgen import errors
from predgen.engine.base_model import fingerprint
from predgen.errors import ModelError, PredgenError, SavedModelError
from predgen.saved.digests import CODEC, digests_of
from predgen.saved.manifest import codec_digest
from tiny_runs import tiny_base, tiny_data, tiny_run

TRAINED: dict[str, Any] = {"learning_rate": 0.05, "optimizer": "adamw", "warmup_ratio": 0.0, "max_steps": 2}
QUERY = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base") / "llama")


@pytest.fixture(scope="module")
def runs(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model of each of some PEFT methods."""
    out = tmp_path_factory.mktemp("runs")
    for peft in ("lora", "rocoft", "adalora", "full"):
        tiny_run(base, "classification", tiny_data("classification", 8), out / peft, **TRAINED, peft=peft)
    return out


@pytest.fixture
def copy(runs: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copies of the saved models, to be changed."""
    return lambda peft: Path(shutil.copytree(runs / peft, tmp_path / peft))


def edit_json(path: Path, **values: Any) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    for dotted, value in values.items():
        *parts, last = dotted.split("__")
        part = data
        for name in parts:
            part = part[name]
        part[last] = value
    path.write_text(json.dumps(data), encoding="utf-8")


def reseal(run: Path) -> None:
    """Make a changed folder agree with itself again, as an attacker would; without digests in a model of version 0.1."""
    path = run / "predgen.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    if (run / "base").is_dir():
        data["base"]["fingerprint"] = fingerprint(run / "base")
    if "digests" in data:
        data["digests"] = {
            **digests_of(run),
            CODEC: codec_digest(data["codec"]),
        }
    path.write_text(json.dumps(data), encoding="utf-8")


def edit_tensors(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(str(path))
    change(tensors)
    save_file(tensors, str(path), metadata={"format": "pt"})


def tensor_file(run: Path, part: str) -> Path:
    return run / {"head": "head.safetensors", "adapter": "adapter/adapter_model.safetensors"}.get(
        part, "base/model.safetensors"
    )


# Digests


@pytest.mark.parametrize("part", ["adapter", "head", "base"])
def test_one_flipped_bit_is_noticed(copy: Callable[[str], Path], part: str) -> None:
    run = copy("full" if part == "base" else "lora")
    path = tensor_file(run, part)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    if part == "base":
        edit_json(run / "predgen.json", base__fingerprint=fingerprint(run / "base"))
    name = path.relative_to(run).as_posix()
    with pytest.raises(SavedModelError, match=f"{name} is changed, by the digests"):
        predgen.load(run)


def test_changed_codec_is_noticed(copy: Callable[[str], Path]) -> None:
    run = copy("lora")
    data = json.loads((run / "predgen.json").read_text(encoding="utf-8"))
    first, second = data["codec"]["data"]["tokens"]
    edit_json(run / "predgen.json", codec__data__tokens=[second, first])  # each label written as the other
    with pytest.raises(SavedModelError, match=r"codec is changed"):
        predgen.load(run)


@pytest.mark.parametrize(("peft", "name"), [("lora", "adapter/adapter_model.bin"), ("full", "base/added_tokens.json")])
def test_file_that_was_not_saved_is_noticed(copy: Callable[[str], Path], peft: str, name: str) -> None:
    run = copy(peft)
    (run / name).write_text("{}", encoding="utf-8")
    with pytest.raises(SavedModelError, match=f"{name} is not among the files saved"):
        predgen.load(run)


def test_model_of_the_first_format_loads_and_says_that_it_has_no_digests(copy: Callable[[str], Path]) -> None:
    run = copy("lora")
    rows = [example.fields for example in tiny_data("classification", 2, 5).validation]
    expected = predgen.load(run).predict(rows)
    data = json.loads((run / "predgen.json").read_text(encoding="utf-8"))
    del data["digests"], data["base"]["needs_remote_code"]
    data["format_version"] = 1
    data["config"]["trust_remote_code"] = False
    (run / "predgen.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.warns(errors.UnverifiedWarning, match="kept no digests") as said:
        assert predgen.load(run).predict(rows) == expected
    assert len(said) == 1
    data["format_version"] = 2  # the digests cannot be left out of a newer one
    (run / "predgen.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(SavedModelError, match="`digests`"):
        predgen.load(run)


# Tensors


def removed(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[sorted(tensors)[0]]


def renamed(tensors: dict[str, torch.Tensor]) -> None:
    name = sorted(tensors)[0]
    tensors[f"{name}.old"] = tensors.pop(name)


def added(tensors: dict[str, torch.Tensor]) -> None:
    tensors["further.weight"] = torch.zeros(2)


def of_nan(tensors: dict[str, torch.Tensor]) -> None:
    next(value for _, value in sorted(tensors.items()) if value.is_floating_point()).view(-1)[0] = torch.nan


def infinite(tensors: dict[str, torch.Tensor]) -> None:
    next(value for _, value in sorted(tensors.items()) if value.is_floating_point()).view(-1)[-1] = -torch.inf


def reshaped(tensors: dict[str, torch.Tensor]) -> None:
    name = next(n for n, value in sorted(tensors.items()) if value.is_floating_point())
    tensors[name] = torch.zeros(3, *tensors[name].shape)


def of_whole_numbers(tensors: dict[str, torch.Tensor]) -> None:
    name = next(n for n, value in sorted(tensors.items()) if value.is_floating_point())
    tensors[name] = tensors[name].to(torch.int64)


CHANGES = (removed, renamed, added, of_nan, infinite, reshaped, of_whole_numbers)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("peft", "part"), [("lora", "adapter"), ("rocoft", "adapter"), ("adalora", "adapter")])
def test_adapter_of_other_tensors_is_refused(
    copy: Callable[[str], Path], peft: str, part: str, change: Callable[[dict[str, torch.Tensor]], object]
) -> None:
    run = copy(peft)
    edit_tensors(tensor_file(run, part), change)
    reseal(run)
    with pytest.raises(SavedModelError, match=r"adapter_model\.safetensors"):
        predgen.load(run)


@pytest.mark.parametrize("change", CHANGES)
def test_head_of_other_tensors_is_refused(
    copy: Callable[[str], Path], change: Callable[[dict[str, torch.Tensor]], object]
) -> None:
    run = copy("lora")
    edit_tensors(tensor_file(run, "head"), change)
    reseal(run)
    with pytest.raises(SavedModelError, match=r"head"):
        predgen.load(run)


@pytest.mark.parametrize("change", [c for c in CHANGES if c is not of_whole_numbers])
def test_base_of_other_tensors_is_refused(
    base: Path, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object]
) -> None:
    other = Path(shutil.copytree(base, tmp_path / "base"))
    edit_tensors(other / "model.safetensors", change)
    with pytest.raises(ModelError, match=r"base model .*base'"):
        tiny_run(other, "classification", tiny_data("classification", 4), **TRAINED)


def test_base_with_fewer_layers_than_weights_is_refused(base: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(base, tmp_path / "base"))
    edit_json(other / "config.json", num_hidden_layers=0)
    with pytest.raises(ModelError, match=r"have, but the model has not, .*layers\.0"):
        tiny_run(other, "classification", tiny_data("classification", 4), **TRAINED)


def test_columns_that_train_are_those_of_the_settings(copy: Callable[[str], Path]) -> None:
    run = copy("rocoft")

    def outside(tensors: dict[str, torch.Tensor]) -> None:
        next(value for name, value in tensors.items() if "indices" in name)[0] = 1_000_000

    edit_tensors(tensor_file(run, "adapter"), outside)
    reseal(run)
    with pytest.raises(SavedModelError, match=r"rocoft_indices.* is \[1000000"):
        predgen.load(run)


def test_adapter_as_pickle_is_not_opened(copy: Callable[[str], Path]) -> None:
    run = copy("lora")
    path = tensor_file(run, "adapter")
    torch.save(load_file(str(path)), path.with_name("adapter_model.bin"))
    path.unlink()
    reseal(run)
    with pytest.raises(SavedModelError, match=r"adapter_model\.bin\) are not read: opening a pickle can run code"):
        predgen.load(run)


@pytest.mark.parametrize("name", ["base/model.safetensors", "base/tokenizer.json", "base/more.bin", "head.safetensors"])
def test_file_of_any_size_is_refused_before_it_is_read(copy: Callable[[str], Path], name: str) -> None:
    run = copy("full")
    with (run / name).open("ab") as file:
        file.truncate(200 << 30)  # a hole, which takes no place on disk
    start = time.process_time()
    with pytest.raises(SavedModelError, match=name.rpartition("/")[2]):
        predgen.load(run)
    assert time.process_time() - start < 20


# The adapter's configuration


@pytest.mark.parametrize(
    ("peft", "field", "value"),
    [
        ("lora", "init_lora_weights", "pissa_niter_99999999"),
        ("lora", "init_lora_weights", "eva"),
        ("lora", "r", 10_000_000),
        ("lora", "lora_alpha", 1e30),
        ("lora", "use_dora", True),
        ("lora", "target_modules", "(a+)+$"),
        ("lora", "target_modules", ["q_proj", "(a+)+$"]),
        ("lora", "target_modules", ["nowhere"]),
        ("lora", "modules_to_save", ["lm_head"]),
        ("lora", "layer_replication", [[0, 1000]]),
        ("lora", "rank_pattern", {"(a+)+$": 8}),
        ("lora", "peft_type", "XLORA"),
        ("lora", "peft_type", ["LORA"]),
        ("lora", "a_later_field", {"on": True}),
        ("lora", "megatron_core", "os"),
        ("rocoft", "indices", [0, 1, 2]),
        ("rocoft", "selection", "random"),
        ("rocoft", "seed", 5),
        ("adalora", "init_r", 10_000_000),
        ("adalora", "rank_pattern", {"nowhere.lora_E": [True]}),
        ("adalora", "rank_pattern", {"model.layers.0.mlp.up_proj.lora_E": [True] * 100_000}),
        ("adalora", "rank_pattern", {"model.layers.0.mlp.up_proj.lora_E": 3}),
        ("adalora", "total_step", "many"),
    ],
)
def test_adapter_configuration_is_that_of_the_settings(
    copy: Callable[[str], Path], peft: str, field: str, value: object
) -> None:
    run = copy(peft)
    edit_json(run / "adapter" / "adapter_config.json", **{field: value})
    reseal(run)
    start = time.process_time()
    with pytest.raises(SavedModelError, match=r"adapter_(config\.json|model\.safetensors)"):
        predgen.load(run)
    assert time.process_time() - start < 20


@pytest.mark.parametrize("rank", [3, 10_000_000])
def test_rank_that_runs_away_in_both_files_is_refused(copy: Callable[[str], Path], rank: int) -> None:
    run = copy("lora")
    edit_json(run / "adapter" / "adapter_config.json", r=rank)
    edit_json(run / "predgen.json", config__rank=rank)
    reseal(run)
    with pytest.raises(SavedModelError, match=rf"lora_A.* float 2x32 instead of float {rank}x32"):
        predgen.load(run)


def test_fields_of_another_peft_that_are_not_used_are_passed_over(copy: Callable[[str], Path]) -> None:
    run = copy("lora")
    edit_json(run / "adapter" / "adapter_config.json", a_later_field=None, another={}, peft_version="9.9")
    reseal(run)
    assert predgen.load(run).labels


def test_class_named_for_an_adapter_is_not_imported(copy: Callable[[str], Path]) -> None:
    run = copy("lora")
    mapping = {"base_model_class": "Popen", "parent_library": "a_module_of_its_own"}
    edit_json(run / "adapter" / "adapter_config.json", auto_mapping=mapping)
    package = run.parent / "a_module_of_its_own.py"
    package.write_text("raise SystemExit('code ran')")
    reseal(run)
    sys.path.insert(0, str(run.parent))
    try:
        assert predgen.load(run).labels
    finally:
        sys.path.remove(str(run.parent))
    assert "a_module_of_its_own" not in sys.modules


# The manifest


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("setup__target_std", "1"),
        ("setup__target_std", 0.0),
        ("setup__method", "os:system"),
        ("setup__method", "predictor"),
        ("setup__labels", {"low": 1}),
        ("setup__labels", ["low", "high", "third"]),
        ("setup__further", 1),
        ("codec", None),
        ("codec__name", "os:system"),
        ("codec__data__stop", -1),
        ("codec__data__stop", 1_000_000),
        ("codec__data__tokens", [[1], [999_999]]),
        ("codec__data__tokens", [[[[1]]], [2]]),
        ("task__kind", "poetry"),
        ("task__prompt", 5),
        ("task__prompt", "{text"),
        ("task__metrics", "accuracy"),
        ("task__metrics", ["os:system"]),
        ("task__extract", ["os:system"]),
        ("task__files", {"test": [{"paths": ["../../secret.csv"], "reader": "csv"}]}),
        ("task__files", {"test": [{"paths": ["/etc/passwd"], "reader": "csv"}]}),
        ("config__peft", ["lora"]),
        ("config__peft", "os:system"),
        ("config__dtype", "int8"),
        ("config__rank", "two"),
        ("config__further", 1),
        ("config", []),
        ("base__name", 7),
        ("base__name", "x" * 100_000),
        ("base__fingerprint", "0"),
        ("base__needs_remote_code", "yes"),
        ("max_length", 0),
        ("max_length", 2**70),
        ("max_length", "512"),
        ("report", []),
        ("report__validation", {"accuracy": "good"}),
        ("setup__settings__max_tree_nodes", 2**40),
        ("setup__settings__director", "os:system"),
        ("setup__settings__loss", "sum"),
        ("setup__settings__further", 1),
        ("setup__settings", []),
        ("versions", {"torch": 2}),
        ("digests", {"../x": "0"}),
        ("digests", None),
        ("format_version", "2"),
        ("format_version", True),
        ("further", {}),
    ],
)
def test_manifest_of_other_values_is_refused(copy: Callable[[str], Path], field: str, value: object) -> None:
    run = copy("lora")
    edit_json(run / "predgen.json", **{field: value})
    if not field.startswith(("digests", "format")):
        reseal(run)
    with pytest.raises(PredgenError, match=r"predgen\.json"):
        predgen.load(run)


@pytest.mark.parametrize("name", ["trained-rows.json"])
@pytest.mark.parametrize("content", ["{}", "[1]", '["0123"]', "[" * 5000, '["' + "g" * 16 + '"]'])
def test_trained_rows_are_digests(copy: Callable[[str], Path], name: str, content: str) -> None:
    run = copy("lora")
    (run / name).write_text(content, encoding="utf-8")
    reseal(run)
    with pytest.raises(SavedModelError, match=r"trained-rows\.json"):
        predgen.load(run)


# What a folder says of the machine it was made on


def texts(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.suffix in (".json", ".md", ".jinja", ".yaml")
    }


@pytest.fixture
def hub(base: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A hub id, whose files lie in this machine's cache."""
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **kwargs: str(base))
    return "someone/tiny"


@pytest.mark.parametrize("peft", ["lora", "rocoft", "full"])
def test_saved_and_merged_folders_name_the_hub_id_and_not_this_machine(
    base: Path, hub: str, tmp_path: Path, peft: str
) -> None:
    trained = tiny_run(
        Path(hub), "classification", tiny_data("classification", 4), tmp_path / "run", **TRAINED, peft=peft
    )
    trained.merge(tmp_path / "merged")
    for folder in (tmp_path / "run", tmp_path / "merged"):
        held = {name: text for name, text in texts(folder).items() if name != "config.yaml"}
        assert held
        assert [name for name, text in held.items() if str(base.parent) in text] == []
    if peft != "full":
        adapter = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
        assert adapter["base_model_name_or_path"] == hub
    again = predgen.load(tmp_path / "run")
    again.save(tmp_path / "again")
    assert [name for name, text in texts(tmp_path / "again").items() if str(base.parent) in text] == []


def test_published_folder_names_no_folder_of_this_machine(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = tiny_run(base, "classification", tiny_data("classification", 4), **TRAINED)
    uploaded: dict[str, str] = {}

    class Api:
        def create_repo(self, *args: Any, **kwargs: Any) -> str:
            return "https://hub/me/model"

        def upload_folder(self, *, folder_path: str, **kwargs: Any) -> None:
            uploaded.update(texts(Path(folder_path)))

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    assert trained.push_to_hub("me/model") == "https://hub/me/model"
    assert "predgen.json" in uploaded
    assert [name for name, text in uploaded.items() if str(base.parent) in text] == []
    assert json.loads(uploaded["predgen.json"])["base"]["name"] == base.name
