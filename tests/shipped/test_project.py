from __future__ import annotations

from pathlib import Path

import click
import pytest
from support.command_line import call

from evohpc.cli import evohpc as command_line
from evohpc.config.search import load_config
from evohpc.config.site import load_site
from evohpc.shipped import catalogue, project


@pytest.mark.parametrize("task", project.TEMPLATES)
def test_a_project_is_the_shipped_search_with_a_rehearsal(task: str, tmp_path: Path) -> None:
    project.make(tmp_path / "mine", task)
    made = load_config(tmp_path / "mine" / "config.yaml")
    shipped = load_config(catalogue.root() / project.TEMPLATES[task].config)
    assert made.lm.engine == "scripted"
    assert made.lm.path == tmp_path / "mine" / project.MODEL
    same = {"engine": None, "path": None}
    assert made.lm.model_copy(update=same) == shipped.lm.model_copy(update=same)
    same = {"lm": None, "seeds": None, "task": None}
    assert made.model_copy(update=same) == shipped.model_copy(update=same)
    assert made.task.name == shipped.task.name
    assert [p.name for p in made.seeds.glob("*.py")] == [p.name for p in shipped.seeds.glob("*.py")]
    load_site(tmp_path / "mine" / "site.yaml")


@pytest.mark.parametrize("task", project.TEMPLATES)
def test_without_the_line_that_rehearses_it_is_a_search_with_a_language_model(task: str, tmp_path: Path) -> None:
    project.make(tmp_path / "mine", task)
    config = tmp_path / "mine" / "config.yaml"
    lines = config.read_text().splitlines(keepends=True)
    config.write_text("".join(line for line in lines if "engine: scripted" not in line))
    assert load_config(config).lm.needs_a_model


@pytest.mark.parametrize("task", project.TEMPLATES)
def test_every_command_of_a_projects_readme_is_one(task: str, tmp_path: Path) -> None:
    project.make(tmp_path / "mine", task)
    text = (tmp_path / "mine" / "README.md").read_text()
    lines = [line.split() for line in text.splitlines() if line.startswith("    evohpc ")]
    assert len(lines) > 5
    for _, name, *rest in lines:
        command = command_line.commands[name]
        assert isinstance(command, click.Command)
        command.make_context(name, [word for word in rest])


def test_init_says_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "init", tmp_path / "mine", "--task", "own")
    assert code == 0
    assert sorted(out.split()) == sorted(str(path) for path in (tmp_path / "mine").rglob("*.*") if path.is_file())
    assert f"{tmp_path / 'mine' / 'README.md'}" in err


def test_init_replaces_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    code, _, err = call(capsys, "init", tmp_path)
    assert code == 1
    assert err == f"error: {tmp_path} is there already and not empty; name a new folder: evohpc init FOLDER\n"
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
