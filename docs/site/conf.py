"""How the site is built of the repository's own pages: `make docs` runs Sphinx with the repository as source folder.

Pages stay plain Markdown that also reads well where the repository is shown: their links name files of it, and Sphinx follows them as
they are. What only the site has is here: the order of pages, and how a notebook becomes one.
"""

import json
from typing import Any

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx

import predgen

project = "predgen"
author = "The predgen authors"
version = release = predgen.__version__
html_title = f"predgen {version}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/*.rst", "examples/*.ipynb"]
myst_heading_anchors = 4

# Docstrings are in Google's form, and write code in single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_use_rtype = False

html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_extra_path = ["index.html"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"

NAVIGATION = {
    "Start": ("docs/tutorial", "docs/scikit-learn", "examples/first_hour", "examples/distributions", "docs/choosing"),
    "Guide": (
        "docs/concepts",
        "docs/data",
        "docs/bases",
        "docs/methods",
        "docs/losses",
        "docs/estimators",
        "docs/uncertainty",
        "docs/explain",
        "docs/questions",
        "docs/serving",
        "docs/clusters",
        "docs/distributed",
        "docs/targets",
        "docs/saved_model",
        "docs/export",
        "docs/trackers",
        "docs/compare",
        "docs/report",
    ),
    "Reference": ("docs/configuration", "docs/reference", "docs/extending", "docs/components", "docs/design"),
    "Evidence": ("docs/experiments", "docs/performance", "docs/mutual_information", "docs/papers"),
    "Project": ("CHANGELOG", "SECURITY", "CONTRIBUTING"),
}
"""Pages by part, in a reader's order; a page that is missing here fails the build."""


class NotebookParser(MystParser):
    """Reads a notebook as a page: its texts, and its code in fences. Outputs are none, since the repository keeps none."""

    supported = ("ipynb",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Parse a notebook's JSON."""
        super().parse(notebook_page(json.loads(inputstring)), document)


def notebook_page(notebook: dict[str, Any]) -> str:
    """Return a notebook's cells as Markdown."""
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    return "\n\n".join(f"```python\n{text}\n```" if kind == "code" else text for kind, text in cells) + "\n"


def add_navigation(app: Sphinx, name: str, source: list[str]) -> None:
    """Put the table of pages behind the first page's text, where the repository's reader does not see it."""
    if name == root_doc:
        for caption, pages in NAVIGATION.items():
            source[0] += "\n".join(["\n```{toctree}", ":hidden:", f":caption: {caption}\n", *pages, "```\n"])


def setup(app: Sphinx) -> None:
    """Tell Sphinx of notebooks and navigation."""
    app.add_source_suffix(".ipynb", "ipynb")
    app.add_source_parser(NotebookParser)
    app.connect("source-read", add_navigation)
