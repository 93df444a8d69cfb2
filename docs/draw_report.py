"""Makes the pictures of docs/pictures: a run's report in headless Chromium, light and dark.

    python docs/draw_report.py              # of a search that it makes: minutes, without a language model
    python docs/draw_report.py RUN          # of another

Needs what `tests/report/test_in_browser.py` needs, and Pillow.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.browsing import launched, show  # noqa: E402

from evohpc.report.report import report  # noqa: E402
from evohpc.report.runs import read  # noqa: E402

PICTURES = ROOT / "docs/pictures"
SEARCH = (
    *("lm.engine=scripted", "task_options.steps=600"),
    *("search.rounds=8", "search.prompts_per_round=4", "search.samples_per_prompt=5"),
)
"""What the search of the pictures changes in configs/quickstart.yaml."""
SCHEMES = ("light", "dark")
VIEWS = {
    "overview": ("header", "worth"),
    "tradeoff": ("size-error",),
    "children": ("went",),
    "hours": ("hours",),
    "lineage": ("descent",),
    "candidate": ("candidate",),
}
"""Of each picture the elements of the page, from the first one's top to the last one's bottom."""
WIDTH, TALLEST = 1180, 1300
"""Of a picture, in pixels."""
COLOURS = 128
"""Of a picture's palette: flat colours need no more, and a file stays below 200 KB."""


def main(run: Path | None) -> None:
    """Draw all pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        page.write_text(report(read(run or _searched(Path(folder)))), encoding="utf-8")
        for scheme in SCHEMES:
            with launched("--hide-scrollbars") as browser:
                _draw(browser, page, scheme)


def _searched(folder: Path) -> Path:
    run = folder / "quickstart-scripted"
    settings = [word for setting in SEARCH for word in ("--set", setting)]
    command = [sys.executable, "-m", "evohpc", "run", str(run), str(ROOT / "configs/quickstart.yaml"), *settings]
    subprocess.run(command, check=True)
    return run


def _draw(browser: Any, page: Path, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.set_window_size(WIDTH, 1400)
    show(browser, page)
    height = browser.execute_script("return document.documentElement.scrollHeight")
    browser.set_window_size(WIDTH, height + 200)  # all of it in sight, so that every chart is painted
    time.sleep(2)
    whole = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    for name, elements in VIEWS.items():
        boxes = [browser.execute_script(_BOX, element) for element in elements]
        top, bottom = int(min(box[0] for box in boxes)), int(max(box[1] for box in boxes)) + 8
        part = whole.crop((0, top, whole.width, min(bottom, top + TALLEST)))
        few = part.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(PICTURES / f"{name}-{scheme}.png", optimize=True)


_BOX = """
const box = (document.getElementById(arguments[0]) ?? document.querySelector(arguments[0])).getBoundingClientRect();
return [box.top + scrollY, box.bottom + scrollY];
"""

if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
