"""Reports in a real browser: drawn without a network, without a word on the console, and safe to open."""

from __future__ import annotations

import json
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.browsing import complaints, painted, requested, show
from support.reporting import START, candidate, make_run, trained, write

from evohpc.messages import Candidate, Result

pytest.importorskip("bokeh", reason="pip install 'evohpc[report]'")

from evohpc.messages import Status
from evohpc.report.report import report
from evohpc.report.runs import read
from evohpc.run_folder import RunDir

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("made_once")]

HOSTILE = (
    '</script><script>window.owned = 1</script><img src=x onerror="window.owned = 2">'
    "<!--<script>{{ 7 * 7 }}${window.owned = 3}\u202egnp.exe\u2066\x1b[31mred\x00"
)

CHARTS = {
    *("best_by_children", "best_by_hours", "valid_novel", "tradeoff", "outcomes"),
    *("temperatures", "failures", "stages", "clock", "at_work", "lineage", "curve"),
}


def draw(run: Path, file: Path, **more: Any) -> Path:
    file.write_text(report(read(run), **more), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    run = make_run(folder, 300, rounds=5, points=8)
    for round, doing in ((1, "tuning"), (1, "drawing"), (2, "drawing")):
        span = {"doing": doing, "seconds": 60, "ended_at": (START + timedelta(minutes=10 * round)).isoformat()}
        path = RunDir(run).round(round).lm_times
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(span) + "\n")
    return draw(run, folder / "report.html", target=-133)


@pytest.fixture
def shown(page: Path, browser: Any) -> Any:
    show(browser, page)
    return browser


def click_on(browser: Any, element: Any) -> None:
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].click()", element)


def count(browser: Any) -> int:
    return int(
        browser.execute_script("return document.getElementById('count').textContent").split()[0].replace(",", "")
    )


def test_every_chart_is_drawn_without_a_word_and_without_a_request(shown: Any) -> None:
    assert {name for name, pixels in painted(shown).items() if pixels > 100} == CHARTS
    assert complaints(shown) == []
    assert requested(shown) == []


def test_a_search_narrows_the_table(shown: Any) -> None:
    whole = count(shown)
    box = shown.find_element("id", "search")
    box.send_keys("kernel=3")
    time.sleep(0.6)
    narrow = count(shown)
    assert 0 < narrow < whole == 303
    click_on(shown, shown.find_element("id", "clear"))
    assert count(shown) == whole


def test_a_box_of_an_outcome_takes_it_away(shown: Any) -> None:
    outcome = shown.execute_script("return report.candidates.outcome")
    click_on(shown, shown.find_element("css selector", "input[value=failed]"))
    assert count(shown) == sum(name != "failed" for name in outcome)


def test_a_header_sorts_and_says_so(shown: Any) -> None:
    click_on(shown, shown.find_element("css selector", "button[data-key=params]"))
    sizes = [
        int(cell.text.replace(",", ""))
        for cell in shown.find_elements("css selector", "#candidates tbody td:nth-child(6)")
    ]
    assert sizes == sorted(sizes)
    assert len(sizes) == 50
    assert shown.find_element("css selector", "th[aria-sort]").get_attribute("aria-sort") == "ascending"


def test_a_bar_lists_its_children(shown: Any) -> None:
    """By a real click of the mouse on the canvas."""
    from selenium.webdriver import ActionChains

    figure = shown.find_element("id", "failures")
    shown.execute_script("arguments[0].scrollIntoView({block: 'center'})", figure)
    time.sleep(0.5)
    size = figure.size
    ActionChains(shown).move_to_element_with_offset(figure, -size["width"] // 4, -size["height"] // 8).click().perform()
    time.sleep(0.5)
    assert shown.execute_script("return chosen.status")
    statuses = set(shown.execute_script("return passing().map((row) => report.candidates.status[row])"))
    assert len(statuses) == 1


def test_drawing_around_points_filters_the_rest(shown: Any) -> None:
    """By a real drag of the mouse: the lasso is what the chart begins with."""
    from selenium.webdriver import ActionChains

    before = shown.execute_script("return Array.from(sourceNamed('outcomes', 'outcomes_source').data.count)")
    figure = shown.find_element("id", "tradeoff")
    shown.execute_script("arguments[0].scrollIntoView({block: 'center'})", figure)
    time.sleep(0.5)
    drag = ActionChains(shown).move_to_element_with_offset(figure, -300, -150).click_and_hold()
    for x, y in ((250, 0), (0, 250), (-250, 0), (0, -240)):
        drag = drag.move_by_offset(x, y)
    drag.release().perform()
    time.sleep(0.5)
    assert 1 < count(shown) < 303
    shown.execute_script("document.getElementById('outcomes').scrollIntoView()")
    time.sleep(0.5)
    after = shown.execute_script("return Array.from(sourceNamed('outcomes', 'outcomes_source').data.count)")
    assert 0 < sum(after) < sum(before)


def test_a_candidate_shows_its_source_and_what_changed(shown: Any) -> None:
    click_on(shown, shown.find_element("css selector", "#candidates tbody button.link"))
    best = shown.execute_script("return report.candidates.id[report.candidates.best]")
    assert shown.find_element("id", "candidate-id").text == best
    assert "class Model(nn.Module)" in shown.find_element("id", "source").text
    assert shown.find_elements("css selector", "#candidate-body pre .plus")


def test_a_candidate_s_training_is_drawn_beside_its_parents(shown: Any) -> None:
    best = shown.execute_script("return report.candidates.best")
    script = "return Array.from(sourceNamed('curve', arguments[0]).data[arguments[1]])"
    drawn = shown.execute_script(script, "curve_own", "error")
    assert len(drawn) == 8
    assert drawn == shown.execute_script("return report.curves.errors[arguments[0]].slice(1)", best)
    assert shown.execute_script(script, "curve_least", "x") == [100.0 * drawn.index(min(drawn))]
    parents = shown.execute_script("return report.candidates.parents[arguments[0]].length", best)
    assert len(shown.execute_script(script, "curve_parents", "xs")) == parents > 0
    assert "least error" in shown.find_element("id", "candidate-facts").text


def test_what_was_not_trained_has_no_curve(shown: Any) -> None:
    failed = shown.execute_script("return report.candidates.status.indexOf('timeout')")
    shown.execute_script("showCandidate(arguments[0], true)", failed)
    assert not shown.find_element("id", "curve").is_displayed()
    assert shown.find_element("id", "source").is_displayed()


def test_a_legend_names_only_what_is_there(shown: Any) -> None:
    """The last candidate of a search has ancestors; a seed has none, and one without children is alone."""
    last, seed = shown.execute_script(
        "const { fitness, round } = report.candidates;"
        "return [round.findLastIndex((_, row) => fitness[row] !== null), round.findIndex((one) => one < 0)]"
    )
    script = """
    showCandidate(arguments[0], true);
    const items = (chart) => charts.get(chart).above[0].items.filter((item) => item.visible);
    return ["lineage", "curve"].map((chart) => items(chart).map((item) => item.label.value));"""
    descent = ["chosen", "path of fittest parents", "other descent", "ancestor or descendant", "other candidate"]
    assert shown.execute_script(script, last) == [descent, ["this candidate", "its least error", "its parents"]]
    shown.execute_script("for (const list of children) list.length = 0")
    assert shown.execute_script(script, seed) == [["chosen", "other candidate"], ["this candidate", "its least error"]]


def test_a_diff_is_one(shown: Any) -> None:
    script = "return difference(arguments[0], arguments[1])"
    lines = shown.execute_script(script, "a\nb\nc\nd", "a\nc\nx\nd")
    assert [mark for mark, _ in lines] == [" ", "\N{MINUS SIGN}", " ", "+", " "]
    assert [line for mark, line in lines if mark != "+"] == list("abcd")
    assert [line for mark, line in lines if mark != "\N{MINUS SIGN}"] == list("acxd")


def test_it_can_be_used_by_keys_alone(shown: Any) -> None:
    shown.execute_script("document.getElementById('search').focus()")
    from selenium.webdriver.common.keys import Keys

    for _ in range(40):
        focused = shown.switch_to.active_element
        if "link" in (focused.get_attribute("class") or "") and focused.text:
            break
        focused.send_keys(Keys.TAB)
    wanted = focused.text
    focused.send_keys(Keys.ENTER)
    time.sleep(0.3)
    assert shown.find_element("id", "candidate-id").text == wanted


def test_the_children_of_a_parent_are_counted_and_listed(shown: Any) -> None:
    first = shown.find_element("css selector", "#parents tbody tr")
    parent, _, children, *_ = (cell.text for cell in first.find_elements("tag name", "td"))
    script = (
        "const row = report.candidates.id.indexOf(arguments[0]);"
        "return report.candidates.parents.filter((parents) => parents.includes(row)).length"
    )
    assert int(children) == shown.execute_script(script, parent)
    click_on(shown, first.find_elements("css selector", "button.link")[1])
    assert count(shown) == int(children)


def test_a_parent_s_share_has_those_that_a_rung_dropped_and_not_those_without_an_outcome(
    tmp_path: Path, browser: Any
) -> None:
    run = make_run(tmp_path, 0, rounds=1)
    outcomes = (Status.PENDING, Status.DROPPED, Status.DROPPED, Status.DUPLICATE, Status.PENDING, Status.NODE_FAIL)
    born: dict[str, Any] = {"round": 0, "parents": ("seed-a",)}
    children = [candidate(f"c{n}", str(n), status=status, **born) for n, status in enumerate(outcomes)]
    first = (candidate("seed-a", "s"), trained("seed-a", 1000, 0.2))
    write(run, [first, (children[0], trained("c0", 900, 0.1)), *((child, None) for child in children[1:])])
    show(browser, draw(run, tmp_path / "report.html"))
    cells = [cell.text for cell in browser.find_elements("css selector", "#parents tbody td")]
    assert cells[2:5] == ["6", "3 (75.0 %)", "1"]


def test_a_rule_s_child_is_of_no_temperature_and_said_to_be_a_rule_s(tmp_path: Path, browser: Any) -> None:
    run = make_run(tmp_path, 0, rounds=1)
    born: dict[str, Any] = {"round": 0, "parents": ("seed-a",), "temperature": 0.8, "status": Status.DUPLICATE}
    children = [candidate("drawn", "1", **born), candidate("by-rule", "2", **born, tokens=0)]
    seed = candidate("seed-a", "s", tokens=0)
    write(run, [(seed, trained("seed-a", 1000, 0.2)), *((child, None) for child in children)])
    show(browser, draw(run, tmp_path / "report.html"))
    browser.execute_script("choose({temperature: '0.8', rows: new Set([0, 1, 2])})")
    assert browser.execute_script("return passing().map((row) => report.candidates.id[row])") == ["drawn"]
    browser.execute_script("document.getElementById('temperatures').scrollIntoView()")
    time.sleep(0.5)
    counted = "return Array.from(sourceNamed('temperatures', 'temperatures_source').data.count)"
    assert browser.execute_script(counted) == [1]
    browser.execute_script("return showCandidate(report.candidates.id.indexOf('by-rule'), false)")
    facts = browser.find_element("id", "candidate-facts").text
    assert "its parent's, with numbers changed by a rule (search.rescale)" in facts
    assert "at temperature" not in facts


def test_hostile_text_stays_text(tmp_path: Path, browser: Any) -> None:
    run = make_run(tmp_path, 0, rounds=1)
    seed = candidate(f"seed-{HOSTILE}", HOSTILE)
    child = candidate("r000p00s000", HOSTILE * 8000, round=0, parents=(seed.id, seed.id))
    failed = candidate(f"r000{HOSTILE}", "x", round=0, status=Status.SYNTAX, detail=HOSTILE, parents=(seed.id,))
    result = trained(child.id, 900, 0.1, host=HOSTILE, versions={HOSTILE: HOSTILE}, metrics={"val_accuracy": 0.9})
    write(run, [(seed, trained(seed.id, 1000, 0.2)), (child, result), (failed, None)])
    log = RunDir(run).round(0).log(child.id, 1)
    log.parent.mkdir(parents=True)
    log.write_text(f"{'x' * 3000}{HOSTILE}")
    page = draw(run, tmp_path / "hostile.html")
    show(browser, page)
    assert len(child.source) > 1e6
    for row in range(3):
        browser.execute_async_script("showCandidate(arguments[0], true).then(arguments[1])", row)
        assert "window.owned" in browser.find_element("id", "candidate").get_attribute("textContent")
    browser.execute_async_script("showCandidate(2, true).then(arguments[0])")
    assert "window.owned" in browser.find_element("id", "log").text
    assert browser.execute_script("return window.owned ?? null") is None
    strange = "return [...document.querySelectorAll('img, iframe, [onerror]')].map((e) => e.outerHTML)"
    assert browser.execute_script(strange) == []
    assert browser.execute_script("return document.scripts.length") == 4
    text = browser.execute_script("return document.body.innerText")
    assert not re.search("[\u202e\u2066\x1b]", text)
    assert "\\u202e" in text
    assert complaints(browser) == []
    assert requested(browser) == []


def test_the_policy_stops_what_is_injected(shown: Any) -> None:
    """Were a text node ever forgotten: neither scripts nor handlers run, and nothing can be sent."""
    shown.execute_script("document.body.insertAdjacentHTML('beforeend', arguments[0])", '<img src=x onerror="owned=1">')
    shown.execute_script(
        "const s = document.createElement('script'); s.textContent = 'owned=2'; document.body.append(s)"
    )
    sent = "fetch('https://example.org/').then(() => arguments[0]('sent'), () => arguments[0]('refused'))"
    assert shown.execute_async_script(sent) == "refused"
    # Later, in the page's own time: what the driver itself runs may evaluate.
    later = "const d = arguments[0]; setTimeout(() => { try { d(Function('return 1')()) } catch { d('refused') } })"
    assert shown.execute_async_script(later) == "refused"
    assert shown.execute_script("return window.owned ?? null") is None
    assert any("Content Security Policy" in message for message in complaints(shown))


@pytest.mark.parametrize("what", ["nothing", "seeds", "pending", "one", "zero error"])
def test_a_search_that_has_hardly_begun_is_drawn_too(what: str, tmp_path: Path, browser: Any) -> None:
    run = make_run(tmp_path, 0, rounds=2)
    seeds: list[tuple[Candidate, Result | None]] = [
        (candidate("seed-a"), trained("seed-a", 900, 0.5)),
        (candidate("seed-b"), trained("seed-b", 800, 0.9)),
    ]
    entries: dict[str, list[tuple[Candidate, Result | None]]] = {
        "nothing": [],
        "seeds": seeds,
        "pending": [*seeds, (candidate("r000p00s000", round=0), None)],
        "one": [(candidate("r000p00s000", round=0), trained("r000p00s000", 1, 0.2, at=START + timedelta(hours=1)))],
        "zero error": [*seeds, (candidate("r000p00s000", round=0), trained("r000p00s000", 0, 0.0))],
    }
    write(run, entries[what], closed=[-1])
    show(browser, draw(run, tmp_path / "report.html"))
    assert complaints(browser) == []
    assert count(browser) == len(entries[what])


def test_ten_thousand_candidates_are_a_small_file(tmp_path: Path, browser: Any) -> None:
    page = draw(make_run(tmp_path, 10_000, points=100), tmp_path / "large.html")
    assert page.stat().st_size < 5e6
    show(browser, page)
    assert count(browser) == 10_003
    assert len(browser.find_elements("css selector", "#candidates tbody tr")) == 50
    assert complaints(browser) == []
