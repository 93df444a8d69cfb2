"""Names of tasks, as users write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from evohpc.config.task_name import TaskName


@pytest.mark.parametrize("text", ["mnist1d", "my/task.py:Mine", "/a:b/c.py:D", "task.py:Mine"])
def test_a_task_is_named_as_it_was_read(text: str) -> None:
    assert str(TaskName.parse(text)) == text


@pytest.mark.parametrize("text", ["task.py", "my/task:Mine", "task.py:", "task.py:not a name", "a/b"])
def test_a_task_file_needs_its_class(text: str) -> None:
    with pytest.raises(ValueError, match=r"path/to/file\.py:ClassName; it is"):
        TaskName.parse(text)


def test_only_a_task_with_a_file_moves() -> None:
    assert TaskName.parse("my/task.py:Mine").moved(Path("/else/t.py")) == TaskName("Mine", Path("/else/t.py"))
    assert TaskName("mnist1d").moved(Path("/else/t.py")) == TaskName("mnist1d")
