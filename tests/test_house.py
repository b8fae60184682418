"""The rules of the project: imports go one way without circles, nouns are light, everything public has a docstring."""

from __future__ import annotations

import ast
import graphlib
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parent.parent
ROOMS = [
    "plugins",
    "sandbox",
    "envs",
    "agents",
    "records",
    "training",
    "selfplay",
    "serving",
    "interop",
    "stepgym",
    "claims",
]
"""Lowest first: a room imports from itself and from the rooms before it."""
LINKED = [room for room in ROOMS if room != "stepgym"]
"""Rooms that lie beside the folder `stepgym` and are linked from it."""
HEAVY = {
    "torch",
    "transformers",
    "docker",
    "sympy",
    "numpy",
    "gymnasium",
    "openai",
    "ray",
    "datasets",
    "pyarrow",
}


def room_files(suffix: str = ".py") -> list[Path]:
    """All files of the rooms; the links inside `stepgym/` would show each room twice and are not followed."""
    found = []
    for room in ROOMS:
        for path in sorted((HOUSE / room).rglob("*" + suffix)):
            inside = path.relative_to(HOUSE).parts
            linked = inside[0] == "stepgym" and len(inside) > 2 and inside[1] in ROOMS
            if path.is_file() and not linked and "__pycache__" not in inside:
                found.append(path)
    return found


def module_name(path: Path) -> str:
    parts = list(path.relative_to(HOUSE).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts if parts[0] == "stepgym" else ["stepgym", *parts])


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else "stepgym"


FILES = room_files()
MODULES = {module_name(path): path for path in FILES}
NOUNS = [path for path in FILES if path.name == "types.py"]


def relative(path: Path) -> str:
    return str(path.relative_to(HOUSE))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path, nodes: Iterator[ast.AST]) -> Iterator[str]:
    """Full dotted names that the import statements among `nodes` name, `from a import b` as `a.b`."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            yield from (f"{source}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imports_go_one_way(path: Path) -> None:
    mine = room_of(module_name(path))
    for name in imports(path, ast.walk(tree_of(path))):
        top = name.split(".")[0]
        assert top not in LINKED, (
            f"import stepgym.{name}, not {name}: bare names collide with other packages"
        )
        if top == "stepgym":
            theirs = room_of(name)
            assert ROOMS.index(theirs) <= ROOMS.index(mine), (
                f"{mine} is below {theirs}, but imports {name}"
            )


def test_no_import_circle() -> None:
    """Every import counts, also inside functions and under `if TYPE_CHECKING`."""
    graph: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        graph[module] = set()
        for name in imports(path, ast.walk(tree_of(path))):
            target = name if name in MODULES else name.rpartition(".")[0]
            if target in MODULES and target != module:
                graph[module].add(target)
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def runs_later(node: ast.AST, later: bool = False) -> Iterator[ast.AST]:
    """Yield the imports inside functions and under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        inside = later or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        guarded = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
        if inside and isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        yield from runs_later(child, inside or guarded)


@pytest.mark.parametrize("path", [p for p in FILES if p.name != "__init__.py"], ids=relative)
def test_an_import_of_our_own_that_runs_later_states_its_reason(path: Path) -> None:
    """A comment on its line, or above the group of imports that it stands in."""
    lines = path.read_text(encoding="utf-8").splitlines()
    unexplained = []
    for node in runs_later(tree_of(path)):
        if not any(name.split(".")[0] == "stepgym" for name in imports(path, iter([node]))):
            continue
        assert isinstance(node, ast.Import | ast.ImportFrom)
        at = node.lineno - 1
        here = any("#" in line for line in lines[at : node.end_lineno])
        while lines[at - 1].lstrip().startswith(("from ", "import ")):
            at -= 1
        if not here and not lines[at - 1].lstrip().startswith("#"):
            unexplained.append(f"{relative(path)}:{node.lineno}")
    assert not unexplained, f"say in a comment why it is not at the top: {unexplained}"


@pytest.mark.parametrize("path", NOUNS, ids=relative)
def test_noun_files_import_only_the_standard_library_and_rooms_below(path: Path) -> None:
    mine = room_of(module_name(path))
    for name in imports(path, ast.walk(tree_of(path))):
        top = name.split(".")[0]
        if top == "stepgym":
            assert ROOMS.index(room_of(name)) < ROOMS.index(mine), f"{name} is not below {mine}"
            source = name.rpartition(".")[0]
            assert source.endswith(".types") or source == "stepgym.plugins.errors", (
                f"nouns build on nouns, not on {name}"
            )
        else:
            assert top in sys.stdlib_module_names, f"{name} is not in the standard library"


def test_noun_files_pull_in_nothing_heavy() -> None:
    # Their packages' own __init__ files run too, all but the face's, which registers with Gymnasium.
    names = [module_name(path) for path in NOUNS]
    script = f"""
import importlib, importlib.machinery, importlib.util, sys, types
face = types.ModuleType("stepgym"); face.__path__ = [{str(HOUSE / "stepgym")!r}]; sys.modules["stepgym"] = face
for name in {names!r}: importlib.import_module(name)
print(*sorted({HEAVY!r} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize("path", [path for path in FILES if path.read_text().strip()], ids=relative)
def test_every_public_name_says_what_it_is(path: Path) -> None:
    tree = tree_of(path)
    assert ast.get_docstring(tree), f"{relative(path)} does not open with what it is"
    bare = [
        f"{relative(path)}:{node.lineno} {node.name}"
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not bare, f"without a docstring: {bare}"


def reference_modules() -> list[str]:
    """The modules on the pages of docs/reference, and those whose names a package among them re-exports."""
    pages = (HOUSE / "docs" / "reference").glob("*.md")
    shown = {name for page in pages for name in re.findall(r"^::: (\S+)", page.read_text(), re.M)}
    for package in [name for name in shown if MODULES[name].name == "__init__.py"]:
        path = MODULES[package]
        shown |= {name.rpartition(".")[0] for name in imports(path, ast.walk(tree_of(path)))}
    return sorted(shown & set(MODULES))


def undescribed_fields(module: str) -> Iterator[str]:
    for node in tree_of(MODULES[module]).body:
        if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
            continue
        words = " ".join(re.findall(r"`([^`]*)`", ast.get_docstring(node) or ""))
        for field, after in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                name = field.target.id
                described = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                if not (name.startswith("_") or described or re.search(rf"\b{name}\b", words)):
                    yield f"{module}: {node.name}.{name}"


def test_the_reference_describes_every_field() -> None:
    """A string under the field, or its name in backticks in the docstring of the class."""
    modules = reference_modules()
    assert len(modules) > 50
    assert [name for module in modules for name in undescribed_fields(module)] == []


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.name == "__init__.py"], ids=relative
)
def test_all_matches_the_namespace(path: Path) -> None:
    module = importlib.import_module(module_name(path))
    listed = getattr(module, "__all__", None)
    if listed is None:
        return
    assert len(set(listed)) == len(listed)
    for name in listed:
        assert hasattr(module, name), (
            f"{module.__name__}.__all__ lists {name!r}, which is not there"
        )
    bound = {
        (alias.asname or alias.name).split(".")[0]
        for node in tree_of(path).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        and getattr(node, "module", "") != "__future__"
        for alias in node.names
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stepgym")
    }
    missing = {name for name in bound if not name.startswith("_")} - set(listed)
    assert not missing, f"{module.__name__} re-exports {sorted(missing)} without listing them"


def test_the_package_list_is_complete() -> None:
    tools = tomllib.loads((HOUSE / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {module_name(path) for path in FILES if path.name == "__init__.py"}
    assert set(tools["packages"]) == folders
    orphans = [relative(path) for path in FILES if not (path.parent / "__init__.py").exists()]
    assert not orphans, f"not in any package, so never installed: {orphans}"


def test_every_data_file_is_installed() -> None:
    tools = tomllib.loads((HOUSE / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = [
        (HOUSE / tools["package-dir"].get(package, "/".join(package.split(".")[1:])), pattern)
        for package, globs in tools["package-data"].items()
        for pattern in globs
    ]
    left_out = [
        relative(path)
        for path in room_files("")
        if path.suffix not in {".py", ".pyc"}
        and not any(
            path.is_relative_to(base) and fnmatch(str(path.relative_to(base)), pattern)
            for base, pattern in patterns
        )
    ]
    assert not left_out, f"add them to package-data in pyproject.toml: {left_out}"


def test_the_readme_leads_to_every_page() -> None:
    readme = (HOUSE / "README.md").read_text(encoding="utf-8")
    assert [
        page.name
        for page in sorted((HOUSE / "docs").glob("*.md"))
        if f"](docs/{page.name})" not in readme
    ] == []


@pytest.mark.parametrize("page", ["docs/design.md", "CONTRIBUTING.md", "docs/glossary.md"])
def test_files_and_rooms_that_a_page_names_are_there(page: str) -> None:
    text = (HOUSE / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.(?:py|md))`", text)
    assert [name for name in named if not (HOUSE / name).exists()] == []
    if page == "docs/design.md":
        assert [room for room in ROOMS if f"`{room}/`" not in text] == []


def test_no_file_names_somebodys_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=HOUSE, capture_output=True, text=True, timeout=60
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    personal = re.compile(r"(?<![\w.}])/(?:root|home|Users)/\w|[A-Z]:\\\\?Users")
    found = [
        f"{name}:{number}"
        for name in listed.stdout.split("\0")
        if (HOUSE / name).is_file() and (HOUSE / name).suffix not in {".safetensors", ".png"}
        for number, line in enumerate((HOUSE / name).read_text(encoding="utf-8").splitlines(), 1)
        if personal.search(line)
    ]
    assert not found


def test_the_links_lead_to_the_rooms() -> None:
    for room in LINKED:
        assert (HOUSE / "stepgym" / room).resolve() == HOUSE / room
