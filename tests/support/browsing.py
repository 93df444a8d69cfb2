"""A real browser without a network, by Debian's packages chromium and chromium-driver."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

READY_S = 60.0


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser that can reach nothing but files."""
    pytest.importorskip("selenium.webdriver", reason="pip install selenium")
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        pytest.skip("needs chromium and chromium-driver: apt-get install chromium chromium-driver")
    with launched() as opened:
        yield opened


@contextmanager
def launched(*arguments: str) -> Iterator[Any]:
    """Open a browser that can reach nothing but files, and end it afterwards.

    Args:
        arguments: of Chromium, beside those that every use needs.
    """
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"):
        options.add_argument(argument)
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND")
    for argument in arguments:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    opened.set_script_timeout(READY_S)
    try:
        yield opened
    finally:
        opened.quit()


def show(browser: Any, page: Path) -> None:
    """Open a report and wait until it is drawn."""
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(page.absolute().as_uri())
    end = time.monotonic() + READY_S
    while browser.execute_script("return document.documentElement.dataset.ready") != "yes":
        fault = browser.execute_script("return document.getElementById('fault').textContent")
        assert not fault, fault
        assert time.monotonic() < end, complaints(browser)
        time.sleep(0.05)


def complaints(browser: Any) -> list[str]:
    """Return what the browser's console has of warnings and errors since the page was opened."""
    return [line["message"] for line in browser.get_log("browser") if line["level"] in ("WARNING", "SEVERE")]


def requested(browser: Any) -> list[str]:
    """Return the addresses that the page asked for, itself left out."""
    messages = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [
        url for url in urls if not url.startswith(("data:", "blob:")) and url != browser.current_url.partition("#")[0]
    ]


def painted(browser: Any) -> dict[str, int]:
    """Return the number of coloured pixels of each chart, by name: those that are neither grey nor transparent."""
    script = """
    const found = {};
    for (const figure of document.querySelectorAll("figure")) {
      const roots = [figure], canvases = [];
      while (roots.length) for (const one of roots.pop().querySelectorAll("*")) {
        if (one.shadowRoot) roots.push(one.shadowRoot);
        if (one.tagName === "CANVAS") canvases.push(one);
      }
      let count = 0;
      for (const canvas of canvases) {
        const { width, height } = canvas;
        if (!width || !height) continue;
        const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
        for (let i = 0; i < pixels.length; i += 4) {
          const [r, g, b, a] = pixels.subarray(i, i + 4);
          if (a > 100 && Math.max(r, g, b) - Math.min(r, g, b) > 40) count++;
        }
      }
      found[figure.id] = count;
    }
    return found;"""
    return dict(browser.execute_script(script))
