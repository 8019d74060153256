"""The documentation is true: its code runs, its commands parse, its links resolve, its tables are up to date."""

import ast
import importlib
import importlib.util
import json
import pkgutil
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

import predgen
from predgen import registries
from predgen.asking.learning import decisions_config
from predgen.config import all_settings, config_from
from predgen.lookup import Registry

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
REFERENCE = sorted((ROOT / "docs").glob("*.rst"))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))

_FENCE = re.compile(
    r"(?:^<!-- (?P<mark>not run|file): (?P<what>.+?) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    A comment right above says how it differs from code to run: `<!-- not run: reason -->`, or `<!-- file: NAME -->` for
    the content of a file that later blocks import.
    """

    page: Path
    line: int
    kind: str
    text: str
    mark: str | None
    what: str | None


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, m.start("text")) + 1, m["kind"], m["text"], m["mark"], m["what"])
        for m in _FENCE.finditer(text)
    ]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shallow_embedded: Path) -> Iterator[Path]:
    """An empty working folder that can be imported from; afterwards registries and modules are as they were."""
    everything = [value for value in vars(registries).values() if isinstance(value, Registry)]
    inside = [[dict(d) for d in (r._targets, r._summaries, r._aliases)] for r in everything]
    modules = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for registry, kept in zip(everything, inside, strict=True):
        registry._targets, registry._summaries, registry._aliases = kept
    for name in set(sys.modules) - modules:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(tmp_path):
            del sys.modules[name]


def test_pages_hold_code_and_commands() -> None:
    run = [b for b in BLOCKS if b.kind == "python" and b.mark != "not run"]
    assert len(run) >= 10
    assert {b.page.name for b in run} >= {"README.md", "extending.md", "losses.md", "saved_model.md"}
    assert len(list(commands())) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_runs(page: Path, bench: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.kind != "python" or block.mark == "not run":
            continue
        if block.mark == "file":
            (bench / str(block.what)).write_text(block.text, encoding="utf-8")
            importlib.invalidate_caches()
            continue
        # Blank lines in front, so that a traceback shows the page's own line numbers.
        exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), namespace)


def test_blocks_that_are_not_run_say_why() -> None:
    skipped = [b for b in BLOCKS if b.kind == "python" and b.mark == "not run"]
    for block in skipped:
        print(f"{block.page.name}:{block.line} not run: {block.what}")  # pytest -rP shows this list
    assert all(b.what and len(b.what) > 10 for b in skipped)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_runs(path: Path, bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip(), "an example shows its result"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_runs(path: Path, bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTEBOOK_BASE", "embedded")
    monkeypatch.setenv("NOTEBOOK_ROWS", "16")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(code_cells(path)):
        # A magic would not compile: what runs here runs in a notebook.
        exec(compile(cell, f"{path.name}, code cell {number}", "exec"), namespace)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_keeps_no_output(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert [cell["id"] for cell in cells if cell["outputs"] or cell["execution_count"] is not None] == []


def code_cells(path: Path) -> list[str]:
    """Code of a notebook, cell by cell."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def commands() -> Iterator[tuple[Block, list[str]]]:
    """Yield every `predgen ...` command of the pages, as words."""
    for block in BLOCKS:
        if block.kind not in ("bash", "console", "sh"):
            continue
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words and words[0].rpartition("/")[2] == "predgen":
                yield block, words[1:]


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """Parse a command line without running it; return the command and its parameters."""
    from predgen.cli.main import app

    group: Any = typer.main.get_command(app)
    with group.make_context("predgen", list(words), resilient_parsing=False) as context:
        name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        with command.make_context(name, rest, parent=context) as inner:
            return str(name), dict(inner.params)


@pytest.mark.parametrize(
    ("block", "words"),
    list(commands()),
    ids=lambda value: " ".join(value) if isinstance(value, list) else value.page.name,
)
def test_command_parses(block: Block, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("predgen.cli.options.import_modules", lambda names: None)  # nothing is run
    name, parameters = parsed(words)
    known = all_settings()
    if name in ("train", "validate") and parameters.get("config") is None:
        given = {key: value for key, value in parameters.items() if key in known and value not in (None, ())}
        (config_from if parameters.get("cases") is None else decisions_config)(given)


@pytest.mark.parametrize("words", [["train", "--lernrate", "1"], ["trian"], ["predict", "RUN"]], ids=" ".join)
def test_command_check_sees_mistakes(words: list[str]) -> None:
    with pytest.raises(Exception, match=r"No such (option|command)|Missing (option|argument|parameter)"):
        parsed(words)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    used = {t for b in BLOCKS if b.kind in ("bash", "console") for t in re.findall(r"^\$? ?make (\w+)", b.text, re.M)}
    assert used <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_resolve(page: Path) -> None:
    targets = [t for t in _LINK.findall(page.read_text(encoding="utf-8")) if not re.match(r"[a-z]+:", t)]
    missing = [t for t in targets if not t.startswith("#") and not (page.parent / t.partition("#")[0]).exists()]
    assert missing == []
    for target in targets:
        path, _, anchor = target.partition("#")
        if anchor:
            text = ((page.parent / path) if path else page).read_text(encoding="utf-8")
            assert anchor in anchors_of(text), target


def anchors_of(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_navigation_of_the_site_has_every_page_once() -> None:
    tree = ast.parse((ROOT / "docs" / "site" / "conf.py").read_text(encoding="utf-8"))
    (found,) = [n.value for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "NAVIGATION"]
    listed = [page for pages in ast.literal_eval(found).values() for page in pages]
    there = [*ROOT.glob("*.md"), *PAGES[1:], *REFERENCE, *NOTEBOOKS]
    assert sorted(listed) == sorted(str(p.relative_to(ROOT).with_suffix("")) for p in there if p.name != "README.md")


def test_reference_shows_all_that_is_public() -> None:
    shown = [
        name for page in REFERENCE for name in re.findall(r"^ *\.\. auto\w+:: (\S+)", page.read_text("utf-8"), re.M)
    ]
    for name in shown:
        assert pkgutil.resolve_name(name).__doc__, name
    assert {f"predgen.{name}" for name in predgen.__all__} - {
        *shown,
        "predgen.__version__",
        "predgen.RunConfig",
    } == set()


@pytest.fixture
def make_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "tools" / "make_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_tables_are_up_to_date(make_docs: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert make_docs.main(["--check"]) == 0, capsys.readouterr().err


def test_every_table_is_used(make_docs: ModuleType) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert set(re.findall(r"<!-- generated:(\w+) -->", text)) == set(make_docs.TABLES)


def test_check_sees_a_stale_table_and_a_run_repairs_it(make_docs: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- generated:losses -->\nold\n<!-- end -->\nafter\n", encoding="utf-8")
    arguments = ["--docs", str(tmp_path)]
    assert make_docs.main([*arguments, "--check"]) == 1
    assert "old" in page.read_text(encoding="utf-8")
    assert make_docs.main(arguments) == 0
    text = page.read_text(encoding="utf-8")
    assert "old" not in text
    assert "`wdal`, `multiplicative`" in text
    assert text.startswith("before\n")
    assert text.endswith("<!-- end -->\nafter\n")
    assert make_docs.main([*arguments, "--check"]) == 0


def test_unknown_table_is_refused(make_docs: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("<!-- generated:lozzes -->\n<!-- end -->\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="known: architectures, baselines, bases, codecs"):
        make_docs.main(["--docs", str(tmp_path)])


def test_cells_escape_bars(make_docs: ModuleType) -> None:
    assert make_docs.table(["a"], [["P(a|X)"]]) == "| a |\n| --- |\n| P(a\\|X) |\n"
