"""A board at work: artifacts measured over one link, with what is known of the machine by now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from binas.devices.link import Link
from binas.runtime import artifact
from binas.runtime.fleet import Job
from binas.runtime.measure import Measurement, Plan, Result
from binas.runtime.session import Session
from binas.runtime.verify import verify

START_S = 60.0  # upload and start of one session


@dataclass(slots=True)
class DeviceBoard:
    """A device as a member of a fleet.

    Attributes:
        link: Open; not closed here.
        plan: How layers are measured.
        anchor: An artifact with reference values: computed and timed to see whether the board can
            be trusted. None: it is taken at its word.
        threads: Threads of the networks.
        quiet_ns: The board's yardstick when it is left alone, as far as seen or known beforehand.
    """

    link: Link
    plan: Plan
    anchor: Path | None = None
    threads: int = 1
    quiet_ns: float | None = None

    @property
    def name(self) -> str:
        """The device's name."""
        return self.link.device.name

    def layers(self, job: Job) -> Sequence[Result]:
        """Some steps of an artifact, each by itself."""
        with Session(artifact.load(job.path), self.link, threads=self.threads) as session:
            found = session.layers(self.plan, seed=job.seed, only=job.steps, quiet_ns=self.quiet_ns)
        self._learn(found)
        return found

    def time(self, path: Path, plan: Plan) -> Measurement:
        """A whole network."""
        with Session(artifact.load(path), self.link, threads=self.threads) as session:
            found = session.time(plan, quiet_ns=self.quiet_ns)
        self._learn([found])
        return found

    def check(self) -> float:
        """Verify the anchor's answers against its reference, then time it.

        Raises:
            WrongAnswerError: The board computes something else.
            DeviceError: It does not compute.
        """
        if self.anchor is None:
            return 1.0
        with Session(artifact.load(self.anchor), self.link, threads=self.threads) as session:
            if self.link.trust == "real":
                verify(session)
            found = session.time(self.plan, quiet_ns=self.quiet_ns)
        self._learn([found])
        return found.median_ns

    def lease_s(self, job: Job) -> float:
        """Longer than any session of this plan can take."""
        return START_S + 3 * (len(job.steps) + 1) * self.plan.max_ns / 1e9

    def _learn(self, results: Sequence[Result]) -> None:
        """The harness answers with what it was told, unless the machine proved clearly quicker."""
        seen = [one.quiet_ns for one in results if isinstance(one, Measurement) and one.quiet_ns]
        self.quiet_ns = min(seen, default=self.quiet_ns)
