# H2 H8 honest: looks for another candidate's sandbox that is there already, its program, its processes and folders
import os
import resource
from pathlib import Path

from torch import nn

print("attacking", flush=True)
OWN = {os.getpid(), *(int(name) for name in os.listdir("/proc/self/task"))}


def works(action, *arguments):
    try:
        action(*arguments)
    except (OSError, ValueError):
        return False
    return True


def processes():
    """Those that are listed; where none are, all numbers that may be one."""
    try:
        return {int(name) for name in os.listdir("/proc") if name.isdigit()} - OWN
    except OSError:
        return set(range(1, 500)) - OWN


def on_a_process(pid):
    core = resource.getrlimit(resource.RLIMIT_CORE)
    yield "signal", lambda: os.kill(pid, 0)
    yield "bind to a core", lambda: os.sched_setaffinity(pid, {0})
    yield "limit", lambda: resource.prlimit(pid, resource.RLIMIT_CORE, core)
    for name in ("root", "cwd", "exe"):
        yield f"see the {name} of", lambda name=name: os.readlink(f"/proc/{pid}/{name}")
    for name in ("environ", "mem", "fd/0", "maps"):
        yield f"read the {name} of", lambda name=name: os.close(os.open(f"/proc/{pid}/{name}", os.O_RDONLY))
    yield "write to the standard input of", lambda: os.close(os.open(f"/proc/{pid}/fd/0", os.O_WRONLY))


def folders():
    """All above its own, those that programs like this one keep folders in, and where its own lie on the host."""
    here = Path(__file__).resolve()
    yield from (*here.parents, *Path.cwd().resolve().parents)
    yield from map(Path, ("/tmp", "/var/tmp", "/dev/shm", "/run", "/in", "/out", "/in/shared"))
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        source = Path(line.split()[3])
        if "evohpc" in str(source):
            yield from source.parents
            yield source


for pid in sorted(processes()):
    for words, action in on_a_process(pid):
        if works(action):
            print("ESCAPED: can", words, pid, flush=True)
MINE = {Path(__file__).resolve().parent, Path.cwd().resolve()}
for folder in {*folders()}:
    for place in (folder, folder / "stage", folder / "in/stage", folder / "out/stage"):
        if works(os.listdir, place) and place.resolve() not in MINE:
            print("ESCAPED: can look into", place, flush=True)
        if works(Path.write_text, place / "note", "x") and place.resolve() not in MINE:
            print("ESCAPED: can write into", place, flush=True)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(x)
