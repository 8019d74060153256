"""A saved model: reading it back changes nothing, and what is missing, damaged or of another base is said."""

import dataclasses
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import predgen
from predgen import registries
from predgen.core import Decoding, Prediction
from predgen.data.collate import collate
from predgen.errors import ConfigError, ModelError, SavedModelError, StorageError
from predgen.escaping import for_markdown
from predgen.figures import number
from predgen.inference.trained import TrainedModel
from predgen.metrics.measure import measure
from predgen.saved import exchange, saving
from tiny_runs import tiny_base, tiny_data, tiny_run

METHODS = ("predictor", "generator", "predgen")
PEFTS = tuple(registries.peft_methods)
FAMILIES = ("gpt2", "gpt_neox", "qwen3", "gemma3")
MATRIX = [("llama", m, p) for m in METHODS for p in PEFTS if (m, p) != ("generator", "none")]
MATRIX += [(family, "predgen", "lora") for family in FAMILIES]
# Each method, each adapter and each architecture once by default; the rest of the matrix is slow.
QUICK = [c for c in MATRIX if c[1] == "predgen" or c[2] == "lora" or c[1:] == ("predictor", "full")]
CASES = [
    pytest.param(
        *case,
        kind,
        marks=[] if case in QUICK and (kind == "classification" or case[2] == "adalora") else pytest.mark.slow,
    )
    for kind in ("classification", "regression")
    for case in MATRIX
]
Made = Callable[[str, str, str, str], tuple[TrainedModel, Path]]
ALLOWED = {".safetensors", ".json", ".jsonl", ".md", ".yaml", ".jinja"}
TRAINED: dict[str, Any] = {"learning_rate": 0.05, "optimizer": "adamw", "warmup_ratio": 0.0}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: tiny_base(tmp_path_factory.mktemp("base") / family, family) for family in ("llama", *FAMILIES)}


@pytest.fixture(scope="module")
def run(bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished PredGen run on classes, never changed."""
    out = tmp_path_factory.mktemp("run") / "run"
    tiny_run(bases["llama"], "classification", tiny_data("classification", 8, 6), out, max_steps=2, **TRAINED)
    return out


@pytest.fixture(scope="module")
def other(bases: dict[str, Path]) -> TrainedModel:
    """A model with the same files and other weights."""
    return train_two_steps(bases["llama"], "classification", seed=1)


@pytest.fixture(scope="module")
def made(bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Models of a family, method, PEFT method and kind, with their folders; each is trained once, and never changed."""

    @functools.cache
    def make(family: str, method: str, peft: str, kind: str) -> tuple[TrainedModel, Path]:
        out = tmp_path_factory.mktemp("made") / "run"
        return train_two_steps(bases[family], kind, out, method=method, peft=peft), out

    return make


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be damaged."""
    return Path(shutil.copytree(run, tmp_path / "run"))


def train_two_steps(base: Path, kind: str, out: Path | None = None, **settings: Any) -> TrainedModel:
    return tiny_run(base, kind, tiny_data(kind, 8), out, max_steps=2, **{**TRAINED, **settings})


def predictions(trained: TrainedModel, kind: str = "classification") -> list[Prediction]:
    """Predictions of rows that were not trained on, of different lengths."""
    found = trained.predict_examples(tiny_data(kind, 2, 5).validation, batch_size=3)
    assert len(found) == 5
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads((folder / "predgen.json").read_text(encoding="utf-8"))
    change(data)
    (folder / "predgen.json").write_text(json.dumps(data), encoding="utf-8")


# Round trips


@pytest.mark.parametrize(("family", "method", "peft", "kind"), CASES)
def test_loaded_model_predicts_the_same_to_the_bit(
    made: Made, tmp_path: Path, family: str, method: str, peft: str, kind: str
) -> None:
    trained, folder = made(family, method, peft, kind)
    loaded = predgen.load(folder)
    expected = predictions(trained, kind)
    assert predictions(loaded, kind) == expected
    assert not loaded.model.training
    assert loaded.report == trained.report
    assert (loaded.config, loaded.task, loaded.labels) == (trained.config, trained.task, trained.labels)
    head = loaded.model.head_state()
    assert bool(head) == (method != "generator")
    assert {weight.dtype for weight in head.values()} <= {torch.float32}
    assert {Path(name).suffix for name in files_of(folder)} <= ALLOWED
    loaded.save(tmp_path / "again")
    assert predictions(predgen.load(tmp_path / "again"), kind) == expected


def test_rank_that_an_older_version_stored_for_every_peft_method_is_left_out(made: Made, tmp_path: Path) -> None:
    trained, folder = made("llama", "predgen", "none", "classification")
    shutil.copytree(folder, tmp_path / "run")
    edit_manifest(tmp_path / "run", lambda data: data["config"].update(rank=8, alpha=16.0))
    loaded = predgen.load(tmp_path / "run")
    assert loaded.config == trained.config
    assert predictions(loaded) == predictions(trained)


def test_numbers_used_are_recorded_and_another_method_brings_its_own(bases: dict[str, Path], tmp_path: Path) -> None:
    train_two_steps(bases["llama"], "classification", tmp_path / "run", peft="lora", rank=None, alpha=None)
    recorded = json.loads((tmp_path / "run" / "predgen.json").read_text(encoding="utf-8"))["config"]
    adapter = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (recorded["rank"], recorded["alpha"]) == (adapter["r"], adapter["lora_alpha"]) == (8, 16.0)
    config = predgen.load(tmp_path / "run").config
    assert config.to_dict() == {**recorded, "trust_remote_code": False}
    melora = dataclasses.replace(config, peft="melora").peft_settings()
    assert melora == {"adapt_layers": None, "rank": 1, "alpha": 16.0, "melora_blocks": 8}


def test_training_changed_what_is_compared(bases: dict[str, Path], made: Made) -> None:
    untrained = train_two_steps(bases["llama"], "classification", learning_rate=0.0)
    assert predictions(untrained) != predictions(made("llama", "predgen", "lora", "classification")[0])


def test_tuner_that_peft_does_not_have_loads_in_a_new_process(made: Made) -> None:
    trained, folder = made("llama", "predgen", "rocoft", "classification")
    row = tiny_data("classification", 2, 1).validation[0]
    script = f"import predgen\nprint(repr(predgen.load({str(folder)!r}).predict([{dict(row.fields)!r}])))"
    environment = {**os.environ, "PYTHONPATH": str(Path(predgen.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == repr(trained.predict([row.fields]))


@pytest.mark.parametrize("peft", ["lora", "adalora"])  # all others: as above; "none" is refused by name
def test_headless_director_round_trips_without_a_head_file(bases: dict[str, Path], tmp_path: Path, peft: str) -> None:
    trained = train_two_steps(bases["llama"], "regression", tmp_path / "run", director="ordered", peft=peft)
    assert not (tmp_path / "run" / "head.safetensors").exists()
    assert predictions(predgen.load(tmp_path / "run"), "regression") == predictions(trained, "regression")


def test_parameters_of_the_loss_are_saved(bases: dict[str, Path], tmp_path: Path) -> None:
    trained = train_two_steps(bases["llama"], "classification", tmp_path / "run", loss="adaptive")
    weights = load_file(str(tmp_path / "run" / "head.safetensors"))["joint.log_variances"]
    assert bool(weights.abs().max() > 0)
    assert torch.equal(predgen.load(tmp_path / "run").model.head_state()["joint.log_variances"], weights)
    assert torch.equal(trained.model.head_state()["joint.log_variances"], weights)


def test_pruned_adalora_of_an_earlier_best_checkpoint_round_trips(
    bases: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [0.1, 0.9, 0.2, 0.3]

    def pretend(*args: Any, **own: Any) -> dict[str, float]:
        measured = measure(*args, **own)
        return {**measured, "accuracy": scores.pop(0)} if scores else measured

    monkeypatch.setattr("predgen.training.looks.measure", pretend)
    settings = {**TRAINED, "peft": "adalora", "rank": 2, "epochs": 4, "batch_size": 2}
    trained = tiny_run(
        bases["llama"], "classification", tiny_data("classification", 8, 6), tmp_path / "run", **settings
    )
    assert (trained.report["best_step"], trained.report["optimizer_steps"]) == (8, 16)
    pattern = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))[
        "rank_pattern"
    ]
    pruned = sum(not kept for ranks in pattern.values() for kept in ranks)
    assert pruned > 0
    assert predictions(predgen.load(tmp_path / "run")) == predictions(trained)


@pytest.mark.parametrize(
    "peft",
    [
        "lora",
        "adalora",
        "rocoft",
        *(
            pytest.param(p, marks=pytest.mark.slow)
            for p in ("dora", "lora_fa", "melora", "moslora", "propulsion", "full")
        ),
    ],
)
def test_bfloat16_base_round_trips(bases: dict[str, Path], tmp_path: Path, peft: str) -> None:
    settings = {"dtype": "bfloat16", "peft": peft, "max_steps": 8}
    trained = tiny_run(
        bases["llama"], "classification", tiny_data("classification", 8), tmp_path / "run", **{**TRAINED, **settings}
    )
    loaded = predgen.load(tmp_path / "run")
    assert loaded.base.lm.get_input_embeddings().weight.dtype is torch.bfloat16
    assert {weight.dtype for weight in loaded.model.head_state().values()} == {torch.float32}
    assert predictions(loaded) == predictions(trained)


def test_embedded_base_round_trips(tmp_path: Path) -> None:
    data = tiny_data("classification", 4)
    trained = tiny_run(Path("embedded"), "classification", data, tmp_path / "run", max_steps=1, **TRAINED)
    assert predictions(predgen.load(tmp_path / "run")) == predictions(trained)


# The base model


def test_moved_base_is_found_by_its_new_place(bases: dict[str, Path], tmp_path: Path) -> None:
    base = Path(shutil.copytree(bases["llama"], tmp_path / "old"))
    trained = train_two_steps(base, "classification", tmp_path / "run")
    expected = predictions(trained)
    base.rename(tmp_path / "new")
    with pytest.raises(ModelError, match=r"needs its base model: .*old.* does not exist.* Or give its place as `base`"):
        predgen.load(tmp_path / "run")
    assert predictions(predgen.load(tmp_path / "run", base=str(tmp_path / "new"))) == expected


def test_run_folder_can_be_moved(copy: Path, run: Path) -> None:
    assert predictions(predgen.load(copy)) == predictions(predgen.load(run))


@pytest.mark.parametrize("changed", ["weights", "config.json", "tokenizer.json"])
def test_another_base_is_refused(bases: dict[str, Path], run: Path, tmp_path: Path, changed: str) -> None:
    base = Path(shutil.copytree(bases["llama"], tmp_path / "base"))
    if changed == "weights":
        state = load_file(str(base / "model.safetensors"))
        state["lm_head.weight"][0, 0] += 1e-3
        save_file(state, str(base / "model.safetensors"), metadata={"format": "pt"})
    else:
        text = (base / changed).read_text(encoding="utf-8")
        (base / changed).write_text(text + " ", encoding="utf-8")
    with pytest.raises(SavedModelError, match=r"was trained on another base model .*tokenizer or weights differ"):
        predgen.load(run, base=str(base))


def test_full_fine_tuning_carries_its_base_along(bases: dict[str, Path], tmp_path: Path) -> None:
    base = Path(shutil.copytree(bases["llama"], tmp_path / "base"))
    trained = train_two_steps(base, "classification", tmp_path / "run", peft="full")
    expected = predictions(trained)
    shutil.rmtree(base)
    assert predictions(predgen.load(tmp_path / "run")) == expected


def test_pickled_base_is_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    base = Path(shutil.copytree(bases["llama"], tmp_path / "base"))
    torch.save(load_file(str(base / "model.safetensors")), base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no \.safetensors weights\. Pickled weights are refused"):
        train_two_steps(base, "classification")


def test_code_of_a_base_does_not_run_unless_asked_for(bases: dict[str, Path], tmp_path: Path) -> None:
    base = Path(shutil.copytree(bases["llama"], tmp_path / "base"))
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "of_my_own", "auto_map": {"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.Mine"}}
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (base / "mine.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n", encoding="utf-8"
    )
    with pytest.raises(ModelError, match="trust_remote_code"):
        train_two_steps(base, "classification")
    assert not (tmp_path / "ran").exists()


# Damage


@pytest.mark.parametrize(
    "name", ["head.safetensors", "adapter/adapter_model.safetensors", "adapter/adapter_config.json", "predgen.json"]
)
@pytest.mark.parametrize("how", ["cut", "missing", "garbage"])
def test_damaged_file_is_said_by_folder(copy: Path, name: str, how: str) -> None:
    path = copy / name
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if how == "cut" else b"\xff\x00garbage")
    with pytest.raises(SavedModelError, match=re.escape(str(copy))) as error:
        predgen.load(copy)
    assert re.search(r"damaged|holds no saved model|incomplete", str(error.value))


@pytest.mark.parametrize("part", ["setup", "codec", "task", "config", "base", "report", "max_length", "format_version"])
def test_manifest_without_a_part_is_said(copy: Path, part: str) -> None:
    edit_manifest(copy, lambda data: data.pop(part))
    with pytest.raises(SavedModelError, match=f"incomplete or damaged: .*{part}|is damaged: .*{part}"):
        predgen.load(copy)


def test_newer_format_is_refused_by_number(copy: Path) -> None:
    edit_manifest(copy, lambda data: data.update(format_version=3))
    with pytest.raises(SavedModelError, match=r"has format version 3, but predgen .* reads versions 1 and 2"):
        predgen.load(copy)


def test_head_of_another_model_is_refused(made: Made, copy: Path) -> None:
    _, other = made("llama", "predictor", "lora", "classification")
    shutil.copy(other / "head.safetensors", copy / "head.safetensors")
    with pytest.raises(SavedModelError, match=r"head\.safetensors is changed"):
        predgen.load(copy)
    digest = hashlib.sha256((copy / "head.safetensors").read_bytes()).hexdigest()
    edit_manifest(copy, lambda data: data["digests"].update({"head.safetensors": digest}))
    with pytest.raises(SavedModelError, match=r"head weights .* do not fit this model"):
        predgen.load(copy)


def test_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SavedModelError, match=r"holds no saved model: there is no predgen\.json"):
        predgen.load(tmp_path)


# Writing


def failing(*args: object, **kwargs: object) -> None:
    raise RuntimeError("disk is gone")


@pytest.mark.parametrize("where", ["_write_parts", "model_card", "fingerprint", "manifest"])
def test_failure_while_files_are_written_leaves_the_old_model(
    other: TrainedModel, copy: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    before = files_of(copy)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="disk is gone"):
        patch.setattr(saving, where, failing)
        other.save(copy)
    assert files_of(copy) == before


@pytest.mark.parametrize("calls", range(1, 12))  # five old files go aside, their folder is renamed, five new ones come
def test_failure_while_files_are_moved_leaves_no_mixture(
    other: TrainedModel, copy: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    replace, left = os.replace, [calls]

    def sometimes(*args: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError("disk is gone")
        replace(*args)

    before = predictions(predgen.load(copy))
    assert predictions(other) != before
    with (
        monkeypatch.context() as patch,
        pytest.raises(StorageError, match="disk is gone"),
    ):
        patch.setattr(exchange.os, "replace", sometimes)
        other.save(copy)
    assert predictions(predgen.load(copy)) == before
    assert [path.name for path in copy.iterdir() if path.name.startswith(".")] == []


def test_saving_over_a_model_of_another_shape_leaves_none_of_its_files(bases: dict[str, Path], copy: Path) -> None:
    other = train_two_steps(bases["llama"], "classification", method="generator", peft="full")
    other.save(copy)
    assert not (copy / "adapter").exists()
    assert not (copy / "head.safetensors").exists()
    assert predictions(predgen.load(copy)) == predictions(other)


def test_folder_that_cannot_be_written_is_said(run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"below' cannot be written: Not a directory"):
        predgen.load(run).save(tmp_path / "file" / "below")


# Merged models, the hub, the card


@pytest.mark.parametrize(
    ("family", "peft"), [*(("llama", peft) for peft in PEFTS), *((family, "lora") for family in FAMILIES)]
)
def test_merged_model_is_a_plain_one_with_the_same_logits(
    bases: dict[str, Path], made: Made, tmp_path: Path, family: str, peft: str
) -> None:
    trained, _ = made(family, "predgen", peft, "classification")
    before = predictions(trained)
    folder = trained.merge(tmp_path / "merged")
    plain = AutoModelForCausalLM.from_pretrained(folder)
    assert type(plain).__name__ == type(trained.model.backbone.lm).__name__
    assert not any("lora" in name for name, _ in plain.named_parameters())
    assert len(AutoTokenizer.from_pretrained(folder)) == len(trained.base.tokenizer)
    rows = [trained.encoder.encode(e) for e in tiny_data("classification", 6).train]
    batch = collate(rows, trained.pad_id)
    ids, mask = batch.prompt_ids, batch.prompt_mask.long()
    with torch.no_grad():
        adapted = trained.model.lm(input_ids=ids, attention_mask=mask).logits
        difference = (plain(input_ids=ids, attention_mask=mask).logits - adapted)[mask.bool()].abs().max()
        base = AutoModelForCausalLM.from_pretrained(bases[family])
        moved = (base(input_ids=ids, attention_mask=mask).logits - adapted)[mask.bool()].abs().max()
    assert float(difference) <= 1e-5 * max(1.0, float(adapted.abs().max()))
    assert bool(moved > 1e-3) == (peft != "none")  # guard: there was something to merge
    assert predictions(trained) == before  # merging works on a copy
    assert {Path(name).suffix for name in files_of(folder)} <= ALLOWED


class FakeApi:
    """Stands for `huggingface_hub.HfApi`; remembers what would be uploaded."""

    calls: dict[str, Any]

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> str:
        FakeApi.calls = {"repo_id": repo_id, "private": private}
        return f"https://hub.invalid/{repo_id}"

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
        FakeApi.calls |= {"uploaded_to": repo_id, "files": files_of(Path(folder_path))}


@pytest.mark.parametrize("private", [True, False])
def test_hub_gets_the_files_of_the_saved_model(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private: bool
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", FakeApi)
    trained = predgen.load(run)
    trained.save(tmp_path / "saved")
    options = {} if private else {"private": False}
    assert trained.push_to_hub("me/mine", **options) == "https://hub.invalid/me/mine"
    assert (FakeApi.calls["repo_id"], FakeApi.calls["uploaded_to"]) == ("me/mine", "me/mine")
    assert FakeApi.calls["private"] is private
    saved_files, uploaded = files_of(tmp_path / "saved"), FakeApi.calls["files"]
    assert uploaded.keys() == saved_files.keys()
    named = {
        "predgen.json",
        "README.md",
        "adapter/adapter_config.json",
    }  # these name the base's folder: test_saved_files.py
    assert {name for name in saved_files if uploaded[name] != saved_files[name]} == named
    assert "adapter/adapter_model.safetensors" in uploaded


def test_card_shows_prompt_metrics_base_and_method(run: Path) -> None:
    card = (run / "README.md").read_text(encoding="utf-8")
    trained = predgen.load(run)
    assert f"\n{trained.task.prompt}\n" in card
    assert set(trained.report["validation"]) == {"accuracy", "macro_f1", "log_loss"}
    for name, value in trained.report["validation"].items():
        assert f"| {name} | {number(value, 4)} |" in card
    assert "one of: high, low" in card
    assert "| fine-tuning | lora |" in card
    assert (
        "predgen, max_tree_nodes 256, head_norm none, reduction example, director linear, loss wdal_shifted,"
        " sampling mode token" in card
    )
    assert f"| base model | {for_markdown(trained.base.name)} |" in card


def test_manifest_records_versions_and_settings(run: Path) -> None:
    data = json.loads((run / "predgen.json").read_text(encoding="utf-8"))
    assert data["predgen_version"] == predgen.__version__
    assert (
        data["versions"]["torch"] == torch.__version__.split("+")[0] or data["versions"]["torch"] == torch.__version__
    )
    assert data["config"]["rank"] == 2
    assert data["report"]["optimizer_steps"] == 2


def test_free_decoding_needs_a_generator(run: Path) -> None:
    trained = predgen.load(run)
    with pytest.raises(ConfigError, match="reads what a generator wrote, but this is a predgen model"):
        trained.predict_examples(tiny_data("classification", 2).train, decoding=Decoding("free"))


# Settings of the tree pass


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("regression", {"director": "expected", "decimals": 1}),
        ("regression", {"decimals": 3, "max_tree_nodes": 7, "eval_batch_tokens": 90}),
        ("regression", {"sampling": "marginal", "decimals": 1, "eval_batch_size": 3}),
        ("classification", {"sampling": "marginal"}),
        ("math", {"sampling": "parallel", "sampling_passes": 3}),
    ],
    ids=str,
)
def test_settings_of_the_tree_pass_round_trip(
    bases: dict[str, Path], tmp_path: Path, kind: str, settings: dict[str, Any]
) -> None:
    trained = train_two_steps(bases["llama"], kind, tmp_path / "run", **settings)
    loaded = predgen.load(tmp_path / "run")
    assert loaded.model.setup == trained.model.setup
    for name, value in settings.items():
        assert getattr(loaded.config, name) == value
    assert loaded.model.setup.settings["max_tree_nodes"] == settings.get("max_tree_nodes", 256)
    assert loaded.model.setup.settings.get("sampling_passes") == settings.get("sampling_passes")
    assert loaded.model.engine == trained.model.engine == loaded.report["engine"]
    assert predictions(loaded, kind) == predictions(trained, kind)
    if kind == "regression":
        rows = tiny_data(kind, 2, 5).validation
        asked = Decoding("mean", distribution=True, max_unexpanded=0.1)
        for ours, wanted in zip(
            loaded.predict_examples(rows, decoding=asked), trained.predict_examples(rows, decoding=asked), strict=True
        ):
            assert ours.value == wanted.value
            assert ours.distribution.support.tolist() == wanted.distribution.support.tolist()
            assert ours.distribution.probabilities.tolist() == wanted.distribution.probabilities.tolist()


# What the first version wrote into every setup, and into every configuration, whatever the method.
FLAT = {
    "pooling": "last",
    "ordered_last_weight": 2.0,
    "director": "linear",
    "loss": "wdal_shifted",
    "sampling": "token",
}


@pytest.mark.parametrize("further", [{"max_tree_nodes": 64, "sampling_passes": 5}, {}])
def test_model_with_the_settings_of_all_components_loads(run: Path, copy: Path, further: dict[str, int]) -> None:
    def flatten(data: dict[str, Any]) -> None:
        known = data["setup"].pop("settings")
        assert {name: known[name] for name in ("director", "loss", "sampling")}.items() <= FLAT.items()
        data["setup"] |= FLAT | further
        data["config"] |= {
            **FLAT,
            "director": None,
            "max_tree_nodes": 256,
            "sampling_passes": 2,
            "melora_blocks": None,
        } | further

    edit_manifest(copy, flatten)
    loaded = predgen.load(copy)
    assert loaded.model.setup.settings["max_tree_nodes"] == further.get("max_tree_nodes", 256)
    assert "pooling" not in loaded.config.to_dict()
    assert predictions(loaded) == predictions(predgen.load(run))


def test_model_saved_before_the_tree_pass_loads_with_its_defaults(run: Path, copy: Path) -> None:
    def forget(data: dict[str, Any]) -> None:
        data["setup"] |= FLAT
        del data["setup"]["settings"], data["config"]["max_tree_nodes"]
        del data["config"]["eval_batch_tokens"], data["report"]["engine"]
        data["config"]["eval_batch_size"] = 32  # a setting that always had a value

    edit_manifest(copy, forget)
    loaded, now = predgen.load(copy), predgen.load(run)
    assert (loaded.model.max_tree_nodes, loaded.config.eval_batch_tokens) == (256, 4096)
    assert loaded.config.eval_batch_size == 32
    assert loaded.model.engine == "tree pass"
    assert predictions(loaded) == predictions(now)


@pytest.mark.parametrize("part", ["setup", "config"])
def test_model_of_a_newer_predgen_is_refused_not_guessed(copy: Path, part: str) -> None:
    edit_manifest(copy, lambda data: data[part].update(max_forest_nodes=9))
    with pytest.raises((SavedModelError, ConfigError), match="max_forest_nodes"):
        predgen.load(copy)


@pytest.mark.parametrize(
    "peft", [n for n in registries.peft_methods if registries.peft_methods.get(n).trains == "adapter"]
)
def test_a_merged_adapter_predicts_the_same_up_to_rounding(made: Made, peft: str) -> None:
    trained, folder = made("llama", "predgen", peft, "classification")
    rows = [{"text": e.fields["text"]} for e in tiny_data("classification").train]
    apart = trained.predict(rows)
    merged = predgen.load(folder, merge_adapter=True)
    weights = [m for m in merged.model.lm.modules() if getattr(m, "merged_adapters", None)]
    assert weights, "something is merged"
    assert [p.value for p in merged.predict(rows)] == [p.value for p in apart]
    for ours, theirs in zip(merged.predict(rows), apart, strict=True):
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-4)
