"""One HTML file that needs no other: charts, data and scripts within it, and a policy that forbids all else.

What candidates wrote is hostile. It is in the file only within compressed, base64-encoded data, which no browser takes
for markup, and the scripts make text nodes of it. Only scripts with the digests that the policy names may run, and
nothing may be loaded or sent.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from evohpc.report.text import visible

if TYPE_CHECKING:
    from evohpc.report.figures.style import Figure


def render(
    title: str, sections: str, scripts: Sequence[str], data: Mapping[str, Any], sources: Sequence[str] = ()
) -> str:
    """Return the whole page.

    Args:
        sections: file in page/ with what is in the page's main part.
        scripts: files in page/, in order.
        data: what unpack("data") returns in the page.
        sources: programs of the candidates.
    """
    bokeh, script = _script(_bokeh()), _script("".join(_file(name) for name in scripts))
    return Template(_file("page.html")).substitute(
        policy=_policy(bokeh, script),
        title=html.escape(visible(title)),
        style=_file("page.css"),
        sections=_file(sections),
        data=_packed(data),
        sources=_packed(list(sources)),
        bokeh=bokeh,
        script=script,
    )


def embedded(figures: Mapping[str, Figure | None]) -> dict[str, Any]:
    """Return charts as Bokeh's JSON; those that have nothing to show are left out."""
    from bokeh.embed import json_item

    return {name: json_item(figure) for name, figure in figures.items() if figure is not None}


def _bokeh() -> str:
    """Return BokehJS without its widgets and tables: charts need neither them nor eval()."""
    from bokeh.resources import Resources

    folder = Path(Resources(mode="absolute", components=["bokeh"], minified=True).js_files[0])
    return folder.read_text(encoding="utf-8")


def _policy(*scripts: str) -> str:
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _script(text: str) -> str:
    """Return a script that cannot end its element early."""
    return re.sub("</(?=script)", r"<\\/", text, flags=re.IGNORECASE).replace("<!--", r"<\!--")


def _packed(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, default=str)
    return base64.b64encode(gzip.compress(text.encode("utf-8", "surrogatepass"), mtime=0)).decode()


def _file(name: str) -> str:
    return resources.files("evohpc.report").joinpath("page", name).read_text(encoding="utf-8")
