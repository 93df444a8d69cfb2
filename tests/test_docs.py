"""What README and docs tell people to type, typed. The lines that need a cluster are in
cluster/test_search_on_slurm.py."""

from __future__ import annotations

import csv
import difflib
import math
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from support.paths import ROOT
from support.rooms import LAYERS, direct

from evohpc.config.search import Config
from evohpc.config.task_name import TaskName
from evohpc.lm.fetch.sources import MODELS
from evohpc.report.intervals import bootstrap, permutation, wilson
from evohpc.search.verified_table import Row
from evohpc.tasks.base import load_task
from evohpc.tasks.clrs.features import algorithms, decodes_pairs
from evohpc.tasks.program import is_program

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])


def blocks(page: str, language: str) -> list[str]:
    found = [text for kind, text in BLOCK.findall((ROOT / page).read_text()) if kind == language]
    assert found
    return found


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the commands use, with a language model that needs no folder and a recipe of seconds."""
    for name in ("configs", "seeds", "docs", "examples", "slurm"):
        shutil.copytree(ROOT / name, tmp_path / name)
    path = tmp_path / "configs" / "quickstart.yaml"
    config = yaml.safe_load(path.read_text())
    config.update(lm={"engine": "scripted"}, task_options={"steps": 50, "eval_every": 50})
    config["search"].update(prompts_per_round=1, samples_per_prompt=3, error_threshold=1.0)
    path.write_text(yaml.safe_dump(config))
    return tmp_path


def shell(script: str, folder: Path) -> str:
    bin = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_readme_begins_with_exactly_two_commands() -> None:
    first = blocks("README.md", "sh")[0]
    commands = [line.partition("#")[0].strip() for line in first.splitlines()]
    assert commands == ["make quickstart", "make test"]


@pytest.mark.parametrize("target", ["quickstart", "test", "lint"])
def test_the_makefile_knows_what_readme_says(target: str) -> None:
    if shutil.which("make") is None:
        pytest.skip("no make here")
    plan = shell(f"make -n {target}", ROOT)
    assert {"quickstart": "evohpc run", "test": "-m pytest", "lint": "mypy"}[target] in plan


@pytest.mark.slow
def test_the_everyday_commands_of_readme(checkout: Path) -> None:
    out = shell(blocks("README.md", "sh")[1], checkout)
    assert "9 children" in out
    assert (checkout / "first.csv").read_text().count("seed-cnn") >= 1


@pytest.mark.slow
def test_the_commands_of_the_quickstart(tmp_path: Path) -> None:
    rehearse, look = blocks("docs/quickstart.md", "sh")
    assert "runs/rehearsal/report.html" in shell(rehearse, tmp_path)
    out = shell(look, tmp_path / "first")
    assert "none; the search is over" in out
    assert "class Model" in out


@pytest.mark.slow
def test_the_commands_of_the_failure_guide(checkout: Path) -> None:
    (look,) = blocks("docs/failures.md", "sh")
    assert "class Model" in shell(f"evohpc run runs/first configs/quickstart.yaml\n{look}", checkout)


@pytest.mark.slow
def test_the_commands_of_the_report_page(checkout: Path) -> None:
    out = shell("\n".join(["evohpc run runs/first configs/quickstart.yaml", *blocks("docs/report.md", "sh")]), checkout)
    assert "runs/first/report.html" in out
    assert "--- seed-cnn" in out
    assert "none; the search is over" in out


def test_the_budgets_of_the_report_page_are_a_config() -> None:
    (text,) = blocks("docs/report.md", "yaml")
    search = Config.model_validate({"seeds": "seeds", "lm": {"engine": "scripted"}, **yaml.safe_load(text)}).search
    assert None not in search.stop.model_dump().values()


def test_the_dry_run_of_readme(checkout: Path, tiny_model: Path) -> None:
    (checkout / "models").mkdir()
    (checkout / "models/qwen2.5-coder-0.5b-instruct").symlink_to(tiny_model)  # a dry run looks for what a run needs
    *_, line = blocks("README.md", "sh")[2].strip().splitlines()
    assert "#SBATCH" in shell(line, checkout)


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_the_python_of_readme(index: int, checkout: Path) -> None:
    (checkout / "block.py").write_text(blocks("README.md", "python")[index])
    out = shell("python -W error block.py", checkout)
    assert re.search(r"r00\dp0\ds00\d", out)


@pytest.mark.slow
def test_the_commands_of_the_own_task_page(checkout: Path) -> None:
    out = shell(blocks("docs/own_task.md", "sh")[0], checkout)
    assert "outcome  " in out
    assert "16 children: " in out
    assert "seed-polar" in out


@pytest.mark.slow
def test_the_commands_of_the_page_on_programs(checkout: Path) -> None:
    out = shell("\n".join(blocks("docs/program_task.md", "sh")), checkout)
    assert out.count("outcome    trained") == 1
    assert shell("evohpc list runs/bin_packing --best 1; evohpc list runs/openevolve --best 1", checkout)


def test_the_task_of_the_page_on_programs(tmp_path: Path) -> None:
    (text,) = blocks("docs/program_task.md", "python")
    (tmp_path / "roots.py").write_text(text)
    task = load_task(TaskName("Roots", tmp_path / "roots.py"), {})
    made = task.prepare(0)
    run = getattr(task, "run")  # noqa: B009  # of a ProgramTask
    outputs = run(SimpleNamespace(root=lambda x: x**0.5), made.inputs)
    assert is_program(task)
    assert task.score([outputs], made.labels).error < 1e-12
    assert task.score([{"y": outputs["y"] * 1.01}], made.labels).error == pytest.approx(0.01)


@pytest.mark.slow
def test_the_command_of_the_verification_page(checkout: Path) -> None:
    shell("evohpc run runs/first configs/quickstart.yaml", checkout)
    command, train = blocks("docs/verify.md", "sh")
    out = shell(command.replace("=8000", "=60"), checkout)
    assert out.count(" of 5") == 3
    assert shell("evohpc verify runs/first", checkout) == out
    shell(train.replace("=8000", "=60"), checkout)
    (load,) = blocks("docs/verify.md", "python")
    (checkout / "block.py").write_text(load)
    assert re.fullmatch(r"tensor\(\[(\d, ){4}\d\]\)", shell("python -W error block.py", checkout).strip())


def test_the_verification_page_names_the_columns_of_its_table() -> None:
    page = (ROOT / "docs/verify.md").read_text().partition("| column |")[2]
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [field.name for field in fields(Row)]


def test_every_config_names_a_model_that_something_makes() -> None:
    makefile = re.findall(r"^MODEL := (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    texts = [path.read_text() for path in [*PAGES, *(ROOT / "evohpc/config").glob("*.py")]]
    fetched = [model for text in texts for model in re.findall(r"evohpc fetch-lm (models/[\w.-]+)", text)]
    assert set(makefile) <= set(fetched)
    assert {Path(model).name for model in fetched} <= set(MODELS)
    for path in ROOT.glob("configs/*.yaml"):
        lm = yaml.safe_load(path.read_text())["lm"]
        assert lm.get("engine") == "scripted" or lm["path"] in {f"../{model}" for model in makefile}, path.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pictures_are_there_in_both_schemes_and_are_small(page: Path) -> None:
    for name in re.findall(r'(?:src|srcset)="([^"]+)"', page.read_text()):
        assert (page.parent / name).stat().st_size < 200_000, name
        assert (page.parent / name.replace("light", "dark")).exists(), name


def test_the_picture_and_the_table_of_rooms_are_those_of_the_imports() -> None:
    done = subprocess.run([sys.executable, "docs/draw_rooms.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_picture_shows_every_room_once() -> None:
    shown = re.findall(r"<text x=.*>(\w+)</text>", (ROOT / "docs/rooms.svg").read_text())
    assert sorted(shown) == sorted(" ".join(LAYERS[:-1]).split())


def test_the_picture_leaves_out_what_a_longer_way_says() -> None:
    graph = {"top": {"middle", "bottom", "side"}, "middle": {"bottom"}, "side": set(), "bottom": set()}
    assert direct(graph) == {"top": {"middle", "side"}, "middle": {"bottom"}, "side": set(), "bottom": set()}


def test_what_stands_for_the_papers_lines_exists() -> None:
    page = (ROOT / "docs/architecture.md").read_text().partition("## From the paper")[2].partition("\n## ")[0]
    _, _, *rows = re.findall(r"^\|.*\|$", page, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)\.(\w+)`", row)]
    assert len(named) >= len(rows) > 12
    for module, name in named:
        assert callable(getattr(import_module(f"evohpc.evolution.{module}"), name))


def test_the_glossary_is_short() -> None:
    glossary = (ROOT / "docs/architecture.md").read_text().partition("## Glossary\n")[2].partition("\n## ")[0]
    assert 10 < len(glossary.strip().splitlines()) <= 25


@pytest.mark.parametrize("page", ["guarantees.md", "field_log.md"])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (ROOT / "docs" / page).read_text())
    assert len(named) > 30
    for file, test in named:
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(), f"{file}::{test}"


def test_every_promise_names_a_test() -> None:
    page = (ROOT / "docs/guarantees.md").read_text()
    promises = [table for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE) if table.startswith("| promise")]
    rows = [row for table in promises for row in table.splitlines()[2:]]
    assert len(rows) > 10
    assert not [row for row in rows if "::test_" not in row]


@pytest.mark.slow
def test_the_pictures_of_results_can_be_drawn_again(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        pytest.skip("needs chromium and chromium-driver: apt-get install chromium chromium-driver")
    done = subprocess.run(
        [sys.executable, "docs/results/draw.py", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert len(drawn) == 6
    for name in drawn:
        with image.open(tmp_path / name) as again, image.open(ROOT / "docs/results" / name) as kept:
            assert again.size == kept.size
            assert len(again.convert("RGB").getcolors(1 << 20)) > 10


PAIR = ("seeds", "all", "each", "p", "strict", "evaluated", "trained")
"""Columns of the table of pairs of arms."""


def _pair(first: str, second: str) -> dict[str, str]:
    """Return the cells of a row of the table of pairs, the numbers of children left out."""
    page = (ROOT / "docs/results/mnist1d.md").read_text()
    (row,) = re.findall(rf"^\| {first} - {second} \| (.*) \|$", page, re.MULTILINE)
    cells = dict(zip(PAIR, (cell.strip() for cell in row.split(" | ")), strict=True))
    return {name: cell.partition(": ")[2] if name in ("evaluated", "trained") else cell for name, cell in cells.items()}


def _text(page: str) -> str:
    return " ".join((ROOT / page).read_text().split())


def _mean(arm: str, seeds: str) -> str:
    best = [_fittest(ROOT / f"docs/results/mnist1d/{arm}-{seed}.csv") for seed in seeds.split(", ")]
    return f"{sum(best) / len(best):.0f}"


@pytest.mark.parametrize("arm", ["rescaling", "scripted_extended", "scripted", "iid", "iid_extended", "scripted_iid"])
def test_the_leads_that_the_page_quotes_are_those_of_its_table(arm: str) -> None:
    pair, text = _pair("extended", arm), _text("docs/results/mnist1d.md")
    said = text.partition("**So far**")[2].partition("A seed gives two searches")[0]
    assert any(figure in said for figure in _quoted(pair["all"]))
    assert any(f"{word} {pair['p']}" in said for word in ("p", "p is"))
    assert (float(pair["p"]) < 0.05) == (arm != "rescaling"), "the page says which are told apart"
    for name in ("extended", arm):
        assert _mean(name, pair["seeds"] if name == arm else "0, 1, 2, 3, 4") in said
    if arm != "scripted":
        equal = "by as much" if pair["evaluated"] == pair["all"] else _quoted(pair["evaluated"])[1]
        assert f"{equal} after equally many evaluations" in said


BASELINES = ("rescaling", "scripted", "scripted_extended", "scripted_extended_rungs", "scripted_iid", "iid")
"""The arms with five searches that have no language model, or no evolution."""


def test_readme_claims_what_the_winners_that_were_trained_again_show() -> None:
    again = _again("winners")
    for arm in BASELINES:
        assert len(again[arm]) == 5
        assert f"{permutation(again['extended'], again[arm]):.3f}" == "0.008", arm
    assert len(again["iid_extended"]) == 3
    of_three = f"{permutation(again['extended'], again['iid_extended']):.3f}"
    assert f"(p 0.008 over each arm of five searches, {of_three} over the one of three)" in _text("README.md")
    others = {"extended", "extended_no_tuning", "evoprompting", "no_tuning", "random_parents", "iid_extended", LARGE}
    assert set(again) == {*BASELINES, *others}, "no arm without evolution or a language model is left out"


def test_readme_says_what_is_not_shown() -> None:
    text = _text("README.md").partition("What it does *not* show")[2].partition("## ")[0]
    assert float(_pair("extended", "rescaling")["p"]) > 0.05
    assert "five seeds do not settle the lead over rescaled constants" in text
    apart = {arm for arm in BASELINES if float(_pair("evoprompting", arm)["p"]) < 0.05}
    assert apart == {"scripted_iid"}
    assert "told apart from none of them but the random search" in text


def test_pages_say_what_is_shown_of_accurate_networks() -> None:
    text, by = _text("docs/results/mnist1d.md"), {}
    for arm in ("rescaling", "scripted_extended", "scripted", "iid"):
        by[arm] = re.findall(r"[+-]\d+", _pair("extended", arm)["strict"])[:3]
    mean, low, high = (-int(figure) for figure in by["rescaling"])
    assert f"`rescaling` is fitter there by {mean} ({high} to {low})" in text
    assert f"rescaling is ahead by {mean}" in _text("README.md")
    for arm, said in {"scripted_extended": "is behind by", "scripted": "by", "iid": "it is"}.items():
        mean, low, high = (int(figure) for figure in by[arm])
        assert f"`{arm}` {said} {mean} ({low} to {high})" in text
        assert low < 0 or arm == "iid"


def test_the_page_says_how_far_the_paper_s_method_is_from_the_others() -> None:
    text = _text("docs/results/mnist1d.md")
    for arm, said in {"iid": "fitter than `iid` by {}", "scripted": "than `scripted` by {}"}.items():
        pair = _pair("evoprompting", arm)
        mean, low, high = re.findall(r"[+-]\d+", pair["all"])
        assert said.format(f"{mean[1:]} ({low} to {high[1:]})") in text
        assert float(pair["p"]) > 0.05, "it is not told apart"
    for arm, said in {"extended": "{}, for all five seeds, p {}", "rescaling": "{}, p {}"}.items():
        pair = _pair("evoprompting", arm)
        mean, low, high = re.findall(r"-(\d+)", pair["all"])
        assert "fitter than it by " + said.format(f"{mean} ({high} to {low})", pair["p"]) in text
    assert f"ended at {_mean('evoprompting', '0, 1, 2, 3, 4')}" in text


def test_the_page_says_how_far_the_ablations_are_from_the_paper_s_method() -> None:
    text, pair = _text("docs/results/mnist1d.md"), _pair("evoprompting", "no_tuning")
    mean, low, high = (int(figure) for figure in re.findall(r"[+-]\d+", pair["all"]))
    end = _mean("no_tuning", "0, 1, 2, 3, 4")
    assert f"ended at {end} on average, behind by {mean} ({low} to {high}), p {pair['p']}" in text
    assert f"`no_tuning` is behind by {_quoted(pair['strict'])[1]}, for all five seeds" in text
    strict = (_ends(arm, error_below=0.2) for arm in ("evoprompting", "no_tuning"))
    assert f"but the groups overlap (p {permutation(*strict):.3f})" in text
    assert float(pair["p"]) > 0.05, "it is not told apart"
    with (ROOT / "docs/results/mnist1d/winners.csv").open(newline="") as file:
        again = {row["id"].partition("/")[0]: _fitness(row) for row in csv.DictReader(file)}
    without, with_it = ([again[f"{arm}-{seed}"] for seed in range(5)] for arm in ("no_tuning", "evoprompting"))
    leads = [one - other for one, other in zip(without, with_it, strict=True)]
    by = "{:.0f} ({:.0f} to {:.0f})".format(*bootstrap(leads))
    said = f"its winners have {sum(without) / 5:.0f}, those of `evoprompting` {sum(with_it) / 5:.0f}"
    assert f"{said}: without tuning it is ahead by {by}, p {permutation(without, with_it):.3f}" in text


def test_the_page_says_what_random_parents_cost() -> None:
    text, pair = _text("docs/results/mnist1d.md"), _pair("evoprompting", "random_parents")
    ends = [
        _listed([f"{_fittest(ROOT / f'docs/results/mnist1d/{arm}-{seed}.csv'):.0f}" for seed in range(3)])
        for arm in ("random_parents", "evoprompting")
    ]
    assert f"ended at {ends[0]}, with the fittest as parents those of the same seeds at {ends[1]}" in text
    by = f"by {_quoted(pair['all'])[1]}, p {pair['p']}"
    assert f"{ends[1]}: fitter {by}" in text
    mean = _mean("random_parents", "0, 1, 2")
    assert f"(`random_parents`, three searches) at {mean}, behind {by}" in text
    assert float(pair["p"]) > 0.05, "it is not told apart"
    again = _again("winners")
    alike = {arm: f"{sum(again[arm]) / 3:.0f}" for arm in ("iid_extended", "random_parents")}
    assert {f"{permutation(again['extended'], again[arm]):.3f}" for arm in alike} == {"0.018"}
    named = ", and ".join(f"`{arm}`, {mean}" for arm, mean in alike.items())
    assert f"for the two arms of three searches, 0.018 ({named})" in text


def test_the_page_names_the_arms_that_were_not_run_or_not_often() -> None:
    arms = yaml.safe_load((ROOT / "configs/experiments/mnist1d/arms.yaml").read_text())["arms"]
    few = {arm: len(_files(arm)) for arm in arms if len(_files(arm)) < 3}
    (none, one), *_ = re.findall(
        r"Of one arm of \[arms.yaml\]\S+ `(\w+)`, there is no search, of `(\w+)` a single one",
        _text("docs/results/mnist1d.md"),
    )
    assert few == {none: 0, one: 1}
    (end,) = (_fittest(path) for path in _files("hybrid"))
    assert f"it ended at {end:.0f}, behind all five" in _text("docs/results/mnist1d.md")
    assert end < min(_fittest(path) for arm in ("extended", "rescaling") for path in _files(arm))


def test_the_page_says_how_far_rescaled_constants_are_behind() -> None:
    page = (ROOT / "docs/results/mnist1d.md").read_text()
    (row,) = re.findall(r"^\| rescaling \| 5 \| (-161.*\| .*\+55.*)$", page, re.MULTILINE)
    by, each = (cell.strip() for cell in row.split("|")[2:4])
    assert f"by nearly as much, {_quoted(by)[1]}, four of five." in page
    assert sum(lead.startswith("+") for lead in each.split(", ")) == 4
    shares, text = {}, _text("docs/results/mnist1d.md")
    for arm in ("rescaling", "extended"):
        rows = [row for seed in range(5) for row in _children(f"{arm}-{seed}")]
        shares[arm] = {
            name: f"{100 * count / len(rows):.0f}" for name, count in Counter(r["outcome"] for r in rows).items()
        }
    ours, theirs = shares["rescaling"], shares["extended"]
    assert f"({ours['trained']} % of its children train, of `extended` {theirs['trained']} %)" in text
    assert f"({ours['failed']} % of its children, of `extended` {theirs['failed']} %)" in text
    assert f"({ours['duplicate']} and {theirs['duplicate']} %)" in text


LARGE, SMALL = "extended_no_tuning_1.5b", "extended_no_tuning"
"""Two arms that differ in their language model alone."""


def _files(arm: str) -> list[Path]:
    return sorted((ROOT / "docs/results/mnist1d").glob(f"{arm}-?.csv"))


def test_what_the_page_says_of_the_larger_model_is_what_was_found() -> None:
    text = _text("docs/results/mnist1d.md")
    percent = {}
    for arm, said in {LARGE: "{} of its {} children trained {}", SMALL: "{} of {} {}. It ended"}.items():
        children = [row for path in _files(arm) for row in _children(path.stem)]
        trained, total = sum(row["outcome"] == "trained" for row in children), len(children)
        low, high = (f"{100 * bound:.0f}" for bound in wilson(trained, total))
        percent[arm] = f"{100 * trained / total:.0f} %"
        assert said.format(trained, f"{total:,}", f"({percent[arm]}, {low} to {high})") in text
    assert f"without tuning, {percent[LARGE]} beside {percent[SMALL]})" in _text("README.md")
    ends, listed = {}, {}
    for arm in (LARGE, SMALL):
        ends[arm] = [_fittest(path) for path in _files(arm)]
        listed[arm] = _listed([f"{end:.0f}" for end in ends[arm]])
    without = [_fittest(path) for arm in BASELINES if arm != "iid" for path in _files(arm)]
    assert len(without) == 25
    assert min(ends[LARGE]) > max(without)
    assert f"It ended at {listed[LARGE]}, the fittest of the 25 at {max(without):.0f}" in text
    pair, small = _pair(LARGE, "rescaling"), _pair(SMALL, LARGE)
    assert f"over `rescaling` that is {_quoted(pair['all'])[1]}, p {pair['p']}" in text
    others = {_pair(LARGE, arm)["p"] for arm in BASELINES if arm not in ("iid", "rescaling")}
    assert others == {"0.036", "0.018"}
    assert pair["strict"].endswith("3 of 3")
    strict = permutation(*([_fittest(path, 0.2) for path in _files(arm)] for arm in (LARGE, "rescaling")))
    assert f"by {_quoted(pair['strict'])[1]}, but the groups overlap (p {strict:.3f})" in text
    by, least, most = (-int(figure) for figure in re.findall(r"[+-]\d+", small["all"])[:3])
    assert f"ended at {listed[SMALL]}, behind by {by} ({most} to {least}), p {small['p']}" in text
    assert f"(-120, p {_pair('extended', LARGE)['p']})" in text


def test_what_the_page_says_of_the_larger_model_s_winners_is_what_was_found() -> None:
    text, again = _text("docs/results/mnist1d.md"), _again("winners")
    means = {arm: f"{sum(again[arm]) / len(again[arm]):.0f}" for arm in (LARGE, SMALL, "rescaling")}
    p = {arm: f"p {permutation(again[LARGE], again[arm]):.3f}" for arm in (SMALL, "rescaling")}
    assert f"its winners have {means[LARGE]}, those of `rescaling` {means['rescaling']}, {p['rescaling']}" in text
    assert f"trained again, their winners have {means[SMALL]}, {p[SMALL]}" in text
    with (ROOT / "docs/results/mnist1d/winners.csv").open(newline="") as file:
        best = max(csv.DictReader(file), key=_fitness)
    assert best["id"].startswith(f"{LARGE}-1/")
    right = f"{100 * float(best['test_accuracy']):.1f} % of the test digits"
    fitness = f"{_fitness(best):.0f} ± {float(best['fitness_sd']):.0f}"
    assert f"{best['num_params']} parameters, {right}, {fitness}" in text


def test_pages_say_how_fit_the_larger_model_s_winners_are_by_the_paper_s_recipe() -> None:
    page, readme, again = _text("docs/results/mnist1d.md"), _text("README.md"), _again("winners_8000")
    means = {arm: f"{sum(again[arm]) / len(again[arm]):.0f}" for arm in (LARGE, SMALL, "rescaling")}
    p = {arm: f"(p {permutation(again[LARGE], again[arm]):.3f})" for arm in (SMALL, "rescaling")}
    assert f"have {means[LARGE]} on average, those of `rescaling` {means['rescaling']} {p['rescaling']}" in page
    assert len(again[SMALL]) == len(again[LARGE]) == 3
    assert f"in the three searches that differ in nothing else {means[SMALL]} {p[SMALL]}" in page
    rows: list[dict[str, str]] = []
    for table in ("winners_8000", "verified", "verified_no_tuning"):
        with (ROOT / f"docs/results/mnist1d/{table}.csv").open(newline="") as file:
            rows += csv.DictReader(file)
    best = max((row for row in rows if row["id"].startswith(LARGE)), key=_fitness)
    size, fitness = best["num_params"], f"{_fitness(best):.0f} ± {float(best['fitness_sd']):.0f}"
    right = f"{100 * float(best['test_accuracy']):.0f} %"
    assert f"Its best has {size} parameters, {fitness} and reads {right} of the test digits" in page
    assert f"one of {size} that reads {right} ({fitness}, by a model three times as large)" in readme
    small = [row for row in rows if not row["id"].startswith(LARGE) and int(row["num_params"]) <= int(size)]
    assert all(float(row["test_accuracy"]) < float(best["test_accuracy"]) for row in small)


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def test_the_network_of_500_parameters_is_smaller_and_better_than_the_page_says() -> None:
    tables = {}
    for name in ("verified", "winners_8000"):
        with (ROOT / f"docs/results/mnist1d/{name}.csv").open(newline="") as file:
            tables[name] = {row["id"]: row for row in csv.DictReader(file)}
    small = tables["verified"]["extended-0/r006p03s001"]
    rescaled = [row for id, row in tables["winners_8000"].items() if id.startswith("rescaling-")]
    assert small["num_params"] == "500"
    assert sum(int(small["num_params"]) < int(row["num_params"]) for row in rescaled) == 4
    assert all(float(small["test_accuracy"]) > float(row["test_accuracy"]) for row in rescaled)
    assert "is smaller than four of them, and right more often than all" in _text("docs/results/mnist1d.md")


def test_the_page_says_how_fit_the_best_seeds_are() -> None:
    best: dict[str, float] = {}
    for path in sorted((ROOT / "docs/results/mnist1d").glob("*-?.csv")):
        with path.open(newline="") as file:
            best[path.stem] = max(_fitness(row) for row in csv.DictReader(file) if row["round"] == "-1")
    text = _text("docs/results/mnist1d.md")
    assert f"has {min(best.values()):.0f} to {max(best.values()):.0f} at these 1,000 steps" in text
    rescaled = [fitness for search, fitness in best.items() if search.startswith("rescaling-")]
    assert f"rescaling alone goes from {sum(rescaled) / 5:.0f}, the best seed of these" in text


def test_the_page_says_how_far_evolution_is_ahead_of_the_same_prompts_without_it() -> None:
    pair, text = _pair("extended", "iid_extended"), _text("docs/results/mnist1d.md")
    for lead in (pair["all"], pair["trained"]):
        assert lead.endswith("3 of 3")
        assert f"by {_quoted(lead)[1]}" in text
    mean, low, high = (-int(figure) for figure in re.findall(r"[+-]\d+", _pair("iid", "iid_extended")["all"])[:3])
    assert f"`iid_extended` ended ahead of `iid` by {mean} ({high} to {low}, three seeds)" in text


def _children(search: str) -> list[dict[str, str]]:
    with (ROOT / f"docs/results/mnist1d/{search}.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if int(row["round"]) >= 0]


def _quoted(lead: str) -> list[str]:
    """Return how a page may quote a lead with its interval."""
    mean, low, high = re.findall(r"[+-](\d+)", lead)
    return [f"{mean}, {low} to {high}", f"{mean} ({low} to {high})"]


def _ends(arm: str, error_below: float = 1.0) -> list[float]:
    """Return the fitness that each of the five searches of an arm ended at."""
    return [_fittest(ROOT / f"docs/results/mnist1d/{arm}-{seed}.csv", error_below) for seed in range(5)]


def _again(table: str) -> dict[str, list[float]]:
    """Return by arm the fitness of the winners that were trained again."""
    again = defaultdict(list)
    with (ROOT / f"docs/results/mnist1d/{table}.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            again[row["id"].partition("/")[0].rpartition("-")[0]].append(float(row["fitness"]))
    return again


@pytest.mark.parametrize("table", ["winners", "winners_8000"])
def test_the_winners_that_were_trained_again_have_the_fitness_that_pages_quote(table: str) -> None:
    again = _again(table)
    means = {arm: sum(values) / len(values) for arm, values in again.items()}
    assert max(means.keys() - {LARGE}, key=lambda arm: means[arm]) == "extended"
    for arm in ("extended", "rescaling", "scripted_extended", "iid"):
        assert len(again[arm]) == 5
        p = permutation(again["extended"], again[arm])
        for page in ("mnist1d.md", "../../README.md"):
            text = (ROOT / "docs/results" / page).read_text()
            assert f"{means[arm]:.0f}" in text, f"{page} does not have that of {arm}"
            assert arm == "extended" or f"{p:.3f}" in text


def test_the_best_network_of_all_is_that_which_pages_name() -> None:
    rows: list[dict[str, str]] = []
    for table in ("winners_8000", "verified", "verified_no_tuning"):
        with (ROOT / f"docs/results/mnist1d/{table}.csv").open(newline="") as file:
            rows += csv.DictReader(file)
    best = max(rows, key=_fitness)
    assert best["id"] == "evoprompting-3/r003p06s000"
    fitness = f"{_fitness(best):.0f} ± {float(best['fitness_sd']):.0f}"
    right = f"{100 * float(best['test_accuracy']):.0f} % of the test digits"
    page, readme = _text("docs/results/mnist1d.md"), _text("README.md")
    assert f"has {fitness}, with {best['num_params']} parameters and {right}" in page
    assert f"of {best['num_params']} parameters that reads {right} (fitness {fitness})" in readme
    assert "found by the paper's method exactly;" in readme


def test_the_page_says_that_the_paper_s_method_is_told_apart_from_few_when_trained_again() -> None:
    text = _text("docs/results/mnist1d.md")
    again, longer = _again("winners"), _again("winners_8000")
    p = permutation(again["evoprompting"], again["scripted_iid"])
    assert p > 0.05
    means = [f"{sum(again[arm]) / 5:.0f}" for arm in ("evoprompting", "scripted_iid")]
    assert f"its winners have {means[0]} and those of that {means[1]}, p {p:.3f}" in text
    fitness = sorted(longer["evoprompting"], reverse=True)
    assert f"lie far apart ({_listed([f'{value:.0f}' for value in fitness])})" in text
    ahead = sum(longer["rescaling"]) / 5 - sum(fitness) / 5
    assert f"is ahead of it by {ahead:.0f} (p {permutation(fitness, longer['rescaling']):.3f})" in text
    assert f"that of `extended` (p {permutation(fitness, longer['extended']):.3f})" in text
    assert all(permutation(fitness, others) > 0.05 for others in longer.values())


def test_the_page_says_how_many_winners_were_trained_again_and_who_is_the_fittest() -> None:
    with (ROOT / "docs/results/mnist1d/winners.csv").open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=_fitness, reverse=True)
    arms = Counter(row["id"].partition("-")[0] for row in rows[:8])
    assert arms == {"extended": 5, SMALL: 1, LARGE: 2}
    assert _text("docs/results/mnist1d.md").count(f"among the eight fittest of the {len(rows)}") == 2


def test_pages_say_what_the_winners_trained_again_tell_of_tuning() -> None:
    page = (ROOT / "docs/results/mnist1d.md").read_text()
    again = page.partition("<!-- winners: mnist1d/winners.csv -->")[2].partition("\n\n")[0]
    (row,) = re.findall(r"^\| extended_no_tuning \| 5 \| (.*) \|$", again, re.MULTILINE)
    _, mean, lead, each, p = (cell.strip() for cell in row.split("|"))
    assert sum(value.startswith("+") for value in each.split(", ")) == 4
    text = _text("docs/results/mnist1d.md")
    assert f"are fitter by {_quoted(lead)[1]}, four of five, p {p}" in text
    assert f"(over `extended_no_tuning`, {mean.partition(' ')[0]}, it is {p})" in text
    assert f"are fitter than those without by {_quoted(lead)[1]}, p {p}" in _text("docs/results/tuning.md")


def test_all_programs_of_the_winners_are_those_of_their_searches() -> None:
    """And a program that two tables have was trained by the same recipe with the same seeds."""
    results = ROOT / "docs/results/mnist1d"
    with (results / "winners_8000.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (results / "verified.csv").open(newline="") as file:
        verified = {row["id"]: row for row in csv.DictReader(file)}
    for row in rows:
        search = row["id"].partition("/")[0]
        assert float(row["search_fitness"]) == pytest.approx(_fittest(results / f"{search}.csv"))
        if search.startswith("extended-"):
            assert row == verified[row["id"]]
        assert row["trained"] == row["seeds"] == "5"


def test_the_finalists_have_the_fitness_that_the_page_quotes() -> None:
    best: dict[str, float] = {}
    with (ROOT / "docs/results/mnist1d/verified.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            search = row["id"].partition("/")[0]
            best[search] = max(best.get(search, -math.inf), float(row["fitness"]))
    *others, last = (f"{best[search]:.0f}" for search in sorted(best))
    assert f"has {', '.join(others)} and {last}, chosen by" in _text("docs/results/mnist1d.md")


def _quickstart(number: int) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """Return the shares of a quickstart that were trained, failed and duplicate, its best child and its best seed."""
    with (ROOT / f"docs/results/quickstart/quickstart-{number}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    seeds, children = ([row for row in rows if (row["round"] == "-1") is of_seeds] for of_seeds in (True, False))
    outcomes = Counter(row["outcome"] for row in children)
    shares = [f"{100 * outcomes[name] / len(children):.0f} %" for name in ("trained", "failed", "duplicate")]
    best, seed = (
        max((row for row in some if row["counts"] == "True"), key=lambda row: float(row["fitness"]))
        for some in (children, seeds)
    )
    return shares, best, seed


def test_the_quickstarts_in_readme_are_such_as_were_run() -> None:
    text = " ".join((ROOT / "README.md").read_text().split())
    shares, best, seed = _quickstart(0)
    assert "of which {} were trained, {} failed, {} were duplicates".format(*shares) in text
    size, right = int(float(best["num_params"])), 100 * (1 - float(best["error"]))
    found = f"{size} parameters and a validation accuracy of {right:.1f} % (fitness {float(best['fitness']):.0f})"
    assert f"The best child has {found}, the best seed {float(seed['fitness']):.0f}" in text
    for number in (1, 2):
        shares, best, seed = _quickstart(number)
        ended = f"the best child has {float(best['fitness']):.0f}, the best seed {float(seed['fitness']):.0f}"
        assert f"{shares[0]} were trained, and {ended}" in text


def test_the_winner_in_readme_is_what_the_search_found() -> None:
    with (ROOT / "docs/results/mnist1d/extended-0.csv").open(newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    winner, seed = rows["r007p01s000"], rows["seed-gru"]
    assert float(winner["fitness"]) == max(float(row["fitness"]) for row in rows.values() if row["counts"] == "True")
    sources = (ROOT / "seeds/mnist1d/gru.py").read_text(), winner["source"]
    before, after = (source[source.index("class") :].rstrip().split("\n") for source in sources)
    lines = "\n".join(list(difflib.unified_diff(before, after, n=99, lineterm=""))[3:])
    readme = (ROOT / "README.md").read_text()
    assert f"```diff\n{lines}\n```" in readme
    assert f"{int(winner['num_params']):,}" in readme
    assert f"{int(seed['num_params']):,} parameters:" in readme
    generations, ids = 0, {winner["id"]}
    while seed["id"] not in ids:
        ids = {parent for id in ids for parent in rows[id]["parents"].split()}
        generations += 1
    assert generations == 5


def test_the_terminal_in_readme_shows_what_the_search_found() -> None:
    with (ROOT / "docs/results/mnist1d/extended-4.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shown = (ROOT / "README.md").read_text().partition("```text\nrun       extended-4-")[2].partition("```")[0]
    of_round = re.findall(r"^ (\d+) +(\d+) +(\d+) (.*) (-[\d.]+)  (r\S+)$", shown, re.MULTILINE)
    assert [int(round) for round, *_ in of_round] == list(range(10))
    for round, trained, failed, _, fitness, id in of_round:
        outcomes = [row["outcome"] for row in rows if row["round"] == round]
        assert (outcomes.count("trained"), outcomes.count("failed")) == (int(trained), int(failed)), round
        best = max((row for row in rows if row["round"] == round and row["counts"] == "True"), key=_fitness)
        assert (best["id"], f"{_fitness(best):.4g}") == (id, fitness)
    fittest = re.findall(r"^ \d  (r\S+) +-\S+ +\S+ +(\d+)", shown, re.MULTILINE)
    assert [(row["id"], row["num_params"]) for row in rows if row["id"] in dict(fittest)] == sorted(fittest)
    assert len(fittest) == 5


def test_what_pages_say_of_repairs_is_what_was_measured() -> None:
    with (ROOT / "docs/results/repairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    drawn = Counter(row["prompt"] for row in rows)
    trained = Counter(row["prompt"] for row in rows if row["outcome"] == "trained")
    repaired, ordinary = ((drawn[prompt], trained[prompt]) for prompt in ("alone", "ordinary"))
    for page in ("docs/algorithm.md", "docs/results/repairs.md"):
        text = " ".join((ROOT / page).read_text().split())
        assert "of {} failed children {} was trained after it".format(*repaired) in text
        assert "of {} children of ordinary prompts {}".format(*ordinary) in text


@pytest.mark.parametrize(
    ("folder", "tunings"), [("tuning/eighth", "eight tunings"), ("tuning", "five, of another search,")]
)
def test_what_the_page_on_tuning_says_is_what_was_measured(folder: str, tunings: str) -> None:
    text = " ".join((ROOT / "docs/results/tuning.md").read_text().split())
    with (ROOT / f"docs/results/{folder}/outcomes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    trained = Counter(row["rate"] for row in rows if row["outcome"] == "trained")
    drawn = Counter(row["rate"] for row in rows)
    assert len({*drawn.values()}) == 1
    found = f"{trained['0.0']} of {drawn['0.0']} without, {trained['0.1']} at 0.1, {trained['0.003']} at 0.003"
    assert f"after {tunings} {found}" in text


def test_the_losses_and_searches_that_the_page_on_tuning_names_are_those_measured() -> None:
    text = " ".join((ROOT / "docs/results/tuning.md").read_text().split())
    with (ROOT / "docs/results/tuning/losses.csv").open(newline="") as file:
        second = {row["rate"]: row["losses"] for row in csv.DictReader(file) if row["round"] == "2"}
    assert f"In the second tuning the loss went {second['0.1']}; at 0.003, {second['0.003']}" in text
    page = _text("docs/results/mnist1d.md")
    for arm, other, said in (
        ("extended", "extended_no_tuning", "`extended` with seeds 0 to 4"),
        ("evoprompting", "no_tuning", "The paper's method without extensions"),
    ):
        with_it, without = (_listed([f"{end:.0f}" for end in _ends(name)]) for name in (arm, other))
        pair = _pair(arm, other)
        mean, low, high = (int(figure) for figure in re.findall(r"[+-]\d+", pair["all"]))
        by = f"by {mean} ({low} to {high}), p {pair['p']}"
        assert f"{said} ended at {with_it} with tuning, at {without} without: fitter {by}" in text
        assert by in page
        assert float(pair["p"]) > 0.05


PAGES_OF_DUPLICATES = ("docs/results/duplicates.md", "docs/configuration.md")


def test_what_pages_say_of_duplicates_is_what_was_measured() -> None:
    with (ROOT / "docs/results/duplicates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    known = {(row["search"], row["id"]): row for row in rows}
    children = [row for row in rows if row["round"] != "-1"]
    left_out = [row for row in children if row["same_computation"]]
    alike = [row for row in children if row["similarity"]]
    fitter = [row for row in alike if _fitness(row) > _fitness(known[row["search"], row["similarity"]])]
    for row in left_out:
        original = known[row["search"], row["same_computation"]]
        assert all(row[name] == original[name] for name in ("num_params", "error", "fitness"))
        assert (row["same result"] or row["id"]) == (original["same result"] or original["id"])
    page, key = (" ".join((ROOT / name).read_text().split()) for name in PAGES_OF_DUPLICATES)
    assert f"{len(left_out)} of {len(children)} trained children differed" in page
    repeated = sum(bool(row["same result"]) for row in children)
    assert f"finds {len(left_out)} of the {repeated} repeated results" in page
    assert f"of {len(alike)} with a similarity of 0.9 or more, {len(fitter)} were fitter" in page
    assert f"{len(children)} trained children it leaves out {len(left_out)}," in key


def _fitness(row: dict[str, str]) -> float:
    return float(row["fitness"])


def _fittest(path: Path, error_below: float = 1.0) -> float:
    with path.open(newline="") as file:
        counted = [row for row in csv.DictReader(file) if row["counts"] == "True"]
    return max(_fitness(row) for row in counted if float(row["error"]) < error_below)


def test_the_tables_of_results_are_what_their_files_say() -> None:
    command = [sys.executable, "docs/results/tables.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_rank_correlation_is_held_against_random_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs/results")
    correlation = runpy.run_path(str(ROOT / "docs/results/transfers.py"))["correlation"]
    found, share = correlation([(1, 10), (2, 20), (3, 25), (4, 99)])
    assert found == "+1.00"
    assert float(share.removesuffix(" %")) == pytest.approx(
        100 * 2 / 24, abs=1
    )  # of 24 orders, this one and its reverse
    assert correlation([(1, 3), (2, 2), (2, 2), (4, 1)])[0] == "-1.00"
    assert correlation([(1, 5), (2, 5), (3, 5), (4, 5)])[0] == "none: all are equal"
    assert correlation([(1, 1), (2, 3), (3, 2), (4, 4)])[0] == "+0.80"


def test_what_is_drawn_from_one_prompt_is_no_independent_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs/results")
    rates = runpy.run_path(str(ROOT / "docs/results/rates.py"))
    for degrees, quantile in ((4, 2.776), (7, 2.365), (30, 2.042)):
        assert rates["t_95"](degrees) == pytest.approx(quantile, rel=0.003)
    means = (-10.0, 0.0, 10.0, 20.0, 5.0)  # 5, with a standard deviation of 11.18, a root of five of which is 5
    once, often = (rates["points"]([[mean] * count for mean in means]) for count in (1, 40))
    assert once == often == "+5.0 (-8.8 to +18.8)"


def test_the_published_table_of_transfers_is_the_papers() -> None:
    with (ROOT / "docs/results/clrs/paper.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["algorithm"] for row in rows] == sorted(row["algorithm"] for row in rows)
    assert len(rows) == 30
    better = [row for row in rows if row["best_model"]]
    assert len(better) == 21  # "21 out of the 30", section 5
    assert all(float(row["accuracy"]) > float(row["baseline_accuracy"]) for row in better)
    models = {path.stem for path in (ROOT / "seeds/clrs_discovered").glob("*.py")}
    assert {row["best_model"] for row in better} == models


def test_the_page_on_clrs_names_the_algorithms_that_triplets_cannot_change() -> None:
    page = " ".join((ROOT / "docs/results/clrs.md").read_text().split())
    alike = [name for name in algorithms() if not decodes_pairs(name)]
    assert len(alike) == 8
    assert f"answers and hints**: {', '.join(alike[:-1])} and {alike[-1]} " in page
    with (ROOT / "docs/results/clrs/paper.csv").open(newline="") as file:
        leads = {
            row["algorithm"]: float(row["accuracy"]) - float(row["baseline_accuracy"]) for row in csv.DictReader(file)
        }
    chance = max(leads[name] for name in alike)
    assert 6 < chance < 7, "A lead of six points can be chance"
    larger = sorted((name for name in leads if leads[name] > chance), key=leads.__getitem__)
    assert f"Five of the other 22 algorithms have a larger one: {', '.join(larger[:-1])} and {larger[-1]}." in page


def test_what_the_page_on_clrs_says_of_transfer_is_what_was_found() -> None:
    page, text = (ROOT / "docs/results/clrs.md").read_text(), _text("docs/results/clrs.md")
    ranks = dict(re.findall(r"^\| the (.*?) \| (\d+ \| \S+ \| \d+ %) \|$", page, re.MULTILINE))
    count, correlation, chance = ranks["baseline's score"].split(" | ")
    assert count == "10"
    assert f"({correlation}, of ten; of random orders {chance} are as far from 0)" in text
    lead = ranks["lead of the paper's best model"].split(" | ")[1]
    assert f"({lead})" in text
    leads = dict(re.findall(r"^\| (\w+) \|.* \| ([+-]\d+\.\d ± \d+\.\d) \|$", page, re.MULTILINE))
    del leads["segments_intersect"]
    assert len(leads) == 7
    figures = {name: [float(part) for part in lead.split(" ± ")] for name, lead in leads.items()}
    assert all(lead > 0 for lead, _ in figures.values())
    assert [name for name, (lead, error) in figures.items() if lead > 2 * error] == ["bfs"]
    assert f"({leads['bfs'][1:]})" in text
    with (ROOT / "docs/results/clrs/transfer.csv").open(newline="") as file:
        done = {(row["algorithm"], row["model"]): float(row["accuracy"]) for row in csv.DictReader(file)}
    apart = done["dijkstra", "concat_rep"] - done["dijkstra", "baseline"]
    assert f"On Dijkstra ConcatRep, by {apart:.0f} points" in text


def test_what_the_page_on_clrs_says_of_its_search_is_what_was_found() -> None:
    with (ROOT / "docs/results/clrs/extended_no_tuning-0.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    seeds, children = ([row for row in rows if (row["round"] == "-1") == is_seed] for is_seed in (True, False))
    page = (ROOT / "docs/results/clrs.md").read_text()
    text = " ".join(page.split())
    assert f"All of its {len(children)} children are drawn and evaluated" in text
    best = max((row for row in children if row["counts"] == "True"), key=_fitness)
    assert f"```python\n{best['source'][best['source'].index('class') :].rstrip()}\n```" in page
    fitter = sorted(_fitness(row) > _fitness(best) for row in seeds)
    assert fitter == [False] * 8 + [True]
    assert "No child is fitter than the best seed" in text
    failed = [row["detail"] for row in children if row["outcome"] == "failed"]
    returned = sum("Triplets returned a tensor of shape" in detail for detail in failed)
    combined = sum("The size of tensor" in detail for detail in failed)
    assert f"Of the {len(failed)} that failed, {returned + combined} failed on shapes: {returned} return" in text
    assert f"{combined} combine tensors that do not fit" in text
    apart = float(best["error"]) - min(float(row["error"]) for row in seeds)
    assert f"Its error is {100 * apart:.1f} points above that of `v3_sum`" in text
