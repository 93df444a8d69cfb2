"""The documentation as a site: `make docs` builds it with Sphinx, MyST and furo into build/site.

The pages are the Markdown files as they lie in the repository, so that they can be read on a code host too. What they
link to beside pages (configs, programs) is copied into the site. Nothing is fetched, neither here nor by the pages.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import evohpc  # noqa: E402

project, author = "evohpc", "The evohpc authors"
version = release = evohpc.__version__
html_title = f"evohpc {release}"

extensions = ["myst_parser"]
myst_heading_anchors = 4  # as code hosts make them; a link to one that is not there is an error
include_patterns = ["docs/**.md", "*.md", "benchmarks/README.md", "examples/**.md"]
root_doc = "docs/index"
suppress_warnings = ["misc.highlighting_failure"]  # programs as models write them

smartquotes = False  # they make one dash of two: --set

html_theme = "furo"
html_show_copyright = html_show_sphinx = html_copy_source = html_show_sourcelink = False
html_static_path = ["site.css"]
html_css_files = ["site.css"]


def finish(app: Sphinx, error: Exception | None) -> None:
    """Copy the pictures that HTML in a page names, which Sphinx does not look for, and make a front door."""
    if error is None:
        shutil.copytree(ROOT / "docs/pictures", Path(app.outdir, "docs/pictures"), dirs_exist_ok=True)
        door = f'<!doctype html><title>{project}</title><meta http-equiv="refresh" content="0; url={root_doc}.html">\n'
        Path(app.outdir, "index.html").write_text(door, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("build-finished", finish)
