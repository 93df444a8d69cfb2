"""`evohpc check-task`: the rules of docs/own_task.md, tried on a task with its seeds."""

from evohpc.doctor.own_task.checking import TaskCheck

__all__ = ["TaskCheck"]
