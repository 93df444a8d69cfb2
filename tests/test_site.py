"""The documentation as a site, and the pages that are made from the code or say what only the code can hold."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from support.browsing import complaints, requested
from support.paths import ROOT

from evohpc.cli import evohpc
from evohpc.config.search import Config
from evohpc.messages import Status
from evohpc.report.reader import Reading
from evohpc.run_folder import RunDir
from evohpc.search.rebuild import rebuild
from evohpc.store.store import Store

DOCS = ROOT / "docs"
SHOWN = ("docs/index", "docs/quickstart", "docs/configuration", "docs/failures", "docs/report", "README")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages as `make docs` builds them."""
    if find_spec("sphinx") is None:
        pytest.skip("pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    recipe = (ROOT / "Makefile").read_text().partition("\ndocs:")[2].splitlines()[1].split()
    options = recipe[recipe.index("sphinx") + 1 : recipe.index("-d")]
    command = [sys.executable, "-m", "sphinx", *options, "-d", str(folder / "doctrees"), ".", str(folder / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "site"


class Loaded(HTMLParser):
    """The addresses that a page loads by itself, which a link is not."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        wanted = {"href"} if tag == "link" else {"src", "srcset"}
        self.found += [value for name, value in attrs if name in wanted and value]


@pytest.mark.slow
def test_nothing_is_loaded_from_elsewhere_and_all_of_it_is_there(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        for address in Loaded(page).found:
            parts = urlsplit(address)
            assert not parts.netloc, f"{page.name} loads {address}"
            assert parts.scheme == "data" or (page.parent / parts.path).exists(), f"{page.name}: {address}"


@pytest.mark.slow
def test_a_link_that_leads_nowhere_fails_the_build(site: Path, tmp_path: Path) -> None:
    (tmp_path / "docs/pictures").mkdir(parents=True)
    for name in ("conf.py", "site.css"):
        shutil.copy(DOCS / name, tmp_path / "docs")
    (tmp_path / "docs/index.md").write_text("# Title\n\n[there](#title) [nowhere](#no-such-heading)\n")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "-c", "docs", ".", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no-such-heading" in done.stderr
    assert "#title" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("page", SHOWN)
def test_a_page_opens_from_disk_and_is_no_wider_than_the_window(
    page: str, width: int, site: Path, browser: Any
) -> None:
    # Not by the window's size, of which Chromium has a least.
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get_log("browser"), browser.get_log("performance")
    browser.get((site / f"{page}.html").as_uri())
    assert complaints(browser) == []
    assert not [url for url in requested(browser) if not url.startswith("file:")]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_the_reference_is_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, "docs/draw_reference.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_reference_has_every_key_and_every_command() -> None:
    keys = set(re.findall(r"^####? `([\w.]+)`$", (DOCS / "configuration.md").read_text(), re.MULTILINE))
    document = Config.model_validate({"seeds": "seeds", "lm": {"engine": "scripted"}}).model_dump(mode="json")
    assert set(flat(document)) <= keys
    assert {"container.image", "lm.hold", "driver.go_on_by"} <= keys
    commands = re.findall(r"^## evohpc (\S+)$", (DOCS / "commands.md").read_text(), re.MULTILINE)
    assert commands == sorted(evohpc.commands)


def flat(document: dict[str, Any], under: str = "") -> Iterator[str]:
    """Yield the keys of a config, those in sections by their whole names."""
    for name, value in document.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{under}{name}.")
        else:
            yield f"{under}{name}"


def rows(page: str, first: str) -> list[list[str]]:
    """Return the cells of every table of a page whose first column is called that."""
    tables = re.findall(r"(?:^\|.*\n)+", (DOCS / page).read_text(), re.MULTILINE)
    found = [line.strip("| \n").split(" | ") for table in tables for line in table.splitlines()[2:]
             if table.startswith(f"| {first} ")]  # fmt: skip
    assert found, f"{page} has no table of {first}"
    return found


def test_each_outcome_has_a_row_in_the_failure_guide() -> None:
    assert sorted(row[0].strip("`") for row in rows("failures.md", "outcome")) == sorted(Status)
    assert all(len(row) == 3 for row in rows("failures.md", "outcome"))


def test_the_errors_of_the_failure_guide_are_what_evohpc_says() -> None:
    sources = " ".join(path.read_text() for path in sorted((ROOT / "evohpc").rglob("*.py")))
    said = re.sub(r'"\s*\n?\s*f?"', "", sources)
    for error, _, _ in rows("failures.md", "the error says"):
        assert error.strip("`") in said, error


def test_the_commands_and_keys_that_pages_name_exist() -> None:
    keys = set(re.findall(r"^####? `([\w.\[\]]+)`$", (DOCS / "configuration.md").read_text(), re.MULTILINE))
    for page in ("failures.md", "algorithm.md", "own_lm.md", "quickstart.md", "disk.md"):
        text = (DOCS / page).read_text()
        assert set(re.findall(r"`evohpc ([a-z-]+)", text)) <= set(evohpc.commands), page
        named = re.findall(r"`((?:search|prompt|lm|tuning|screening|evaluation|scheduler|container)\.\w+)", text)
        assert set(named) - {"search.db", "search.variant"} <= keys | {"evaluation.rungs"}, page


def test_the_defaults_of_the_algorithm_page_are_those_of_a_config() -> None:
    config = Config.model_validate({"seeds": "seeds", "lm": {"engine": "scripted"}}).model_dump(mode="json")
    found = [*rows("algorithm.md", "the paper says"), *rows("algorithm.md", "what the paper does not say")]
    assert len(found) == 15
    for *_, link, default in found:
        section, key = str(re.findall(r"`(\w+\.\w+)`", link)[0]).split(".")
        value = config[section][key]
        assert default.strip("`") == (value if isinstance(value, str) else json.dumps(value)), key


@pytest.fixture
def finished(tmp_path: Path, finished_run: Path) -> RunDir:
    """A copy of a finished run."""
    shutil.copytree(finished_run, tmp_path / "run")
    return RunDir(tmp_path / "run")


def deletable(column: int) -> list[str]:
    """Return the paths of which disk.md says "yes"; column 1: while a search goes on, 2: when it is over."""
    paths = [
        re.findall(r"`([^`]+)`", row[0])
        for row in rows("disk.md", "in the run folder")
        if row[column].startswith("yes")
    ]
    return [path.replace("NNN", "*").rstrip("/") for row in paths for path in row]


def test_what_may_be_deleted_of_a_finished_search_is_not_missed(finished: RunDir) -> None:
    with Reading(finished.path) as reading:
        before = list(reading.store.every())
    (finished.path / "rounds/000/adapter").mkdir(exist_ok=True)
    for pattern in deletable(2):
        for path in finished.path.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not finished.train.exists()
    with Reading(finished.path) as reading:
        assert list(reading.store.every()) == before
    finished.database.unlink()
    rebuild(finished)
    store = Store.snapshot_reader(finished.snapshot)
    assert list(store.every()) == before
    store.close()


def test_the_paths_that_may_be_deleted_are_those_of_a_run_folder() -> None:
    known = (ROOT / "evohpc/run_folder.py").read_text()
    of_others = {"report.html", "verified", "tensorboard", "wandb", "search.db.*.kept-*", "*.safetensors"}
    for row in rows("disk.md", "in the run folder"):
        for path in re.findall(r"`([^`]+)`", row[0]):
            name = Path(path).name
            assert name in known or name in of_others, path


def test_the_program_of_the_language_model_page_adds_up_a_model(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", (DOCS / "own_lm.md").read_text(), re.MULTILINE | re.DOTALL)
    folder = tmp_path / "models/qwen2.5-coder-0.5b-instruct"
    folder.mkdir(parents=True)
    shape = {"num_hidden_layers": 10, "num_attention_heads": 8, "num_key_value_heads": 2, "hidden_size": 8_000}
    (folder / "config.json").write_text(json.dumps(shape))
    (folder / "model.safetensors").write_bytes(b"0" * 10_000_000)
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=True)
    # 2 (keys, values) x 10 layers x 2 heads of 1,000 x 2 bytes x 32 rows of 740 tokens
    assert done.stdout == "0.01 GB of weights as stored, 1.89 GB of keys and values\n"


def test_the_config_of_the_language_model_page_is_one() -> None:
    import yaml

    (text,) = re.findall(r"^```yaml\n(.*?)^```$", (DOCS / "own_lm.md").read_text(), re.MULTILINE | re.DOTALL)
    assert Config.model_validate({"seeds": "seeds", **yaml.safe_load(text)}).lm.batch_size == 32
