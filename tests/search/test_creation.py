import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.killing import declare_dead

from evohpc.config.search import Config, load_config, load_resolved
from evohpc.config.site import ContainerSection, Site, load_site
from evohpc.driver import lease
from evohpc.errors import ConfigError, EvaluationError, LeaseError, LMError, RunFolderError, TaskError
from evohpc.files import write_atomic
from evohpc.run_folder import RunDir
from evohpc.search import creation
from evohpc.search.creation import create, exists, reconfigure, rehearse, run_id, save_config

pytestmark = pytest.mark.usefixtures("unsynced")

CONFIG = """
task: TASK
task_options: {steps: 20}
seeds: programs
lm: {engine: scripted, deepspeed: zero.json}
search: {rounds: 3, temperatures: [0.5]}
evaluation: {workers: 2}
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "My run")


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., Config]:
    """Writes what a user has, once; returns the config with overrides."""
    folder = tmp_path / "home"
    write_atomic(folder / "programs" / "a.py", "class A: pass\n")
    write_atomic(folder / "programs" / "b.py", "class B: pass\n")
    write_atomic(folder / "programs" / "notes.txt", "x")
    write_atomic(folder / "programs" / "._a.py", b"\x00\xff")
    write_atomic(folder / "mine.py", "class Mine: pass\n")
    write_atomic(folder / "zero.json", '{"zero_optimization": {"stage": 2}}')
    write_atomic(folder / "config.yaml", CONFIG.replace("TASK", "mine.py:Mine"))
    return lambda *overrides: load_config(folder / "config.yaml", overrides)


@pytest.fixture(autouse=True)
def prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task's data takes torch, and has tests of its own."""

    def prepare(run: RunDir, task_file: str) -> None:
        assert str(load_config(run.config).task) == f"{run.task_file}:Mine"
        write_atomic(run.task_interface, "{}")

    monkeypatch.setattr(creation, "prepare", prepare)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_run_has_copies_of_all_it_depends_on(run: RunDir, configure: Callable[..., Config]) -> None:
    config = configure()
    create(run, config)
    assert exists(run)
    found = content(run.path)
    assert {name for name in found if not name.startswith("lease/")} == {
        "config.yaml",
        "data/task.json",
        "deepspeed.json",
        "labels/secret",
        "provenance.json",
        "seeds/a.py",
        "seeds/b.py",
        "task.py",
    }
    assert found["seeds/a.py"] == b"class A: pass\n"
    assert found["task.py"] == b"class Mine: pass\n"
    assert json.loads(found["deepspeed.json"]) == {"zero_optimization": {"stage": 2}}


def test_its_config_names_the_copies_and_is_else_the_same(run: RunDir, configure: Callable[..., Config]) -> None:
    config = configure()
    create(run, config)
    own = load_config(run.config)
    assert (own.seeds, str(own.task)) == (run.seeds, f"{run.task_file}:Mine")
    assert own.lm.deepspeed == run.deepspeed
    for section in ("search", "evaluation", "prompt", "tuning", "screening", "task_options"):
        assert getattr(own, section) == getattr(config, section)


def test_a_run_can_be_moved_and_its_sources_deleted(
    run: RunDir, configure: Callable[..., Config], tmp_path: Path
) -> None:
    config = configure()
    create(run, config)
    moved = RunDir(tmp_path / "elsewhere" / "run")
    moved.path.parent.mkdir()
    run.path.rename(moved.path)
    reconfigure(moved, config)
    shutil.rmtree(tmp_path / "home")
    own = load_config(moved.config)
    assert (own.seeds, str(own.task), own.lm.deepspeed) == (moved.seeds, f"{moved.task_file}:Mine", moved.deepspeed)
    reconfigure(moved, own)


def test_where_a_run_comes_from_is_written_down(run: RunDir, configure: Callable[..., Config], tmp_path: Path) -> None:
    create(run, configure())
    provenance = json.loads(run.provenance.read_text())
    assert provenance["seeds_from"] == str(tmp_path / "home" / "programs")
    assert provenance["task_from"] == str(tmp_path / "home" / "mine.py:Mine")
    is_cloned = (Path(creation.__file__).parents[2] / ".git").exists()
    assert len(provenance["git_commit"].partition("-")[0]) == (40 if is_cloned else 0)
    assert {"created_at", "host", "command", "evohpc", "python"} <= set(provenance)
    assert run_id(run) == provenance["run_id"]


def test_every_run_has_an_id_of_its_own_made_of_its_name(tmp_path: Path, configure: Callable[..., Config]) -> None:
    config = configure()
    ids = set()
    for name, slug in [
        ("My run", "my-run-"),
        ("a/run", "run-"),
        ("b/run", "run-"),
        ("ü?", "run-"),
        ("x" * 99, "x" * 24),
    ]:
        run = RunDir(tmp_path / name)
        create(run, config)
        assert run_id(run).startswith(slug)
        assert run_id(run).removeprefix(slug).replace("-", "").isalnum()
        ids.add(run_id(run))
    assert len(ids) == 5


def test_a_site_is_kept_with_the_run(run: RunDir, configure: Callable[..., Config]) -> None:
    create(run, configure(), Site(python="/opt/python"))
    assert load_site(run.site).python == "/opt/python"
    reconfigure(run, configure())
    assert load_site(run.site).python == "/opt/python"
    reconfigure(run, configure(), Site(python="/usr/bin/python"))
    assert load_site(run.site).python == "/usr/bin/python"


@pytest.mark.parametrize("name", ["config.yaml", "seeds", "thesis.tex"])
def test_a_folder_with_other_files_is_left_alone(run: RunDir, configure: Callable[..., Config], name: str) -> None:
    """Even if they have the names of ours: they may be the user's only copy."""
    write_atomic(run.path / name, "precious")
    with pytest.raises(RunFolderError, match=rf"{run.path} holds other files \({name}\); take a new folder"):
        create(run, configure())
    assert content(run.path) == {name: b"precious"}


def test_a_folder_that_is_empty_but_for_hidden_files_is_used(run: RunDir, configure: Callable[..., Config]) -> None:
    write_atomic(run.path / ".gitignore", "*")
    create(run, configure())
    assert content(run.path)[".gitignore"] == b"*"


def test_a_run_that_is_a_file_is_named(run: RunDir, configure: Callable[..., Config]) -> None:
    run.path.write_text("")
    with pytest.raises(RunFolderError, match="is a file; a run needs a folder"):
        create(run, configure())


def test_an_unfinished_creation_is_made_anew_and_leaves_nothing_of_its_config(
    run: RunDir, configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(run: RunDir, task_file: str) -> None:
        write_atomic(run.labels, "labels of the other task")
        raise TaskError("no such option")

    with monkeypatch.context() as patch:
        patch.setattr(creation, "prepare", fail)
        with pytest.raises(TaskError):
            create(run, configure(), Site(python="/opt/python"))
    assert not exists(run)
    write_atomic(tmp_path / "home" / "other" / "c.py", "class C: pass\n")
    create(run, configure("seeds=other", "lm.deepspeed=null"))
    assert {name for name in content(run.path) if not name.startswith("lease/")} == {
        "config.yaml",
        "data/task.json",
        "labels/secret",
        "provenance.json",
        "seeds/c.py",
        "task.py",
    }


def test_an_unfinished_creation_can_be_finished_from_its_own_copies(
    run: RunDir, configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: RunDir, task_file: str) -> None:
        raise TaskError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(creation, "prepare", fail)
        with pytest.raises(TaskError):
            create(run, configure())
    create(run, load_config(run.config))
    assert content(run.path)["seeds/b.py"] == b"class B: pass\n"


@pytest.mark.parametrize("number", range(0, 60, 4))
def test_a_creation_killed_anywhere_can_be_made_again(
    run: RunDir, configure: Callable[..., Config], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(number))

    def fsync(descriptor: int) -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        try:
            create(run, configure())
        except KeyboardInterrupt:
            assert number < 50
    if not exists(run):
        current = lease.holder(run)
        if current is not None:
            shutil.rmtree(run.lease)  # as if its process were gone
        create(run, configure())
    assert load_config(run.config).seeds == run.seeds
    assert sorted(path.name for path in run.seeds.iterdir()) == ["a.py", "b.py"]


def test_a_config_in_a_folder_whose_name_is_not_utf_8_is_refused_first(
    tmp_path: Path, configure: Callable[..., Config]
) -> None:
    configure()
    latin = tmp_path / os.fsdecode(b"caf\xe9")
    (tmp_path / "home").rename(latin)
    with pytest.raises(ConfigError, match=r"the name '/.*/caf.udce9/.*' is no UTF-8 text; rename it, or move the"):
        load_config(latin / "config.yaml")


def test_of_two_creations_at_once_one_is_refused(
    run: RunDir, configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def prepare(run: RunDir, task_file: str) -> None:
        begun.set()
        assert go_on.wait(200)

    monkeypatch.setattr(creation, "prepare", prepare)
    first = threading.Thread(target=create, args=(run, configure()))
    first.start()
    assert begun.wait(200)
    with pytest.raises(LeaseError, match="already driven by"):
        create(run, configure())
    go_on.set()
    first.join()
    before = run_id(run)
    with pytest.raises(RunFolderError, match="holds other files"):
        create(run, configure())
    assert run_id(run) == before


@pytest.mark.parametrize(
    ("overrides", "kind", "message"),
    [
        (["seeds=nowhere"], ConfigError, "seeds: .*/home/nowhere: no such folder; it is the folder of the seed"),
        (["seeds=empty"], ConfigError, r"seeds: .*/home/empty has no \*.py file"),
        (["seeds=latin"], ConfigError, "seeds: .*/home/latin/a.py is not UTF-8 text"),
        (
            ["seeds=capitals"],
            ConfigError,
            "seeds: .*/home/capitals/b.PY: the name of a seed program ends in .py; rename",
        ),
        (["task=none.py:T"], TaskError, "task: .*/home/none.py: no such file; write a built-in task's name, or path"),
        (["lm.engine=deepspeed", "lm.path=lm"], LMError, "/home/lm is missing; lm.path must name the folder"),
        (["lm.deepspeed=none.json"], ConfigError, "lm.deepspeed: .*/home/none.json: No such file or directory"),
        (["lm.deepspeed=mine.py"], ConfigError, "lm.deepspeed: .*/home/mine.py: not valid JSON"),
        (
            ["lm.deepspeed=zero3.json", "tuning.method=lora", "tuning.learning_rate=0.001"],
            ConfigError,
            "tuning.method is lora, and lm.deepspeed names .*/home/zero3.json, with ZeRO stage 3",
        ),
        (
            ["lm.deepspeed=zero3.json", "lm.tensor_parallel=true"],
            ConfigError,
            "lm.tensor_parallel is true, and lm.deepspeed names .*/home/zero3.json, with ZeRO stage 3",
        ),
    ],
)
def test_what_is_missing_is_named_and_nothing_made(
    run: RunDir,
    configure: Callable[..., Config],
    tmp_path: Path,
    overrides: list[str],
    kind: type[Exception],
    message: str,
) -> None:
    (tmp_path / "home" / "empty").mkdir()
    (tmp_path / "home" / "zero3.json").write_text('{"zero_optimization": {"stage": 3}}')
    write_atomic(tmp_path / "home" / "latin" / "a.py", b"# \xe4\n")
    for name in ("a.py", "b.PY"):
        write_atomic(tmp_path / "home" / "capitals" / name, "x = 1\n")
    with pytest.raises(kind, match=message):
        create(run, configure(*overrides))
    assert not run.path.exists()


def test_what_is_no_run_folder_is_named(run: RunDir) -> None:
    with pytest.raises(RunFolderError, match=f"is no run folder.*start one: evohpc run '{run.path}' CONFIG"):
        run_id(run)
    for damaged in ("", "[]", "{}", '{"run_id"'):
        write_atomic(run.provenance, damaged)
        with pytest.raises(RunFolderError, match=f"{run.provenance}: damaged"):
            run_id(run)


def test_the_same_config_again_changes_nothing(run: RunDir, configure: Callable[..., Config]) -> None:
    create(run, configure())
    before = content(run.path)
    reconfigure(run, configure())
    reconfigure(run, load_config(run.config))
    assert content(run.path) == before


@pytest.mark.parametrize("check", [create, reconfigure, rehearse])
def test_a_site_that_cannot_run_it_is_refused_whenever_it_is_given(
    run: RunDir, configure: Callable[..., Config], tmp_path: Path, check: Callable[[RunDir, Config, Site], None]
) -> None:
    config = configure("evaluation.runtime=apptainer")
    if check is not create:
        create(run, config, Site(container=ContainerSection(image=tmp_path / "eval.sif")))
    before = content(run.path)
    with pytest.raises(ConfigError, match=r"the site profile has no container\.image"):
        check(run, config, Site())
    assert content(run.path) == before
    for odd, why in (
        ("50%j", "reads a % in"),
        ("a%", "reads a % in"),
        (r"a\b", r"reads a \\ in"),
        ("a\nb", "line break"),
    ):
        with pytest.raises(EvaluationError, match=why):
            check(RunDir(tmp_path / odd), configure(), Site())
        assert not (tmp_path / odd).exists()


@pytest.mark.parametrize("given", [["evaluation.retries=9"], []])
def test_a_living_driver_keeps_the_config_and_the_site_that_it_goes_by(
    run: RunDir, configure: Callable[..., Config], given: list[str]
) -> None:
    create(run, configure(), Site())
    driver = lease.acquire(run)
    before = content(run.path)
    with pytest.raises(LeaseError, match="already driven by"):
        reconfigure(run, configure(*given), None if given else Site(python="/opt/python"))
    reconfigure(run, configure(), Site())
    assert content(run.path) == before
    driver.release()


def test_whoever_prepares_data_for_long_shows_that_it_lives(
    run: RunDir, configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    beats = []

    def prepare(run: RunDir, task_file: str) -> None:
        for _ in range(20):
            time.sleep(0.02)
            holder = lease.holder(run)
            assert holder is not None
            beats.append(holder.beat)
        write_atomic(run.task_interface, "{}")

    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.04)
    monkeypatch.setattr(creation, "prepare", prepare)
    create(run, configure())
    assert beats[-1] >= 3
    assert lease.holder(run) is None


def test_whoever_was_replaced_while_it_prepared_makes_no_run(
    run: RunDir, configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(run: RunDir, task_file: str) -> None:
        declare_dead(run)
        monkeypatch.setattr(creation, "prepare", lambda run, task_file: None)
        create(run, configure("search.rounds=7"))  # the same command on a second login node

    monkeypatch.setattr(creation, "prepare", prepare)
    with pytest.raises(RunFolderError, match="was made by another process just now"):
        create(run, configure())
    assert load_config(run.config).search.rounds == 7
    assert exists(run)


CHANGES = ["search.rounds=4", "evaluation.workers=5", "evaluation.retries=9", "evaluation.minimum_isolation=none"]


@pytest.mark.parametrize("change", CHANGES)
def test_what_no_earlier_result_depends_on_may_change(
    run: RunDir, configure: Callable[..., Config], change: str
) -> None:
    create(run, configure())
    reconfigure(run, configure(change))
    own = load_config(run.config)
    assert own.search == configure(change).search
    assert own.evaluation == configure(change).evaluation
    assert own.seeds == run.seeds


def test_a_config_given_again_takes_no_attempts_back(
    run: RunDir, configure: Callable[..., Config], caplog: pytest.LogCaptureFixture
) -> None:
    create(run, configure())
    save_config(run, load_resolved(run.config, ["evaluation.retries=7"]))  # as `evohpc retry` does
    reconfigure(run, configure("evaluation.workers=5"))
    own = load_config(run.config).evaluation
    assert (own.retries, own.workers) == (7, 5)
    assert "evaluation.retries stays 7" in caplog.text
    assert "give --set evaluation.retries=3" in caplog.text
    reconfigure(run, load_resolved(run.config, ["evaluation.retries=1"]))  # as --set does without a config
    assert load_config(run.config).evaluation.retries == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("search.rounds=2", "search.rounds is 3 there and 2 in this config"),
        ("search.seed=1", "search.seed is 0 there and 1 in this config"),
        ("search.temperatures=[0.5, 0.6]", r"search.temperatures is \[0.5\] there and \[0.5, 0.6\] in this config"),
        ("task_options.steps=21", "task_options is {'steps': 20} there and {'steps': 21} in this config"),
        ("evaluation.time_limit_s=1", "evaluation.time_limit_s is 1800.0 there and 1.0 in this config"),
        ("task=mnist1d", "task is '.*/My run/task.py:Mine' there and 'mnist1d' in this config"),
        ("task=mine.py:Other", "task is '.*:Mine' there and '.*:Other' in this config.*"),
        ("seeds=other", "seeds is '.*/My run/seeds' there and '.*/home/other' in this config, with other content"),
        (
            "lm.deepspeed=other.json",
            "lm.deepspeed is '.*/deepspeed.json' there and '.*/home/other.json' in this config, with other content",
        ),
        ("lm.deepspeed=null", "lm.deepspeed is '.*/My run/deepspeed.json' there and None in this config"),
    ],
)
def test_what_makes_another_search_is_refused_and_named(
    run: RunDir, configure: Callable[..., Config], tmp_path: Path, change: str, message: str
) -> None:
    write_atomic(tmp_path / "home" / "other" / "a.py", "class A: pass\n")
    write_atomic(tmp_path / "home" / "other.json", "{}")
    create(run, configure())
    before = content(run.path)
    with pytest.raises(RunFolderError, match=f"{run.path} holds another search: {message}; take another"):
        reconfigure(run, configure(change, "evaluation.workers=9"))
    assert content(run.path) == before


@pytest.mark.parametrize("file", ["programs/a.py", "mine.py", "zero.json"])
def test_files_whose_content_changed_make_another_search(
    run: RunDir, configure: Callable[..., Config], tmp_path: Path, file: str
) -> None:
    create(run, configure())
    write_atomic(tmp_path / "home" / file, '{"zero_optimization": {"stage": 3}}')
    with pytest.raises(RunFolderError, match="holds another search"):
        reconfigure(run, configure())


def test_the_one_round_of_naive_prompting_cannot_grow(run: RunDir, configure: Callable[..., Config]) -> None:
    create(run, configure("search.variant=naive"))
    with pytest.raises(RunFolderError, match=r"search.rounds is 3 there and 4"):
        reconfigure(run, configure("search.variant=naive", "search.rounds=4"))


def test_a_config_that_is_saved_again_keeps_to_the_runs_own_copies(
    run: RunDir, configure: Callable[..., Config]
) -> None:
    create(run, configure())
    before = run.config.read_text()
    save_config(run, load_config(run.config))
    assert run.config.read_text() == before
    assert str(run.path) not in before
