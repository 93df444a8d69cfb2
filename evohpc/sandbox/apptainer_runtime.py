"""The runtime `apptainer`: each candidate in a container of its own, or where they would not be safe there from what an
earlier one left, each stage."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from evohpc import envelopes
from evohpc.config.site import ContainerSection
from evohpc.errors import EvaluationError
from evohpc.messages import Isolation
from evohpc.sandbox import apptainer_command, apptainer_stage, container_probe, image
from evohpc.sandbox.apptainer_command import START_WITHIN_S, Bind, Container
from evohpc.sandbox.apptainer_succession import Succession, starts_ahead
from evohpc.sandbox.apptainer_warm import Recipe, WarmContainer
from evohpc.sandbox.base import Limits, Outcome, Stage
from evohpc.sandbox.container_probe import Found, ProbeOrder

_PROBE_LIMITS = Limits(wall_s=START_WITHIN_S, memory_bytes=1 << 30, disk_bytes=1 << 20, log_bytes=4096)


class ApptainerRuntime:
    """Runs stages in containers. Make one with `start`, which finds out what this host can isolate."""

    def __init__(self, recipe: Recipe, secret: Path, found: Found, kept: Succession | None = None) -> None:
        """
        Args:
            secret: a file that candidates must not read.
            found: what a probe of it found.
            kept: containers that are kept for a candidate's next stage; None: each stage has one of its own.
        """
        self._recipe, self._secret, self._found, self._kept = recipe, secret, found, kept
        self._masks: dict[tuple[str, ...], list[Bind]] = {(): []}
        self.obstacle = ""
        """Why no container is kept for a candidate's next stage; '' if it is."""
        self.start_s = 0.0
        """Seconds that a container took to start here, its imports included."""

    @property
    def isolation(self) -> Isolation:
        """CONTAINER if the probe found no way out."""
        return Isolation.PROCESS if self._found.weaknesses else Isolation.CONTAINER

    @property
    def has_own_network(self) -> bool:
        """Whether a container here has a network namespace of its own; else the seccomp filter alone keeps it off."""
        return self._recipe.host.own_network

    @property
    def weaknesses(self) -> tuple[str, ...]:
        """What a candidate could do here, in words."""
        return self._found.weaknesses

    @property
    def versions(self) -> dict[str, str]:
        """Of the packages in the image, and the image's digest."""
        return {**self._found.versions, "image": image.digest(self._recipe.host.image)}

    def run(self, stage: Stage) -> Outcome:
        """Run a stage to its end; see `Runtime.run`."""
        if self._kept is None:
            recipe = self._recipe
            return apptainer_stage.run(recipe.host, recipe.more, stage, self.masks_for(stage.hidden))
        try:
            return self._kept.container().run(stage)
        except EvaluationError:
            self.end_candidate()
            raise

    def masks_for(self, hidden: tuple[str, ...]) -> list[Bind]:
        """Return what is bound over modules that the kernel cannot hide; the first time, a container says where they
        are."""
        if self._found.has_landlock:
            return []
        if hidden not in self._masks:
            found = find(_cold(self._recipe), self._secret, hidden)
            nothing = Path(tempfile.mkdtemp(prefix="evohpc-nothing-"))
            files = [Bind(Path(os.devnull), place) for place in found.files]
            self._masks[hidden] = [*files, *(Bind(nothing, place) for place in found.folders)]
        return self._masks[hidden]

    def expect_another(self) -> None:
        """Have the next one's container start once this one's runs, if that is wanted here."""
        if self._kept is not None:
            self._kept.expect_another()

    def end_candidate(self) -> None:
        """End its container."""
        if self._kept is not None:
            self._kept.end_candidate()

    def close(self) -> None:
        """End the container that waits, too."""
        if self._kept is not None:
            self._kept.close()


def start(
    site: ContainerSection, secret: Path, minimum: Isolation, entry: str, shared: Sequence[Path] = ()
) -> ApptainerRuntime:
    """Find out how well containers isolate on this host, and return a runtime for it.

    Args:
        secret: a file that candidates must not read, e.g. the labels of a run.
        entry: see `Recipe.entry`.
        shared: see `Recipe.shared`.

    Raises:
        EvaluationError: no container starts here, or it isolates less than `minimum`.
    """
    if site.image is None:
        raise EvaluationError("evaluation.runtime is apptainer, and the site profile has no container.image")
    command = shutil.which(site.apptainer, path=f"{os.environ.get('PATH', '')}:/usr/local/bin:/usr/bin")
    if command is None:
        raise EvaluationError(
            f"there is no `{site.apptainer}` on {socket.gethostname()}; set container.apptainer in the site profile to "
            "its path, or load its module in evaluation.setup"
        )
    host = Container(command, image.local_copy(site.image, site.local_folder), site.gpu)
    runtime = _probe(Recipe(host, site.binds, entry, shared, starts_ahead(site.prewarm)), secret)
    if runtime.isolation.rank < minimum.rank:
        runtime.close()
        raise EvaluationError(
            f"{socket.gethostname()} reaches isolation '{runtime.isolation}', evaluation.minimum_isolation is "
            f"'{minimum}': a candidate in a container here could {', '.join(runtime.weaknesses)}"
        )
    return runtime


def _probe(recipe: Recipe, secret: Path) -> ApptainerRuntime:
    """Probe with a network namespace; where the host allows none, without: then the seccomp filter must hold."""
    try:
        return warm_or_cold(recipe, secret)
    except EvaluationError as error:
        try:
            return warm_or_cold(replace(recipe, host=replace(recipe.host, own_network=False)), secret)
        except EvaluationError:
            raise error from None


def warm_or_cold(recipe: Recipe, secret: Path) -> ApptainerRuntime:
    """Return a runtime that keeps containers, if one stage cannot reach the next in them, else one that does not."""
    with ExitStack() as stack:
        started = time.monotonic()
        container = WarmContainer(recipe)
        stack.callback(container.close)
        threads = container.wait().threads
        start_s = time.monotonic() - started
        found = find(container.run, secret)
        if not (obstacle := _obstacle(threads, found)):
            stack.pop_all()
            return ApptainerRuntime(recipe, secret, found, Succession(recipe, container))
    return apart(recipe, secret, obstacle, start_s)


def apart(recipe: Recipe, secret: Path, obstacle: str, start_s: float = 0.0) -> ApptainerRuntime:
    """Return a runtime with a container for each stage.

    Args:
        obstacle: see `ApptainerRuntime.obstacle`.
        start_s: see `ApptainerRuntime.start_s`.
    """
    runtime = ApptainerRuntime(recipe, secret, find(_cold(recipe), secret))
    runtime.obstacle, runtime.start_s = obstacle, start_s
    return runtime


def _cold(recipe: Recipe) -> Callable[[Stage], Outcome]:
    return lambda stage: apptainer_stage.run(recipe.host, recipe.more, stage)


def _obstacle(threads: int, found: Found) -> str:
    """Return why stages may not be forked in one container; '' if they may.

    Args:
        threads: of the fork server.
    """
    if threads != 1:
        return f"importing torch starts {threads - 1} threads, which do not survive a fork"
    return f"in one container a stage could {', '.join(found.common)}" if found.common else ""


def find(run: Callable[[Stage], Outcome], secret: Path, hidden: tuple[str, ...] = ()) -> Found:
    """Run the probe.

    Args:
        run: runs a stage in a container.
        hidden: modules whose places it is to tell.

    Raises:
        EvaluationError: it did not run.
    """
    with tempfile.TemporaryDirectory(prefix="evohpc-probe-") as folder:
        order = envelopes.encode(ProbeOrder(str(secret.resolve()), os.getpid(), hidden)).encode()
        outcome = run(Stage(container_probe.__name__, order, {}, Path(folder), _PROBE_LIMITS, threads=1))
        try:
            return envelopes.decode((Path(folder) / "found.json").read_bytes(), Found)
        except OSError:
            raise EvaluationError(apptainer_command.no_start(outcome.log)) from None
