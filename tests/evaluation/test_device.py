"""A GPU that is missing, broken or crowded is the machine's fault, whatever a candidate says of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from support.evaluating import HONEST, broken, make_run, run_source

from evohpc import envelopes
from evohpc.errors import EvaluationError
from evohpc.evaluation import device, worker
from evohpc.evaluation.attempt import Evaluator
from evohpc.evaluation.benchmark import Benchmark
from evohpc.evaluation.stage import gpu, protocol
from evohpc.evaluation.stage.protocol import Order, Report
from evohpc.messages import Attempt, Isolation, Result, Status
from evohpc.sandbox.base import Ending, Outcome, Runtime, Stage

WORDS = [
    "Torch not compiled with CUDA enabled",
    "No CUDA GPUs are available",
    "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU",
    "CUDA error: CUDA driver version is insufficient for CUDA runtime version",
    "The NVIDIA driver on your system is too old (found version 11040)",
    "CUDA error: uncorrectable ECC error encountered",
    "CUDA error: no kernel image is available for execution on the device",
    "CUDA error: CUDA-capable device(s) is/are busy or unavailable",
    "CUDA error: unspecified launch failure",
    "CUDA error: unknown error",
    "CUDA error: invalid device ordinal",
    "CUDA unknown error - this may be due to an incorrectly set up environment",
    "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.15 GiB",
    "HIP out of memory. Tried to allocate 20.00 MiB",
    "HIP error: no ROCm-capable device is detected",
    "died of SIGBUS, in the train stage",
]
OWN = [
    "died of SIGSEGV, in the train stage",
    "CUDA error: device-side assert triggered",
    "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!",
    "over evaluation.memory_mb = 1500, in the train stage",
    "module 'torch.nn' has no attribute 'GatedLinear' (line 7)",
]


def failed(detail: str, status: Status = Status.TRAIN_ERROR) -> Result:
    return Result("c", 1, status, detail)


@pytest.mark.parametrize("detail", WORDS)
def test_what_a_broken_gpu_has_torch_say_is_looked_into(detail: str) -> None:
    assert device.is_suspect(failed(f"RuntimeError: {detail}"))
    assert not device.is_suspect(failed(detail, Status.CONTAINER_ERROR)), "it is the machine's already"


@pytest.mark.parametrize("detail", OWN)
def test_what_a_program_does_wrong_is_its_own(detail: str) -> None:
    assert not device.is_suspect(failed(detail))


@dataclass
class Scripted:
    """A runtime whose stages, instead of running, report what is next in a list."""

    reports: list[Report]
    ran: list[tuple[str, float]] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    isolation = Isolation.CONFINED

    def run(self, stage: Stage) -> Outcome:
        order = envelopes.decode(stage.order, Order)
        self.ran.append((order.stage, stage.limits.wall_s))
        self.shares.append(order.gpu_share)
        (stage.out / protocol.REPORT).write_text(envelopes.encode(self.reports[len(self.ran) - 1]))
        return Outcome(Ending.EXITED, 0, 7.0, 0, b"")

    def expect_another(self) -> None: ...

    def end_candidate(self) -> None: ...

    def close(self) -> None: ...


ECC = Report("train_error", "RuntimeError: CUDA error: uncorrectable ECC error encountered")
FULL = Report("out_of_memory", "OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB")
SOUND = Report(protocol.OK, last_row={"free": 79e9, "total": 80e9})


def scripted(evaluator: Evaluator, *reports: Report) -> tuple[Evaluator, Scripted]:
    runtime = Scripted(list(reports))
    return dataclasses.replace(evaluator, runtime=runtime), runtime


@pytest.mark.slow
def test_a_candidate_is_tried_again_where_the_device_works(evaluator: Evaluator) -> None:
    ready, runtime = scripted(evaluator, ECC, SOUND, Report("shape_error", "its own"))
    result = ready.evaluate(Attempt("c", 1), b"")
    assert (result.status, result.detail) == (Status.SHAPE_ERROR, "its own")
    assert runtime.ran == [("train", 300.0), ("probe", 120.0), ("train", 293.0)]


@pytest.mark.parametrize("report", [ECC, FULL])
def test_what_fails_again_is_the_candidate_s(evaluator: Evaluator, report: Report) -> None:
    ready, runtime = scripted(evaluator, report, SOUND, report)
    result = ready.evaluate(Attempt("c", 1), b"")
    assert (result.status.value, result.detail) == (report.status, report.detail)
    assert len(runtime.ran) == 3


@pytest.mark.parametrize(
    ("said", "probed", "message"),
    [
        (ECC, Report("build_error", "no GPU"), r"on .* the device of the task cannot be used: no GPU"),
        (FULL, Report(protocol.OK, last_row={"free": 8 * 2.0**30, "total": 80 * 2.0**30}),
         r"on .* other processes hold 72\.0 GiB of the GPU's 80\.0"),
    ],
)  # fmt: skip
def test_a_device_that_does_not_work_is_the_machine_s_fault(
    evaluator: Evaluator, said: Report, probed: Report, message: str
) -> None:
    ready, _ = scripted(evaluator, said, probed)
    with pytest.raises(EvaluationError, match=message):
        ready.evaluate(Attempt("c", 1), b"")


@pytest.mark.parametrize(("free", "is_own"), [(19, True), (17, False)])
def test_who_shares_a_gpu_is_owed_his_share_of_its_memory(evaluator: Evaluator, free: float, is_own: bool) -> None:
    """A quarter of 80 GiB: neighbours that have theirs leave 20."""
    probed = Report(protocol.OK, last_row={"free": free * 2.0**30, "total": 80 * 2.0**30})
    ready, runtime = scripted(evaluator, FULL, probed, FULL)
    ready = dataclasses.replace(ready, gpu_share=0.25)
    if is_own:
        assert ready.evaluate(Attempt("c", 1), b"").status is Status.OUT_OF_MEMORY
    else:
        with pytest.raises(EvaluationError, match=r"other processes hold 63\.0 GiB"):
            ready.evaluate(Attempt("c", 1), b"")
    assert runtime.shares[0] == 0.25


def test_a_gpu_that_is_not_there_is_no_candidate_s_fault(evaluator: Evaluator) -> None:
    options = {**evaluator.benchmark.task_options, "device": "cuda"}
    on_a_gpu = dataclasses.replace(evaluator.benchmark, task_options=options)
    with pytest.raises(EvaluationError, match=r"on .* the device of the task cannot be used: .*CUDA"):
        run_source(dataclasses.replace(evaluator, benchmark=on_a_gpu), HONEST)


def test_a_candidate_that_blames_the_gpu_is_not_believed(evaluator: Evaluator) -> None:
    source = broken("raise RuntimeError('CUDA error: uncorrectable ECC error encountered')")
    result, _ = run_source(evaluator, source)
    assert (result.status, "ECC" in result.detail) == (Status.SHAPE_ERROR, True)


def test_a_device_computes() -> None:
    assert gpu.compute("cpu") == {}


@pytest.mark.parametrize(("share", "total_gib", "left"), [(0.25, 80, 0.24375), (0.5, 16, 0.46875), (1 / 8, 8, 0.0625)])
def test_what_every_process_has_on_a_gpu_beside_its_tensors_is_part_of_its_share(
    share: float, total_gib: int, left: float
) -> None:
    assert gpu.of_tensors(share, total_gib << 30) == pytest.approx(left)


def test_a_share_that_is_too_small_for_any_process_is_no_candidate_s_fault(evaluator: Evaluator) -> None:
    """The probe has the share, too, and is made before the first candidate."""
    with pytest.raises(RuntimeError) as raised:
        gpu.of_tensors(1 / 64, 24 << 30)
    said = "0.38 of the GPU's 24.0 GiB for each candidate is less than CUDA itself takes in a process; lower"
    assert str(raised.value) == f"{said} evaluation.candidates_at_once"
    ready, runtime = scripted(evaluator, Report("build_error", f"RuntimeError: {raised.value}"))
    with pytest.raises(EvaluationError, match=r"the device of the task cannot be used: RuntimeError: 0\.38 of the"):
        device.check(ready.benchmark, runtime, share=1 / 64)
    assert runtime.shares == [1 / 64]


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_share_of_a_gpu_limits_nothing_where_none_is_used(share: float) -> None:
    gpu.limit(share, "cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("wanted", ["auto", "cuda", "cuda:0"])
def test_a_share_of_a_gpu_is_all_that_a_process_gets(wanted: str) -> None:
    _, total = torch.cuda.mem_get_info()
    gpu.limit(0.25, wanted)
    try:
        torch.empty(int(0.2 * total), dtype=torch.uint8, device="cuda")
        with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
            torch.empty(int(0.3 * total), dtype=torch.uint8, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


@pytest.mark.gpu
@pytest.mark.parametrize("wanted", ["auto", "cuda", "cuda:0"])
def test_a_gpu_computes_and_says_what_memory_is_free(wanted: str) -> None:
    seen = gpu.compute(wanted)
    assert 0 < seen["free"] <= seen["total"]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As if Slurm had given this process a GPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    return monkeypatch


def test_a_torch_for_gpus_that_finds_none_of_those_it_was_given_says_why(given: pytest.MonkeyPatch) -> None:
    assert gpu.compute("auto") == {}, "this torch is built for none"
    given.setattr("torch.version.cuda", "12.8")
    with pytest.raises((AssertionError, RuntimeError), match=r"CUDA|NVIDIA"):
        gpu.compute("auto")
    given.setenv("CUDA_VISIBLE_DEVICES", "NoDevFiles")
    assert gpu.compute("auto") == {}


@pytest.mark.slow
def test_a_node_whose_gpu_is_broken_says_so_before_the_first_candidate(
    tmp_path: Path, given: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    seen: list[tuple[Path, float]] = []

    def check(benchmark: Benchmark, runtime: Runtime, *, share: float) -> None:
        seen.append((benchmark.train, share))
        raise EvaluationError("broken")

    given.setattr(device, "check", check)
    with pytest.raises(EvaluationError, match="broken"), worker.evaluator(run, gpu_share=0.5):
        pass
    assert seen == [(run.train, 0.5)]
