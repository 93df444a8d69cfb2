"""`evohpc doctor`: every requirement of a search, ok or what to do about it."""

from evohpc.doctor.base import Finding, Verdict
from evohpc.doctor.benchmark import examine_benchmark
from evohpc.doctor.files import examine_files, probe_files
from evohpc.doctor.host import examine_host
from evohpc.doctor.scheduling import examine_slurm

__all__ = ["Finding", "Verdict", "examine_benchmark", "examine_files", "examine_host", "examine_slurm", "probe_files"]
