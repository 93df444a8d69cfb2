"""The Apptainer command, byte for byte, and what a real container keeps from a candidate."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.evaluating import CONFIG, HONEST, PRELUDE, make_run, run_source
from support.old_kernel import without_landlock
from support.paths import GOLDEN, TESTS
from support.written_programs import UNUSUAL

from evohpc.config.site import ContainerSection, Site
from evohpc.errors import EvaluationError
from evohpc.evaluation import worker
from evohpc.evaluation.attempt import Evaluator
from evohpc.evaluation.benchmark import WORKER
from evohpc.messages import Isolation, Status
from evohpc.run_folder import RunDir
from evohpc.sandbox import apptainer_command, apptainer_runtime, apptainer_stage, image, process_tree
from evohpc.sandbox.apptainer_command import Bind, Container
from evohpc.sandbox.apptainer_runtime import ApptainerRuntime
from evohpc.sandbox.apptainer_warm import Recipe
from evohpc.sandbox.base import Limits, Stage
from evohpc.sandbox.container_probe import Found

LIMITS = Limits(wall_s=60, memory_bytes=1 << 30, disk_bytes=1 << 20, log_bytes=4096)
WHEN_MADE = "import os\nprint('made', os.stat('/dev/shm').st_ctime_ns)\n"
"""Tells containers apart."""
real = pytest.mark.slurm
"""Needs a real Apptainer."""


@pytest.mark.parametrize(
    ("golden", "host"),
    [
        ("apptainer_cpu.txt", Container("apptainer", Path("/images/eval.sif"))),
        ("apptainer_nv.txt", Container("/sw/bin/apptainer", Path("/images/eval.sif"), "nv")),
        ("apptainer_rocm_no_netns.txt", Container("apptainer", Path("/images/eval"), "rocm", own_network=False)),
    ],
)
def test_the_whole_command(golden: str, host: Container) -> None:
    files = {"candidate.py": Path("/scratch/c.py"), "weights": Path("/scratch/weights")}
    binds = apptainer_command.binds(
        Path("/tmp/in"), files, Path("/tmp/out"), Path("/sw/evohpc"), ["/opt/drivers", "/a:/b"]
    )
    command = apptainer_command.command(host, binds, {"PYTHONPATH": "/opt/evohpc"}, ["python3", "-m", "x", '{"y": 1}'])
    assert "\n".join(command) + "\n" == (GOLDEN / golden).read_text()


def test_a_poisoned_environment_does_not_reach_apptainer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("APPTAINER_BINDPATH", "APPTAINERENV_X", "SINGULARITY_BIND", "LD_PRELOAD", "HOME", "SLURM_JOB_ID"):
        monkeypatch.setenv(name, "/")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert apptainer_command.own_environment().keys() == {"PATH", "APPTAINERENV_CUDA_VISIBLE_DEVICES"}


@real
def test_the_gpus_of_the_job_are_those_of_the_container(
    containers: ContainerSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert containers.image is not None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    host = Container(containers.apptainer, containers.image, own_network=False)
    command = apptainer_command.command(host, (), {}, ["env"], working_folder="/")
    done = subprocess.run(command, env=apptainer_command.own_environment(), capture_output=True, text=True)
    assert "CUDA_VISIBLE_DEVICES=3" in done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("name", ["a,b", "a:b", "a\\b"])
def test_a_path_that_would_be_read_as_two_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot bind a path with"):
        apptainer_command.command(Container("apptainer", Path("/i")), [Bind(Path(f"/{name}"), "/x")], {}, [])


class TestTheImageOnANode:
    def test_is_copied_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sif = tmp_path / "eval.sif"
        sif.write_bytes(b"image")
        monkeypatch.setenv("NODE_DISK", str(tmp_path / "disk"))
        copy = image.local_copy(sif, "$NODE_DISK")
        before = copy.stat().st_ino
        assert copy.read_bytes() == b"image"
        assert image.local_copy(sif, "$NODE_DISK").stat().st_ino == before

    def test_is_copied_again_when_it_was_built_again(self, tmp_path: Path) -> None:
        sif = tmp_path / "eval.sif"
        sif.write_bytes(b"old")
        old = image.local_copy(sif, str(tmp_path / "disk"))
        sif.write_bytes(b"newer")
        assert image.local_copy(sif, str(tmp_path / "disk")) != old

    def test_has_a_digest_that_is_computed_once(self, tmp_path: Path) -> None:
        sif = tmp_path / "eval.sif"
        sif.write_bytes(b"image")
        sha = subprocess.run(["sha256sum", sif], capture_output=True, text=True, check=True).stdout.split()[0]
        assert image.digest(sif) == f"sha256:{sha}"
        kept = sif.with_name("eval.sif.sha256")
        kept.write_text(kept.read_text().replace(sha, "0" * 64))
        assert image.digest(sif) == "sha256:" + "0" * 64
        os.utime(sif)
        assert image.digest(sif) == f"sha256:{sha}"

    def test_or_is_missed_with_advice(self, tmp_path: Path) -> None:
        with pytest.raises(EvaluationError, match=r"no image .*eval.sif; build it with containers/build.sh"):
            image.local_copy(tmp_path / "eval.sif", "")

    def test_an_unset_variable_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "eval.sif").touch()
        with pytest.raises(EvaluationError, match="'\\$NO_SUCH/x', and that variable is not set"):
            image.local_copy(tmp_path / "eval.sif", "$NO_SUCH/x")


def test_a_host_without_apptainer_says_what_to_set(tmp_path: Path) -> None:
    site = ContainerSection(apptainer="no-such-apptainer", image=tmp_path)
    with pytest.raises(EvaluationError, match=r"no `no-such-apptainer` on .*container.apptainer"):
        apptainer_runtime.start(site, tmp_path, Isolation.CONTAINER, WORKER)


def test_a_run_without_a_profile_says_what_to_pass(tmp_path: Path) -> None:
    run = make_run(tmp_path, CONFIG.replace("evaluation: {", "evaluation: {runtime: apptainer, "))
    with pytest.raises(EvaluationError, match="pass --site FILE"), worker.evaluator(run):
        pass


@real
class TestARealContainer:
    @pytest.mark.parametrize("source", [HONEST, UNUSUAL["what imports a compiler"][0]], ids=["honest", "compiler"])
    def test_trains_the_same_model_as_a_process_does(
        self, contained: Evaluator, evaluator: Evaluator, source: str
    ) -> None:
        inside, _ = run_source(contained, source)
        outside, _ = run_source(evaluator, source)
        assert (inside.status, inside.detail) == (Status.TRAINED, "")
        assert (inside.num_params, inside.error, inside.fitness) == (
            outside.num_params,
            outside.error,
            outside.fitness,
        )
        assert inside.isolation is Isolation.CONTAINER
        assert inside.versions["torch"] == outside.versions["torch"]

    def test_shows_a_candidate_nothing_of_the_host(self, contained: Evaluator, contained_run: RunDir) -> None:
        look = (
            "import os\nprint(sorted(os.environ.items()))\n"
            "def see(path):\n"
            "    try: print(path, os.listdir(path))\n"
            "    except OSError as error: print(path, type(error).__name__)\n"
            f"see('{contained_run.path}'); see('{Path.home()}'); see('/home'); see('/proc')\n"
        )
        _, log = run_source(contained, PRELUDE + look)
        assert f"{contained_run.path} FileNotFoundError" in log
        assert "canary" not in log
        assert f"'{os.getpid()}'" not in log

    def test_gives_no_memory_that_looks_like_a_disk(self, contained: Evaluator) -> None:
        tries = (
            "for folder in ('/tmp', '/var/tmp', '/dev/shm', '/run'):\n"
            "    try: open(folder + '/x', 'w'); print('ESCAPED', folder)\n"
            "    except OSError as error: print(folder, error.strerror)\n"
        )
        _, log = run_source(contained, PRELUDE + tries)
        assert "/dev/shm " in log
        assert "ESCAPED" not in log

    @pytest.mark.parametrize(
        ("source", "limits", "status"),
        [
            ("while True: pass", {"time_limit_s": 2}, Status.TIMEOUT),
            ("x = bytearray(10**9)\nwhile True: pass", {"memory_mb": 600}, Status.OUT_OF_MEMORY),
            ("open('x', 'wb').write(bytes(10**8))", {}, Status.DISK_LIMIT),
            ("import socket\nsocket.create_connection(('127.0.0.1', 80))", {}, Status.BUILD_ERROR),
            ("open('/usr/lib/x', 'w')", {}, Status.BUILD_ERROR),
            ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", {}, Status.TRAIN_ERROR),
            ("import os\nos._exit(255)", {}, Status.PROTOCOL_VIOLATION),
        ],
    )
    def test_calls_failures_by_their_name(
        self, contained: Evaluator, source: str, limits: dict[str, float], status: Status
    ) -> None:
        result, _ = run_source(contained, PRELUDE + source + "\n", **limits)
        assert result.status is status, result.detail

    def test_leaves_nothing_behind_after_a_timeout(self, contained: Evaluator) -> None:
        source = "import threading, time\nfor _ in '123': threading.Thread(target=time.sleep, args=(9999,)).start()\n"
        source += "time.sleep(9999)\n"
        others = set(process_tree.descendants(os.getpid()))
        result, _ = run_source(contained, PRELUDE + source, time_limit_s=2)
        assert result.status is Status.TIMEOUT
        assert set(process_tree.descendants(os.getpid())) <= others

    def test_is_one_for_all_stages_of_a_candidate_and_no_other_s(self, contained: Evaluator) -> None:
        first, second = (made(run_source(contained, WHEN_MADE + HONEST)[1]) for _ in "12")
        assert len(first) >= 3
        assert (len(set(first)), len(set(second)), len({*first, *second})) == (1, 1, 2)

    def test_that_broke_is_replaced(self, contained: Evaluator) -> None:
        assert isinstance(contained.runtime, ApptainerRuntime)
        with contextlib.suppress(EvaluationError):
            contained.runtime.run(Stage("no.such.entry", b"", {}, Path("/nonexistent"), LIMITS, threads=1))
        result, _ = run_source(contained, HONEST)
        assert result.status is Status.TRAINED, result.detail

    def test_that_does_not_start_is_the_machines_fault(self, contained_run: RunDir, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        site = Site(container=ContainerSection(apptainer=program_of(contained_run), image=tmp_path / "empty"))
        with pytest.raises(EvaluationError, match="a container does not start on"):
            apptainer_runtime.start(site.container, contained_run.labels, Isolation.CONTAINER, WORKER)

    def test_a_leak_is_found_and_refused(self, contained_run: RunDir, containers: ContainerSection) -> None:
        leaky = containers.model_copy(update={"binds": (*containers.binds, str(contained_run.labels.parent))})
        with pytest.raises(EvaluationError, match="a candidate in a container here could read files of this user"):
            apptainer_runtime.start(leaky, contained_run.labels, Isolation.CONTAINER, WORKER)


LOOKS = """
import pathlib
import evohpc.tasks
folder = pathlib.Path(evohpc.tasks.__file__).parent
def size(path):
    try:
        return len(path.read_bytes())
    except OSError:  # a device where none may be
        return 0
hidden = (folder / "mnist1d_data.py", *folder.glob("__pycache__/mnist1d_data*"))
print("looked", sum(map(size, hidden)), size(folder / "mnist1d.py") > 1000)
"""


@pytest.fixture(scope="module")
def apart(
    contained: Evaluator, contained_run: RunDir, containers: ContainerSection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Evaluator]:
    """An evaluator on a kernel without Landlock."""
    old = without_landlock(tmp_path_factory.mktemp("old"), containers.apptainer)
    site = containers.model_copy(update={"apptainer": str(old)})
    runtime = apptainer_runtime.start(site, contained_run.labels, Isolation.CONTAINER, WORKER)
    yield dataclasses.replace(contained, runtime=runtime)
    runtime.close()


@real
class TestAKernelWithoutLandlock:
    def test_has_a_container_for_each_stage(self, apart: Evaluator) -> None:
        result, log = run_source(apart, WHEN_MADE + HONEST)
        assert (result.status, result.isolation) == (Status.TRAINED, Isolation.CONTAINER), result.detail
        assert len(set(made(log))) == len(made(log)) >= 3

    def test_without_landlock_something_is_bound_over_what_is_hidden(self, apart: Evaluator) -> None:
        result, log = run_source(apart, HONEST + LOOKS)
        assert result.status is Status.TRAINED, result.detail
        assert log == "looked 0 True\n" * 4

    def test_keeps_stages_from_each_other(self, apart: Evaluator) -> None:
        result, log = run_source(apart, (TESTS / "hostile" / "passes_notes.py").read_text())
        assert (result.status, "attacking" in log, "ESCAPED" in log) == (Status.TRAINED, True, False), log

    def test_calls_a_failure_by_its_name(self, apart: Evaluator) -> None:
        result, _ = run_source(apart, PRELUDE + "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
        assert result.status is Status.TRAIN_ERROR, result.detail


def test_what_is_hidden_is_bound_over_last(tmp_path: Path) -> None:
    stage = Stage("x", b"", {}, tmp_path, Limits(1, 1, 1, 1), 1, ("secret",))
    masks = [Bind(Path("/dev/null"), f"{apptainer_command.EVOHPC}/evohpc/secret.py")]
    command = apptainer_stage.arguments(Container("apptainer", Path("/i")), [], stage, tmp_path, masks)
    binds = [value for name, value in itertools.pairwise(command) if name == "--bind"]
    assert binds[:3] == [f"{tmp_path.parent}/nothing:{place}:ro" for place in ("/tmp", "/var/tmp", "/dev/shm")]
    assert binds[-1] == "/dev/null:/opt/evohpc/evohpc/secret.py:ro"


@pytest.mark.parametrize("has_landlock", [True, False])
def test_modules_are_looked_for_once_and_only_without_landlock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_landlock: bool
) -> None:
    asked: list[tuple[str, ...]] = []

    def find(run: object, secret: Path, hidden: tuple[str, ...] = ()) -> Found:
        asked.append(hidden)
        return Found((), files=("/opt/a.py",), folders=("/opt/b",))

    monkeypatch.setattr(apptainer_runtime, "find", find)
    found = Found((), has_landlock=has_landlock)
    runtime = ApptainerRuntime(Recipe(Container("apptainer", Path("/i")), [], WORKER), tmp_path, found)
    masks = [runtime.masks_for(hidden) for hidden in (("a", "b"), (), ("a", "b"))]
    assert asked == ([] if has_landlock else [("a", "b")])
    assert [[bind.target for bind in each] for each in masks] == (
        [[], [], []] if has_landlock else [["/opt/a.py", "/opt/b"], [], ["/opt/a.py", "/opt/b"]]
    )


def made(log: str) -> list[str]:
    """What the stages of a candidate say of when their containers were made."""
    return [line for line in log.splitlines() if line.startswith("made")]


def program_of(run: RunDir) -> str:
    """The command that a run's profile names."""
    from evohpc.config.site import load_site

    return load_site(run.site).container.apptainer
