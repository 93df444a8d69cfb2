"""A real Slurm on this machine: munged, slurmctld, several slurmd, and accounting if asked for.

Everything is private to one temporary folder (key, socket, state, ports), so clusters can be up side by side. Each node
is a `slurmd -N`, told by Slurm's multiple-slurmd support (https://slurm.schedmd.com/programmer_guide.html).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from support.cluster import packages
from support.cluster.accounting import Accounting
from support.cluster.daemons import end, free_ports, pid_of, wait_until

_CONF = """\
ClusterName=evohpc
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/sock
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType={proctrack}
TaskPlugin={task_plugin}
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=100
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=2
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=1
SlurmdTimeout=60
SlurmctldTimeout=60
MessageTimeout={message_timeout_s}
BatchStartTimeout=120
UnkillableStepTimeout=600
InactiveLimit=0
MinJobAge={min_job_age}
KillWait=2
MaxArraySize={max_array_size}
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{accounting}
NodeName=DEFAULT CPUs={cpus} RealMemory={memory_mb} State=UNKNOWN
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{node_ports}]
PartitionName=main Nodes=ALL Default=YES DefaultTime=60 MaxTime=1-0 PriorityTier=10
PartitionName=low Nodes=ALL DefaultTime=60 MaxTime=1-0 PriorityTier=1 GraceTime=0
"""

_MESSAGE_TIMEOUT_S = 60
"""For daemons that a busy machine lets stand still. Commands wait as long for a slurmctld that is down."""

_CGROUP_CONF = "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nConstrainRAMSpace=yes\nConstrainSwapSpace=no\n"


@dataclass
class Cluster:
    """One cluster: `with Cluster() as cluster`, or `up` and `down`."""

    nodes: int = 4
    cpus: int = 4
    memory_mb: int = 16_000
    max_array_size: int = 1001
    min_job_age: int = 300
    """Seconds that slurmctld remembers a job that is over."""
    accounting: bool = False
    folder: Path = field(init=False)
    _slurmdbd: Accounting | None = field(default=None, init=False)

    def up(self) -> None:
        """Start everything and wait until all nodes are idle.

        Raises:
            Unavailable: this machine cannot.
        """
        packages.require(packages.SLURM + (packages.ACCOUNTING if self.accounting else ()))
        if os.geteuid() != 0:
            raise packages.Unavailable("slurmd has to run as root, and this is another user")
        self.folder = Path(tempfile.mkdtemp(prefix="evohpc-slurm-", dir="/tmp"))
        self.folder.chmod(0o755)
        for name in ("etc", "run", "log", "state", "munge", "spool"):
            (self.folder / name).mkdir(mode=0o755)
        try:
            self._start()
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End everything and remove the folder."""
        if pid_of(self._pid("slurmctld")):
            self._end_jobs()
        for number in range(1, self.nodes + 1):
            self.stop_node(f"n{number}")
        end(self._pid("slurmctld"))
        if self._slurmdbd is not None:
            self._slurmdbd.down()
        end(self.folder / "munge" / "munged.pid")
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Cluster:
        self.up()
        return self

    def __exit__(self, *exception: object) -> None:
        self.down()

    def environment(self) -> dict[str, str]:
        """Return an environment whose Slurm commands talk to this cluster."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
        return {**clean, "SLURM_CONF": str(self.folder / "etc" / "slurm.conf")}

    def run(self, *command: str) -> str:
        """Return what a Slurm command prints."""
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def restart_controller(self) -> None:
        """End slurmctld and start it again on its saved state."""
        self.stop_controller()
        self.start_controller()

    def stop_controller(self) -> None:
        """End slurmctld; jobs go on."""
        end(self._pid("slurmctld"))

    def start_controller(self) -> None:
        """Start slurmctld and wait until it answers."""
        self._daemon("slurmctld")
        wait_until(self._answers, "slurmctld answers")

    def start_node(self, node: str) -> None:
        """Start a slurmd."""
        self._daemon("slurmd", "-N", node)

    def stop_node(self, node: str, number: signal.Signals = signal.SIGTERM) -> None:
        """End a slurmd. Its jobs go on: a node that only cannot be reached any more does the same."""
        end(self._pid(f"slurmd.{node}"), number)

    def wait_idle(self) -> None:
        """Wait until every node can take jobs."""
        wait_until(lambda: self._count_idle() == self.nodes, "all nodes are idle")

    def wait_requeued(self, condition: Callable[[], object], what: str) -> None:
        """Wait until a condition holds that a requeued job brings about when it starts again. By itself it would wait
        until the credential of its last start has expired, for two minutes; those are for nodes that a busy machine
        lets stand still."""

        def hastened() -> bool:
            self._hasten()
            return bool(condition())

        wait_until(hastened, what, every_s=0.3)

    def _hasten(self) -> None:
        waiting = ["squeue", "--noheader", "--array", "--states=PENDING", "--format=%i %S %r"]
        for job, start, reason in map(str.split, self.run(*waiting).splitlines()):
            soon = (datetime.now() + timedelta(seconds=10)).isoformat()
            if reason == "BeginTime" and soon < start != "N/A":
                with contextlib.suppress(RuntimeError):  # it starts already
                    # Its node has revoked the last credential by now, and refuses all of that second.
                    self.run("scontrol", "update", f"jobid={job}", "starttime=now+2seconds")

    @contextmanager
    def node_down(self, node: str) -> Iterator[None]:
        """Have an admin set a node DOWN for a while; it does not come back by itself (ReturnToService=1)."""
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        try:
            yield
        finally:
            self.run("scontrol", "update", f"nodename={node}", "state=resume")
            self.wait_idle()

    @contextmanager
    def node_cut_off(self, node: str) -> Iterator[None]:
        """Have a node DOWN for a while whose jobs live on."""
        self.stop_node(node, signal.SIGKILL)
        with self.node_down(node):
            try:
                yield
            finally:
                self.start_node(node)

    def impatient_conf(self) -> Path:
        """Return a slurm.conf for commands that ask a slurmctld which is known to be down."""
        conf = self.folder / "etc" / "slurm.conf"
        impatient = conf.with_name("impatient.conf")
        impatient.write_text(re.sub("(?m)^MessageTimeout=.*$", "MessageTimeout=2", conf.read_text()))
        return impatient

    def _end_jobs(self) -> None:
        """Cancel all, and wait a while for their ends: what they leave would be written into the removed folder."""
        with contextlib.suppress(RuntimeError, TimeoutError, subprocess.TimeoutExpired):
            self.run("scancel", "--user=root", "--full")
            wait_until(lambda: not self.run("squeue", "--noheader"), "no job is left", 60)

    def _start(self) -> None:
        self._start_munge()
        if self.accounting:
            self._slurmdbd = Accounting(self.folder)
            self._slurmdbd.up()
        self._write_conf()
        if self.accounting:
            self.run("sacctmgr", "--immediate", "add", "cluster", "evohpc")
        self.start_controller()
        for number in range(1, self.nodes + 1):
            self.start_node(f"n{number}")
        self.wait_idle()

    def _start_munge(self) -> None:
        home = self.folder / "munge"
        (home / "key").write_bytes(os.urandom(128))
        (home / "key").chmod(0o400)
        subprocess.run(["chown", "-R", "munge:munge", str(home)], check=True)
        files = {"key-file": "key", "socket": "sock", "pid-file": "munged.pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={home / name}" for option, name in files.items()]
        drop = ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups"]
        subprocess.run([*drop, "munged", *options, "--num-threads=2"], check=True, capture_output=True)

    def _write_conf(self) -> None:
        port, *node_ports = free_ports(self.nodes + 1)
        cgroups = os.access("/sys/fs/cgroup/freezer", os.W_OK) and os.access("/sys/fs/cgroup/memory", os.W_OK)
        text = _CONF.format(
            folder=self.folder,
            host=socket.gethostname().partition(".")[0],
            port=port,
            node_ports=",".join(map(str, node_ports)),
            # linuxproc leaves behind what ignores SIGTERM, so it is only the second best.
            proctrack="proctrack/cgroup" if cgroups else "proctrack/linuxproc",
            task_plugin="task/cgroup" if cgroups else "task/none",
            accounting=self._slurmdbd.conf() if self._slurmdbd else "AccountingStorageType=accounting_storage/none",
            nodes=self.nodes,
            cpus=self.cpus,
            memory_mb=self.memory_mb,
            max_array_size=self.max_array_size,
            min_job_age=self.min_job_age,
            message_timeout_s=_MESSAGE_TIMEOUT_S,
        )
        (self.folder / "etc" / "slurm.conf").write_text(text)
        (self.folder / "etc" / "cgroup.conf").write_text(_CGROUP_CONF)

    def _daemon(self, *command: str) -> None:
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")

    def _pid(self, daemon: str) -> Path:
        return self.folder / "run" / f"{daemon}.pid"

    def _answers(self) -> bool:
        done = subprocess.run(["scontrol", "ping"], env=self.environment(), capture_output=True, text=True)
        return " UP" in done.stdout

    def _count_idle(self) -> int:
        shown = self.run("sinfo", "--noheader", "--partition=main", "--Node", "--format=%T")
        return shown.split().count("idle")
