"""The house: imports go down only, files stay short, every public name shows its use."""

import ast
import inspect
from pathlib import Path

import pytest

import jxent

ROOT = Path(jxent.__file__).parent
FLOORS = [
    {
        "_flaws",
        "_interrupt",
        "_mesh",
        "_numerics",
        "_online",
        "_pytree",
        "_softmax",
        "_static",
        "_terms",
        "_tilt",
    },
    {"checks", "_linear"},
    {"_distributions"},
    {"_arguments", "_linear_logits", "_streamed"},
    {"_chunked", "_cross_entropy", "_divergence", "_entropy", "_reduce"},
    {"losses"},
    {"__init__"},
    {"_demo", "__main__"},
]
FLOOR = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}
FILES = sorted(ROOT.rglob("*.py"))


def module(path: Path) -> str:
    """The file or folder of `jxent` that `path` is in."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports(path: Path):
    """The modules of `jxent` that `path` imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (
            node.level or (node.module or "").split(".")[0] == "jxent"
        ):
            name = (node.module or "").removeprefix("jxent").lstrip(".")
            inside = node.level == 1 and path.parent != ROOT
            if inside:
                yield module(path)
            elif name:
                yield name.split(".")[0]
            else:
                for alias in node.names:
                    yield alias.name if alias.name in FLOOR else "__init__"
        elif isinstance(node, ast.Import):
            yield from ("__init__" for a in node.names if a.name == "jxent")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_and_files_stay_short(path):
    assert module(path) in FLOOR, "give the new module its floor"
    for other in imports(path):
        assert FLOOR[other] <= FLOOR[module(path)], f"{path.name} imports {other}"
    assert len(path.read_text().splitlines()) <= 400


def test_a_sibling_import_makes_no_circle():
    edges = {(module(p), other) for p in FILES for other in imports(p)}
    order = {}  # depth-first: a module's floor neighbours must not lead back to it
    for start in FLOOR:
        seen, stack = set(), [start]
        while stack:
            here = stack.pop()
            for a, b in edges:
                if a == here and b != a and b not in seen:
                    seen.add(b)
                    stack.append(b)
        order[start] = seen
    assert not [m for m, below in order.items() if m in below]


def public():
    for owner in (jxent, jxent.checks):
        for name, thing in vars(owner).items():
            module = getattr(thing, "__module__", "")
            ours = module == owner.__name__ or (owner is jxent and "jxent" in module)
            if callable(thing) and ours and not name.startswith("_"):
                yield f"{owner.__name__}.{name}", thing


@pytest.mark.parametrize("thing", dict(public()).values(), ids=dict(public()).keys())
def test_every_public_name_has_an_example(thing):
    assert ">>>" in (inspect.getdoc(thing) or "")
