"""How the package is built: who imports whom, what importing costs, sizes, docstrings, shipped files."""

import ast
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import predgen

PACKAGE = Path(predgen.__file__).parent
ROOT = PACKAGE.parent.parent
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 500

LEVELS = [
    {
        "__init__",
        "components",
        "core",
        "distribution",
        "errors",
        "escaping",
        "figures",
        "lookup",
        "near_names",
        "registries",
        "config",
        "plain_data",
        "precision",
        "files",
        "progress",
        "ranks",
        "settings",
        "target_scale",
        "targets",
        "terminal",
        "threads",
    },
    {"bases", "codecs", "decodings", "tasks", "metrics", "paper", "records", "weights"},
    {"data", "embeddings", "losses", "engine", "peft_methods", "uncertainty"},
    {"directors", "questions"},
    {"sampling"},
    {"models"},
    {"saved"},
    {"inference"},
    {"training"},
    {"asking"},
    {"baselines", "batch", "estimators", "evaluation", "explanation", "exporting"},
    {"analysis", "compare", "findings", "target_evaluation"},
    {"report"},
    {"demo", "serving"},
    {"cli"},
    {"__main__"},
]
LEVEL_OF = {unit: level for level, units in enumerate(LEVELS) for unit in units}


def module_name(path: Path) -> str:
    """Dotted name of a file of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def unit_of(module: str) -> str:
    """First name below predgen: the folder or file whose level counts. The package itself is "__init__"."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imported_modules(tree: ast.AST, module: str, is_package: bool = False) -> Iterator[str]:
    """Yield the modules of predgen that a file imports, at its top or inside functions.

    `from predgen import x` counts as the module x, or as the module behind the lazy export x.
    """
    exports: dict[str, str] = predgen._EXPORTS
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "predgen")
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: None if is_package and node.level == 1 else is_package - node.level]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            if base == "predgen":
                yield from (exports.get(alias.name, f"predgen.{alias.name}") for alias in node.names)
            elif base.startswith("predgen."):
                yield base


def forbidden_imports(source: str, module: str, is_package: bool = False) -> list[str]:
    """Return what a module imports from its own level or above, outside its own folder."""
    own, wrong = unit_of(module), []
    for imported in imported_modules(ast.parse(source), module, is_package):
        unit = unit_of(imported)
        if unit.startswith("__") and unit.endswith("__"):
            unit = "__init__"  # predgen.__version__ and the like
        is_below = LEVEL_OF[unit] < LEVEL_OF[own] or LEVEL_OF[own] == LEVEL_OF[unit] == 0
        if unit != own and not is_below:
            wrong.append(f"{module} (level {LEVEL_OF[own]}) imports {imported} (level {LEVEL_OF[unit]})")
    return wrong


def source_of(path: Path) -> str:
    """Text of a file of the package."""
    return path.read_text(encoding="utf-8")


def test_every_module_has_a_level() -> None:
    without = [module_name(path) for path in FILES if unit_of(module_name(path)) not in LEVEL_OF]
    assert without == [], "add the new folder or file to LEVELS and to CONTRIBUTING.md"


def test_imports_come_from_lower_levels_only() -> None:
    wrong = [forbidden_imports(source_of(path), module_name(path), path.name == "__init__.py") for path in FILES]
    assert [line for lines in wrong for line in lines] == []


@pytest.mark.parametrize(
    ("source", "module", "n_wrong"),
    [
        ("from predgen.engine.tree_pass import run", "predgen.codecs.trie", 1),
        ("from predgen.codecs.base import Codec", "predgen.codecs.trie", 0),
        ("from predgen.tasks import sst2", "predgen.codecs.trie", 1),
        ("def f():\n    import predgen.cli.main", "predgen.models.predgen", 1),
        ("from predgen import RunConfig, __version__, registries", "predgen.codecs.trie", 0),
        ("from predgen import train", "predgen.models.predgen", 1),
        ("from ..training import run", "predgen.models.predgen", 1),
        ("from .base import Method", "predgen.models.predgen", 0),
        ("from .predgen import PredGen", "predgen.models", 0),
    ],
)
def test_import_check_sees_what_it_should(source: str, module: str, n_wrong: int) -> None:
    assert len(forbidden_imports(source, module, is_package=module == "predgen.models")) == n_wrong


def import_graph() -> dict[str, set[str]]:
    """Module -> the modules of the package that it imports, at its top or inside functions."""
    graph: dict[str, set[str]] = {module_name(path): set() for path in FILES}
    for path in FILES:
        module, is_package = module_name(path), path.name == "__init__.py"
        tree = ast.parse(source_of(path))
        names = [
            f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        ]
        graph[module] = {*imported_modules(tree, module, is_package), *names} & graph.keys() - {module}
    return graph


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """Return modules that import each other in a circle; none where there is none."""
    left = {module: set(imports) for module, imports in graph.items()}
    while ready := [module for module, imports in left.items() if not imports & left.keys()]:
        for module in ready:
            del left[module]
    return sorted(left)  # what is left imports something that is left


def test_no_modules_import_each_other_in_a_circle_not_even_inside_functions() -> None:
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c"]
    assert circle_in(import_graph()) == []


def public_definitions(tree: ast.Module) -> Iterator[str]:
    """Yield the public names that a module defines at its top."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
        for target in targets:
            name = getattr(target, "name", getattr(target, "id", "_"))
            if not name.startswith("_"):
                yield name


def test_a_public_name_means_one_thing_and_no_module_is_named_like_pythons_own() -> None:
    places: dict[str, set[str]] = {}
    for path in FILES:
        for name in public_definitions(ast.parse(source_of(path))):
            places.setdefault(name, set()).add(module_name(path))
    assert len(places) > 3 * len(FILES), "the search finds no names any more"
    assert {name: sorted(where) for name, where in places.items() if len(where) > 1} == {}
    assert [module_name(path) for path in FILES if path.stem in sys.stdlib_module_names] == []


def test_files_are_short_and_say_what_they_hold() -> None:
    sources = {module_name(path): source_of(path) for path in FILES}
    long = [name for name, source in sources.items() if len(source.splitlines()) > MAX_LINES]
    assert long == [], "look for the second subject in these files"
    silent = [name for name, source in sources.items() if not ast.get_docstring(ast.parse(source))]
    assert silent == [], "a module starts with a docstring"
    # jaxtyping and beartype need the annotations themselves.
    assert [name for name, source in sources.items() if "from __future__ import annotations" in source] == []


def public_members(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Yield the public functions, classes and methods that a module defines."""
    for name, value in vars(module).items():
        is_own = getattr(value, "__module__", None) == module.__name__
        if name.startswith("_") or not is_own or not (inspect.isfunction(value) or inspect.isclass(value)):
            continue
        yield name, value
        for member in vars(value) if inspect.isclass(value) else ():
            attribute = getattr(value, member, None)
            if not member.startswith("_") and (inspect.isroutine(attribute) or isinstance(attribute, property)):
                yield f"{name}.{member}", attribute


def test_public_names_have_docstrings_their_own_or_inherited() -> None:
    modules = [module_name(path) for path in FILES if path.name != "__main__.py"]
    members = [(module, *member) for module in modules for member in public_members(importlib.import_module(module))]
    assert len(members) > 2 * len(modules), "the search finds no names any more"
    assert [f"{module}.{name}" for module, name, value in members if not inspect.getdoc(value)] == []


def test_all_modules_are_found_by_the_import_system() -> None:
    found = {info.name for info in pkgutil.walk_packages([str(PACKAGE)], "predgen.")} | {"predgen"}
    assert found == {module_name(path) for path in FILES}, "a folder lacks its __init__.py"


def test_users_text_reaches_a_terminal_through_one_door() -> None:
    direct = re.compile(
        r"(?<!\.)(rich\.console|rich\.markup|\bTextColumn\b|typer\.echo|\bprint\(|sys\.std(out|err)\.write)"
    )
    doors = {"predgen.terminal", "predgen.cli.say"}
    others = {module_name(path): source_of(path).splitlines() for path in FILES if module_name(path) not in doors}
    found = [
        (name, line) for name, lines in others.items() for line in lines if ">>>" not in line and direct.search(line)
    ]
    assert found == [], "print with `terminal.PlainConsole` or `cli.say.say`"


HEAVY = "[name for name in ('torch', 'transformers', 'peft', 'sklearn', 'pandas') if name in sys.modules]"
HELP = """
import sys
from predgen.cli.main import app
sys.argv = ['predgen', '--help']
try:
    app()
except SystemExit as end:
    assert not end.code, end.code
"""


@pytest.mark.parametrize("code", ["import sys, predgen; predgen.RunConfig", HELP], ids=["import", "help"])
def test_light_start_does_not_import_torch(code: str) -> None:
    script = f"{code}\nprint('heavy:', {HEAVY})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_lazy_exports_resolve() -> None:
    assert [name for name in predgen.__all__ if getattr(predgen, name, None) is None] == []


def test_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'predgen' has no attribute 'tran'"):
        _ = predgen.tran


def test_one_version_number() -> None:
    assert f"version: {predgen.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## [{predgen.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_constraints_pin_every_line() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", line)] == []
    assert "torch==2.13.0" in pins


def test_contributing_lists_the_same_levels() -> None:
    table = re.findall(r"^\| (\d+) \| (.+) \|$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE)
    listed = {name: int(level) for level, names in table for name in re.findall(r"`(\w+)`", names)}
    assert listed == {unit: level for unit, level in LEVEL_OF.items() if not unit.startswith("__")}


def test_package_ships_a_whole_base_model(embedded_folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(embedded_folder)
    model = AutoModelForCausalLM.from_pretrained(embedded_folder)
    assert sum(p.numel() for p in model.parameters()) == 4_984_064
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode(" 13.4")) == ["Ġ", "1", "3", ".", "4"]
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 1)


def test_model_card_states_the_measured_figures(embedded_folder: Path) -> None:
    card = (embedded_folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    facts = json.loads((embedded_folder / "training.json").read_text(encoding="utf-8"))
    assert f"{facts['valid_bits_per_byte']:.3f} bits per byte" in card
    assert f"{facts['valid_loss_nats_per_token']:.3f} nats per token" in card
    assert f"{facts['steps']:,} steps" in card
