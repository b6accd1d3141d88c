"""How the site is made: pages of files that live elsewhere in the repository.

`bench/results` becomes `results/`, each notebook and each example a page, CHANGELOG.md and
CONTRIBUTING.md pages too. Links lead to the files, as they do where the repository is read;
on the site they lead to the pages. MkDocs calls the functions named `on_…`.
"""

import ast
import base64
import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}


class Examples(griffe.Extension):
    """What our docstrings call "Example", griffe calls "Examples"."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            text = re.sub(r"(?m)^Example:$", "Examples:", obj.docstring.value)
            obj.docstring.value = text


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages that are made."""
    for path, content in made():
        files.append(File.generated(config, path, content=content))
    return files


def made() -> Iterator[tuple[str, str | bytes]]:
    for source, path in PAGES.items():
        yield path, (ROOT / source).read_text("utf-8")
    for source in sorted((ROOT / "bench" / "results").glob("*.md")):
        yield f"results/{source.name}", source.read_text("utf-8")
    for source in sorted((ROOT / "bench" / "results").glob("*.png")):
        yield f"results/{source.name}", source.read_bytes()
    for source in sorted((ROOT / "docs" / "examples").glob("*.py")):
        yield f"examples/{source.stem}.md", page_of_example(source.read_text("utf-8"))
    for source in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(source.read_text("utf-8"))["cells"]
        yield from pages_of_notebook(source.stem, cells)


def page_of_example(code: str) -> str:
    """Its docstring is the text; the first line of that the title."""
    docstring = ast.get_docstring(ast.parse(code)) or ""
    title, _, text = docstring.partition("\n")
    _, _, rest = code.partition('"""')[2].partition('"""')
    return f"# {title.rstrip('.')}\n{text}\n\n```python\n{rest.strip()}\n```\n"


def pages_of_notebook(
    stem: str, cells: list[dict[str, Any]]
) -> Iterator[tuple[str, str | bytes]]:
    """The page, and its figures; the first figure is the gallery's."""
    text, figures = [], 0
    for cell in cells:
        source = "".join(cell["source"])
        text.append(
            source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```"
        )
        for output in cell.get("outputs", ()):
            if picture := output.get("data", {}).get("image/png"):
                figures += 1
                name = f"{stem}-{figures}.png"
                yield f"notebooks/{name}", base64.b64decode(picture)
                text.append(f"![Figure {figures} of this notebook]({name})")
            elif said := "".join(output.get("text", ())):
                text.append(f"```text\n{said}\n```")
    yield f"notebooks/{stem}.md", "\n\n".join(text) + "\n"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to files of the repository become links to the pages made of them."""
    here = page.file.src_uri
    folder = posixpath.dirname(
        next((source for source, path in PAGES.items() if path == here), f"docs/{here}")
    )

    def lead(found: re.Match) -> str:
        file = posixpath.normpath(posixpath.join(folder, found[1]))
        path = site_path(file)
        return f"]({posixpath.relpath(path, posixpath.dirname(here) or '.')})"

    return re.sub(r"\]\(((?!\w+:|#)[^)#\s]+)\)", lead, markdown)


def site_path(file: str) -> str:
    """Where a file of the repository is on the site, both as paths."""
    path = PAGES.get(file, file.removeprefix("docs/"))
    path = path.removeprefix("bench/") if path.startswith("bench/results/") else path
    if re.match(r"(notebooks/.*\.ipynb|examples/.*\.py)$", path):
        return posixpath.splitext(path)[0] + ".md"
    return path
