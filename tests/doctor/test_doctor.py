"""The doctor finds each seeded fault, and says what to do."""

from __future__ import annotations

import errno
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cluster.slurm import Cluster
from support.evaluating import HONEST, prepare_once
from support.old_kernel import without_landlock

from evohpc import doctor
from evohpc.config.evaluation import EvaluationConfig
from evohpc.config.lm import LMConfig
from evohpc.config.search import Config
from evohpc.config.site import ContainerSection, DriverJob, EvaluationJobs, LMJobs, SchedulerSection, Site
from evohpc.doctor import Finding, Verdict, mounts, scheduling
from evohpc.doctor.host import examine_host
from evohpc.search import creation


def config(**evaluation: object) -> Config:
    section = EvaluationConfig.model_validate({"memory_mb": 50, **evaluation})
    return Config(seeds=Path("seeds"), lm=LMConfig(engine="scripted"), evaluation=section)


def with_model(path: Path, engine: Literal["deepspeed", "vllm"] = "deepspeed", **evaluation: object) -> Config:
    return config(**evaluation).model_copy(update={"lm": LMConfig(path=path, engine=engine)})


SMALL = EvaluationJobs(extra_memory_mb=50)
SMALL_DRIVER = DriverJob(memory_mb=50)


def find(findings: Iterable[Finding], check: str) -> Finding:
    return next(finding for finding in findings if finding.check == check)


@pytest.mark.slurm
class TestOnARealSlurm:
    def test_a_right_profile_has_no_fault(self, slurm: Cluster) -> None:
        findings = list(doctor.examine_slurm(config(), Site(evaluation=SMALL, driver=SMALL_DRIVER)))
        assert {finding.check: finding.verdict for finding in findings} == {
            "Slurm": Verdict.OK,
            "evaluation jobs": Verdict.OK,
            "driver job": Verdict.OK,
            "accounting": Verdict.OK,
            "requeue": Verdict.OK,
        }
        assert not slurm.run("squeue", "--noheader")

    @pytest.mark.parametrize(
        ("evaluation", "limits", "advice"),
        [
            ({"partition": "gpuu"}, {}, "set `partition`"),
            ({}, {"time_limit_s": 3 * 86400.0}, "lower evaluation.time_limit_s"),
            ({"gpus_per_node": "1"}, {}, "gres"),
            ({}, {"threads": 99}, "no node of the partition"),
        ],
    )
    def test_a_wrong_one_is_explained(
        self, slurm: Cluster, evaluation: dict[str, str], limits: dict[str, float], advice: str
    ) -> None:
        site = Site(evaluation=SMALL.model_copy(update=evaluation), driver=SMALL_DRIVER)
        finding = find(doctor.examine_slurm(config(**limits), site), "evaluation jobs")
        assert finding.verdict is Verdict.FAULT
        assert advice in finding.advice

    def test_lm_jobs_that_wait_for_ever_are_explained(self, slurm: Cluster, tmp_path: Path) -> None:
        site = Site(evaluation=SMALL, driver=SMALL_DRIVER, lm=LMJobs(memory_mb=50, minutes=3 * 1440))
        finding = find(doctor.examine_slurm(with_model(tmp_path), site), "LM jobs")
        assert (finding.verdict, finding.advice) == (Verdict.FAULT, "lower lm.minutes; the next job draws the rest")

    def test_an_lm_job_that_is_held_says_when_it_gives_its_node_back(self, slurm: Cluster, tmp_path: Path) -> None:
        site = Site(evaluation=SMALL, driver=SMALL_DRIVER, lm=LMJobs(memory_mb=50, hold=True, idle_minutes=45))
        finding = find(doctor.examine_slurm(with_model(tmp_path), site), "LM jobs")
        assert finding.verdict is Verdict.OK
        assert finding.found.endswith("one answers all rounds, and gives its node back after 45 idle minutes")

    def test_an_lm_job_that_gives_its_node_back_before_a_candidate_can_end_is_warned_of(
        self, slurm: Cluster, tmp_path: Path
    ) -> None:
        configured = with_model(tmp_path, time_limit_s=300)
        sites = [Site(lm=LMJobs(memory_mb=50, hold=True, idle_minutes=minutes)) for minutes in (4, 5)]
        short, enough = (list(doctor.examine_slurm(configured, site)) for site in sites)
        finding = find(short, "LM job between rounds")
        assert finding.verdict is Verdict.WARNING
        assert finding.found == "waits 4 minutes for the next round; a candidate may take 5"
        assert finding.check not in {other.check for other in enough}

    def test_accounting_is_missed_only_where_slurm_forgets_too_soon(self, slurm: Cluster) -> None:
        slow = Site(scheduler=SchedulerSection(poll_s=200), evaluation=SMALL)
        finding = find(doctor.examine_slurm(config(), slow), "accounting")
        assert finding.verdict is Verdict.WARNING
        assert "set scheduler.poll_s to at most 100" in finding.advice


@pytest.fixture
def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path))
    _command(tmp_path, "scontrol", "echo 'JobRequeue = 0'; echo 'AccountingStorageType = accounting_storage/slurmdbd'")
    return tmp_path


def test_a_missing_account_is_explained(fake_slurm: Path) -> None:
    _command(
        fake_slurm, "sbatch", "echo 'allocation failure: Invalid account or account/partition combination' >&2; exit 1"
    )
    findings = list(doctor.examine_slurm(config(), Site()))
    assert "set `account`" in find(findings, "driver job").advice
    assert find(findings, "requeue").advice.startswith("set driver.go_on_by to successor")


@pytest.mark.parametrize(
    ("python", "verdict", "found"),
    [
        ("/no/such/python", Verdict.WARNING, "there is no /no/such/python on this host"),
        (sys.executable, Verdict.OK, sys.executable),
        ("bare", Verdict.FAULT, "bare does not start evohpc: No module named evohpc"),
    ],
)
def test_the_python_of_the_profile_is_started(fake_slurm: Path, python: str, verdict: Verdict, found: str) -> None:
    _command(fake_slurm, "sbatch", "exit 0")
    bare = fake_slurm / "bare"
    _command(fake_slurm, "bare", "echo 'No module named evohpc' >&2; exit 1")
    python = python.replace("bare", str(bare))
    finding = find(doctor.examine_slurm(config(), Site(python=python)), "python")
    assert (finding.verdict, finding.found) == (verdict, found.replace("bare", str(bare)))


def test_no_slurm_at_all_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = doctor.examine_slurm(config(), Site())
    assert (finding.verdict, finding.check) == (Verdict.FAULT, "Slurm")


MOUNTINFO = """\
20 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 20 0:30 / /home rw - nfs4 filer:/home rw,vers=4.2,local_lock=none
31 20 0:31 / /old rw - nfs filer:/old rw,vers=3,local_lock=all
32 20 0:32 / /lustre/a rw - lustre mds:/a rw,flock
33 20 0:33 / /lustre/b rw - lustre mds:/b rw,localflock
34 20 0:34 / /lustre/c rw - lustre mds:/c rw
35 20 0:35 / /gpfs rw - gpfs gpfs rw
36 20 0:36 / /beegfs rw - beegfs beegfs rw
37 20 0:37 / /windows rw - cifs //filer/x rw
38 20 0:38 / /ssh rw - fuse.sshfs host:/ rw
39 20 0:39 / /dev/shm rw - tmpfs tmpfs rw
40 30 0:40 / /home/read\\040only ro - nfs4 filer:/ro rw
"""


@pytest.mark.parametrize(
    ("path", "verdict", "words"),
    [
        ("/home/me/run", Verdict.OK, "nfs4"),
        ("/old/run", Verdict.WARNING, "local locks"),
        ("/lustre/a/run", Verdict.OK, "lustre"),
        ("/lustre/b/run", Verdict.WARNING, "locks of one node only"),
        ("/lustre/c/run", Verdict.WARNING, "no locks"),
        ("/gpfs/run", Verdict.OK, "gpfs"),
        ("/beegfs/run", Verdict.OK, "beegfs"),
        ("/windows/run", Verdict.FAULT, "cifs"),
        ("/ssh/run", Verdict.FAULT, "fuse.sshfs"),
        ("/dev/shm/run", Verdict.FAULT, "tmpfs"),
        ("/home/read only/run", Verdict.FAULT, "read-only"),
        ("/data/run", Verdict.WARNING, "a disk of one machine"),
    ],
)
def test_file_systems(path: str, verdict: Verdict, words: str) -> None:
    finding = mounts.judge(mounts.mount_of(Path(path), MOUNTINFO), on_cluster=True)
    assert (finding.verdict, words in finding.found) == (verdict, True), finding


class TestTheRunFolder:
    def test_that_is_fine(self, tmp_path: Path) -> None:
        findings = list(doctor.examine_files(tmp_path / "not" / "yet", on_cluster=False, mountinfo=MOUNTINFO))
        assert {finding.verdict for finding in findings} == {Verdict.OK}
        assert list(tmp_path.iterdir()) == []

    def test_whose_quota_is_used_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*arguments: object) -> None:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

        monkeypatch.setattr(os, "posix_fallocate", refuse)
        finding = find(doctor.examine_files(tmp_path, False, mountinfo=MOUNTINFO), "space")
        assert (finding.verdict, "your quota is used up" in finding.found) == (Verdict.FAULT, True)

    def test_whose_server_has_another_clock(self, tmp_path: Path) -> None:
        finding = find(doctor.examine_files(tmp_path, False, lambda: time.time() - 60, MOUNTINFO), "clock")
        assert (finding.verdict, finding.found) == (Verdict.WARNING, "the file server is +60 s off this host")

    def test_that_is_cleared_by_the_site(self, tmp_path: Path) -> None:
        (tmp_path / "scratch").mkdir()
        finding = find(doctor.examine_files(tmp_path / "scratch", False, mountinfo=MOUNTINFO), "purge")
        assert finding.verdict is Verdict.WARNING

    def test_is_tried_out_and_left_as_it_was(self, tmp_path: Path) -> None:
        findings = {finding.check: finding.verdict for finding in doctor.probe_files(tmp_path / "not" / "yet")}
        assert findings.pop("run folder") is Verdict.OK
        assert findings.keys() == {"locks", "links", "visibility", "fsync"}
        assert Verdict.FAULT not in findings.values()
        assert list(tmp_path.iterdir()) == []

    def test_that_cannot_be_written_is_refused(self) -> None:
        (finding,) = doctor.probe_files(Path("/proc"))
        assert (finding.check, finding.verdict) == ("writing", Verdict.FAULT)

    def test_without_locks_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fcntl.lockf", lambda *arguments: None)
        finding = find(doctor.probe_files(tmp_path), "locks")
        assert (finding.verdict, finding.found) == (Verdict.FAULT, "two processes got the same lock")


class TestTheHost:
    def test_without_apptainer(self, tmp_path: Path) -> None:
        site = Site(container=ContainerSection(apptainer="no-such", image=tmp_path))
        finding = find(examine_host(config(runtime="apptainer"), site), "containers")
        assert (finding.verdict, "container.apptainer" in finding.found) == (Verdict.FAULT, True)

    def test_without_the_packages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        finding = find(examine_host(config(), Site()), "evaluation")
        assert (finding.verdict, finding.advice) == (Verdict.FAULT, "pip install 'evohpc[train]'")

    def test_without_the_lm_image(self, tmp_path: Path) -> None:
        site = Site(lm=LMJobs(image=tmp_path / "lm.sif"))
        finding = find(examine_host(with_model(tmp_path), site), "LM image")
        assert (finding.verdict, finding.found) == (Verdict.FAULT, f"there is no image {tmp_path}/lm.sif")

    def test_without_vllm(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EVOHPC_VLLM_PYTHON", "/bin/false")
        finding = find(examine_host(with_model(tmp_path, engine="vllm"), Site()), "vLLM")
        assert (finding.verdict, "/bin/false has none" in finding.found) == (Verdict.FAULT, True)
        monkeypatch.setenv("EVOHPC_VLLM_PYTHON", "/bin/true")
        assert find(examine_host(with_model(tmp_path, engine="vllm"), Site()), "vLLM").verdict is Verdict.OK

    @pytest.mark.slurm
    def test_with_an_lm_image(self, containers: ContainerSection, tmp_path: Path) -> None:
        for gpu, verdict in (("none", Verdict.OK), ("nv", Verdict.FAULT)):
            site = Site(lm=LMJobs(image=containers.image), container=containers.model_copy(update={"gpu": gpu}))
            finding = find(examine_host(with_model(tmp_path), site), "LM image")
            assert finding.verdict is verdict, finding
        assert finding.found == "torch sees 0 GPUs for 1 processes"

    @pytest.mark.slurm
    def test_with_containers(self, containers: ContainerSection) -> None:
        findings = list(examine_host(config(runtime="apptainer"), Site(container=containers)))
        assert {finding.verdict for finding in findings} == {Verdict.OK}

    @pytest.mark.slurm
    def test_that_gives_containers_no_network_namespace(self, containers: ContainerSection, tmp_path: Path) -> None:
        refusing = tmp_path / "apptainer"
        refusing.write_text(
            '#!/bin/bash\nfor a; do [ "$a" = --net ] && { echo "FATAL: no network namespace" >&2; exit 255; }; done\n'
            f'exec {containers.apptainer} "$@"\n'
        )
        refusing.chmod(0o755)
        site = Site(container=containers.model_copy(update={"apptainer": str(refusing)}))
        findings = list(examine_host(config(runtime="apptainer", minimum_isolation="container"), site))
        assert find(findings, "network").verdict is Verdict.WARNING
        assert find(findings, "containers").verdict is Verdict.OK

    @pytest.mark.slurm
    def test_whose_kernel_has_no_landlock(self, containers: ContainerSection, tmp_path: Path) -> None:
        old = without_landlock(tmp_path, containers.apptainer)
        site = Site(container=containers.model_copy(update={"apptainer": str(old)}))
        findings = list(examine_host(config(runtime="apptainer", minimum_isolation="container"), site))
        assert find(findings, "containers").verdict is Verdict.OK
        cost = find(findings, "warm containers")
        assert cost.verdict is Verdict.WARNING
        assert re.search(r"read files beside its own.* starts a container and imports torch, \d+\.\d s", cost.found)

    @pytest.mark.slurm
    def test_whose_containers_see_no_gpu(self, containers: ContainerSection) -> None:
        site = Site(container=containers.model_copy(update={"gpu": "nv"}))
        finding = find(examine_host(config(runtime="apptainer"), site), "GPU in containers")
        assert (finding.verdict, "gpus_per_node" in finding.advice) == (Verdict.FAULT, True)


def _command(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


class TestTheBenchmark:
    def examined(
        self, folder: Path, sources: Mapping[str, str], trains: bool = False, **options: object
    ) -> list[tuple[str, Verdict]]:
        (folder / "seeds").mkdir()
        for name, source in sources.items():
            (folder / "seeds" / f"{name}.py").write_text(source)
        given = Config(seeds=folder / "seeds", lm=LMConfig(engine="scripted"), task_options=options)
        self.findings = list(doctor.examine_benchmark(given, trains=trains))
        return [(finding.check, finding.verdict) for finding in self.findings]

    def test_that_is_fine(self, tmp_path: Path) -> None:
        found = self.examined(tmp_path, {"linear": HONEST}, steps=20)
        assert found == [("task", Verdict.OK), ("cost", Verdict.OK), ("seeds", Verdict.OK)]
        assert self.findings[1].found.startswith("evaluations at most 1,601, each on 1 core: 800 CPU-hours; run folder")

    @pytest.mark.parametrize(
        ("source", "verdict", "found"),
        [
            pytest.param(HONEST, Verdict.OK, "seed-linear was trained for one batch, in ", marks=pytest.mark.slow),
            (HONEST.replace("LazyLinear(10)", "LazyLinear(9)"), Verdict.FAULT, "seed-linear: shape_error: ValueError"),
        ],
    )
    def test_whose_first_seed_is_trained_for_one_batch(
        self, tmp_path: Path, source: str, verdict: Verdict, found: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(creation, "prepare", prepare_once)
        assert self.examined(tmp_path, {"linear": source}, trains=True)[-1] == ("training", verdict)
        assert self.findings[-1].found.startswith(found)

    @pytest.mark.slow
    def test_with_a_seed_whose_class_needs_what_stands_beside_it(self, tmp_path: Path) -> None:
        source = HONEST.replace("class Model", "WIDTH = 10\n\n\nclass Model").replace(
            "LazyLinear(10)", "LazyLinear(WIDTH)"
        )
        assert self.examined(tmp_path, {"linear": source}, steps=20)[-1] == ("seed-linear", Verdict.WARNING)
        assert "code beside class Model (line 4)" in self.findings[-1].found

    def test_whose_data_cannot_be_made_is_refused(self, tmp_path: Path) -> None:
        found = self.examined(tmp_path, {"linear": HONEST}, steps=-1)
        assert found == [("task and seeds", Verdict.FAULT)]

    @pytest.mark.slow
    @pytest.mark.parametrize(("good", "verdict"), [({"linear": HONEST}, Verdict.WARNING), ({}, Verdict.FAULT)])
    def test_with_seeds_that_screening_refuses(self, tmp_path: Path, good: dict[str, str], verdict: Verdict) -> None:
        assert self.examined(tmp_path, {"broken": "class", **good})[-1] == ("seeds", verdict)


SILENT = "echo 'slurm_load_ctl_conf error: Unable to contact slurm controller' >&2; exit 1"
SCONTROL_ONCE = f"""[ "$2" = config ] || {{ {SILENT}; }}
echo 'JobRequeue = 1'; echo 'AccountingStorageType = accounting_storage/none'; echo 'MinJobAge = {{age}}'"""
WOULD_RUN = "echo 'sbatch: Job 1 to start at 2026-01-01T00:00:00 using 1 processors on nodes n1 in partition cpu' >&2"


class TestACheckThatFails:
    def test_slurm_that_falls_silent_half_way_is_a_finding(self, fake_slurm: Path) -> None:
        _command(fake_slurm, "scontrol", SCONTROL_ONCE.replace("{age}", "300 sec"))
        _command(fake_slurm, "sbatch", WOULD_RUN)
        findings = list(doctor.examine_slurm(config(), Site()))
        finding = find(findings, "driver job")
        assert (finding.verdict, "Slurm does not answer" in finding.found) == (Verdict.FAULT, True)
        assert "sbatch --test-only" in finding.found
        assert find(findings, "requeue").verdict is Verdict.OK

    def test_sbatch_that_never_answers_is_a_finding(self, fake_slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("evohpc.slurm.commands.TIMEOUT_S", 0.2)
        _command(fake_slurm, "sbatch", "exec /bin/sleep 60")
        finding = find(doctor.examine_slurm(config(), Site()), "evaluation jobs")
        assert (finding.verdict, finding.found) == (
            Verdict.FAULT,
            "asking `sbatch --test-only`: Slurm does not answer (sbatch did not answer within 0.2 s)",
        )

    def test_a_missing_sbatch_is_a_finding(self, fake_slurm: Path) -> None:
        finding = find(doctor.examine_slurm(config(), Site()), "driver job")
        assert (finding.verdict, "there is no `sbatch` here" in finding.found) == (Verdict.FAULT, True)

    @pytest.mark.parametrize("age", ["", "(null)", "INFINITE", "9" * 5000, "300 sec"])
    def test_any_age_of_jobs_is_read(self, age: str, fake_slurm: Path) -> None:
        _command(fake_slurm, "scontrol", SCONTROL_ONCE.replace("{age}", age))
        _command(fake_slurm, "sbatch", "printf 'caf\\351' >&2; exit 1")
        findings = list(doctor.examine_slurm(config(), Site()))
        assert find(findings, "accounting").verdict is Verdict.OK
        assert "caf\ufffd" in find(findings, "driver job").found

    @pytest.mark.parametrize("said", ["", "banner", "\u00b2", "Welcome\nno gpu"])
    def test_any_answer_of_an_image_is_read(self, said: str, tmp_path: Path) -> None:
        _command(tmp_path, "apptainer", f"printf '{said}'")
        (tmp_path / "lm.sif").touch()
        container = ContainerSection(apptainer=str(tmp_path / "apptainer"))
        site = Site(lm=LMJobs(image=tmp_path / "lm.sif"), container=container)
        assert find(examine_host(with_model(tmp_path), site), "LM image").verdict is Verdict.FAULT

    @pytest.mark.parametrize(
        "error", [TimeoutExpired("x", 3), OSError(errno.EIO, "Input/output error"), ValueError("odd"), RecursionError()]
    )
    def test_no_check_ends_the_doctor(self, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*arguments: object, **options: object) -> None:
            raise error

        for name in ("os.statvfs", "os.fsync", "subprocess.run", "tempfile.TemporaryDirectory", "tempfile.mkdtemp"):
            monkeypatch.setattr(name, fail)
        examined = [
            *doctor.examine_files(tmp_path, False, mountinfo=MOUNTINFO),
            *doctor.examine_host(config(), Site()),
            *doctor.examine_benchmark(config(), trains=True),
        ]
        faults = {finding.check for finding in examined if finding.verdict is Verdict.FAULT}
        assert {"space", "task and seeds"} <= faults
        assert all(finding.advice for finding in examined if finding.verdict is Verdict.FAULT)

    def test_a_folder_that_leads_to_itself_is_a_finding(self, tmp_path: Path) -> None:
        (tmp_path / "loop").symlink_to("loop")
        for findings in (doctor.examine_files(tmp_path / "loop" / "x", False), doctor.probe_files(tmp_path / "loop")):
            assert list(findings)


class TestMounts:
    def test_one_without_a_source_is_read(self) -> None:
        line = "40 20 0:40 / /data rw - xfs  rw,noquota"
        mount = mounts.mount_of(Path("/data/run"), f"{MOUNTINFO}{line}\n")
        assert (mount.point, mount.kind, "noquota" in mount.options) == ("/data", "xfs", True)

    def test_a_host_that_tells_of_none_is_warned_of(self) -> None:
        assert mounts.judge(mounts.mount_of(Path("/x"), ""), on_cluster=True).verdict is Verdict.WARNING

    @given(st.text())
    def test_any_text_is_read(self, text: str) -> None:
        assert mounts.judge(mounts.mount_of(Path("/data/run"), text), on_cluster=True).found

    @given(st.lists(st.sampled_from([*" -/,\\0479", "rw", "ext4", " - ", "/data", "nfs", "\u2028", "\x0c"])))
    def test_any_line_is_read(self, parts: list[str]) -> None:
        text = f"{MOUNTINFO}{''.join(parts)}\n"
        assert mounts.judge(mounts.mount_of(Path("/home/me"), text), on_cluster=True).found


@pytest.mark.parametrize("none", ["accounting_storage/none", "(null)"])
def test_a_slurm_without_accounting_is_known_by_what_it_prints(none: str) -> None:
    finding = scheduling.accounting(Site(), {"AccountingStorageType": none, "MinJobAge": "10 sec"})
    assert (finding.verdict, finding.found) == (Verdict.WARNING, "none, and squeue forgets jobs after 10 s")


@given(st.dictionaries(st.sampled_from(["AccountingStorageType", "MinJobAge", "JobRequeue"]), st.text()))
def test_any_settings_of_slurm_are_read(settings: dict[str, str]) -> None:
    assert scheduling.accounting(Site(), settings).found
    assert scheduling.going_on(Site(), settings).found
