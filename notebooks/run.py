"""Runs the notebooks from start to end, each in a fresh kernel.

    python notebooks/run.py                     all of them
    python notebooks/run.py notebooks/2_*       some
    python notebooks/run.py --save              and stores their outputs

An error or a warning ends it with status 1.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

HERE = Path(__file__).resolve().parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def run(path: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs, and without what differs from run to run."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = nbformat.from_dict(METADATA)
    for index, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = str(index), nbformat.from_dict({})
    NotebookClient(
        notebook,
        timeout=300,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(HERE)}},
        extra_arguments=["--log-level=ERROR"],
    ).execute()
    return notebook


def warnings(notebook: nbformat.NotebookNode) -> list[str]:
    """The warnings of its cells, whose standard error is taken out of the outputs."""
    found = []
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        said = [out for out in outputs if out.get("name") == "stderr"]
        found += [out.text for out in said if "Warning: " in out.text]
        if said:
            cell.outputs = [out for out in outputs if out not in said]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs the notebooks.")
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--save", action="store_true", help="store the outputs")
    arguments = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the device of the stored outputs
    for path in arguments.notebooks or sorted(HERE.glob("*.ipynb")):
        start = time.perf_counter()
        try:
            notebook = run(path)
        except CellExecutionError as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            return 1
        if found := warnings(notebook):
            print(f"{path.name} warns:", *found, file=sys.stderr)
            return 1
        if arguments.save:
            nbformat.write(notebook, path)
        print(f"{path.name}: {time.perf_counter() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
