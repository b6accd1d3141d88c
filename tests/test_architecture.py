"""The house: imports go down only, files stay short, every public name shows its use."""

import ast
import inspect
from pathlib import Path

import pytest

import jxent

ROOT = Path(jxent.__file__).parent
# From the ground up. A module may import what stands on a line before its own.
ROOMS = """
_core.pytrees _core.shapes _core.modes _core.domains _core.meshes
_core.verdicts _core.ranges
_core.arithmetic
_core.pairs
_core.autodiff _core.means _core.schedules
checks
_kernels.softmax _kernels.terms _kernels.events _kernels.convex
_kernels.ratios _kernels.gamma_gap _kernels.bessel _kernels.means
_kernels.counts
_kernels.streamed.layouts _kernels.streamed.blocks
_kernels.tilt _kernels.entropy _kernels.label_loss
_kernels.kl _kernels.soft_loss
_kernels.quadrature _kernels.tables _kernels.powers _kernels.distances _kernels.overlap
_kernels.escort
_kernels.streamed.log_sum _kernels.streamed.linear_map _kernels.streamed.sources
_kernels.streamed.tiles _kernels.streamed.shards _kernels.streamed.statistics
_kernels.streamed.alignment _kernels.streamed.class_sum
_kernels.streamed.pairs _kernels.streamed.orders _kernels.streamed.contrast
_kernels.streamed
_distributions.base
_distributions.binary _distributions.projection
_distributions.discrete
_distributions.joint
_distributions.families.positive
_distributions.families.base
_distributions.families.counts _distributions.families.dirichlet
_distributions.families.gamma _distributions.families.laplace
_distributions.families.normal _distributions.families.uniform
_distributions.families.von_mises
_distributions.families.meet
_distributions.families
_distributions.adapters
_distributions.admit
_measures.streamed
_measures.pairs _measures.entropy _measures.cross_entropy
_measures.divergence _measures.orders
_measures.alpha _measures.distances _measures.renyi _measures.renyi_entropy
_measures.tables
_measures.joint_entropy _measures.mutual_information
_measures.several
_transforms.chunked _transforms.bregman _transforms.fisher
losses._options
losses._arguments
losses._counts
losses._rows losses._tokens losses._nll
losses._softmax losses._surprise losses._kl losses._sparse losses._linear losses._policy
losses._distill
losses._sigmoid losses._contrastive
losses
__init__
_demo.text
_demo.model _demo.report
__main__
"""
FLOOR = {
    name: floor for floor, line in enumerate(ROOMS.split("\n")) for name in line.split()
}
FILES = [p for p in sorted(ROOT.rglob("*.py")) if "import " in p.read_text()]


def module(path: Path) -> str:
    """The name of a file's module, without `jxent.`; of a package, its folder's."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "__init__"


def imports(path: Path):
    """The modules of `jxent` that `path` imports."""
    package = ["jxent", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            if base.split(".")[0] != "jxent":
                continue
            for alias in node.names:  # a module, or a name inside of one
                for name in (f"{base}.{alias.name}", base):
                    name = name.removeprefix("jxent").lstrip(".") or "__init__"
                    if name in FLOOR:
                        yield name
                        break
                else:
                    yield base
        elif isinstance(node, ast.Import):
            yield from ("__init__" for a in node.names if a.name == "jxent")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_strictly_down_and_files_stay_short(path):
    assert module(path) in FLOOR, "give the new module its floor"
    for other in imports(path):
        inside = path.name == "__init__.py" and other.startswith(module(path) + ".")
        assert inside or FLOOR[other] < FLOOR[module(path)], f"it imports {other}"
    assert len(path.read_text().splitlines()) <= 400


def public():
    for owner in (jxent, jxent.checks, jxent.losses):
        for name in owner.__all__:
            if callable(thing := getattr(owner, name)):
                yield f"{owner.__name__}.{name}", thing


def test_what_is_listed_is_all_that_is_shown():
    for owner in (jxent, jxent.checks, jxent.losses):
        shown = {name for name in dir(owner) if not name.startswith("_")}
        assert shown == set(owner.__all__) and len(shown) == len(owner.__all__)


@pytest.mark.parametrize("thing", dict(public()).values(), ids=dict(public()).keys())
def test_every_public_name_has_an_example(thing):
    assert ">>>" in (inspect.getdoc(thing) or "")
