"""The whole way in order: which stage needs which, and what runs beside what.

Measuring wants a quiet machine, so those stages run alone; searches and trainings run beside each
other where they do not wait for one another. The second search is asked for a share of the first
net's *measured* latency, so the two cannot start together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from binas.compile.tuning import Tuning
from binas.core import record
from binas.core.errors import UsageError
from binas.core.layer import Layer
from binas.devices import registry
from binas.devices.device import Device
from binas.runtime import emulated
from binas.runtime.measure import Measurement
from binas.search.cost import layers_of
from binas.search.run import versions
from binas.search.strategy.settings import Found
from examples.demo import cache, stages
from examples.demo.crew import Crew, Job, Work
from examples.demo.stages import Setting

SEARCH_CODE = ("search", "core")
ALL_CODE = ("search", "compile", "runtime", "devices", "core")
STAIR_CHANNELS = tuple(range(8, 129, 8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the demo was asked for.

    Attributes:
        data: Name of the data set.
        space: Name of the search space.
        device: What is measured on.
        board: What is compiled for and only emulated.
        output: Folder of the report and of all stages.
        seed: Of searches and trainings.
        target_ratio: Latency asked of the second search, over the first net's measured latency.
        search_epochs: None: the package's default.
        train_epochs: None: the package's default.
    """

    data: str = "digits"
    space: str = "digits"
    device: str = "host"
    board: str = "rpi4"
    output: Path = Path("runs/demo")
    seed: int = 0
    target_ratio: float = 0.65
    search_epochs: int | None = None
    train_epochs: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Where each stage left its files; by network: baseline, latency_aware, parent."""

    setting: Setting
    table: Path
    target_ns: float
    searches: dict[str, Path]
    nets: dict[str, Path]
    artifacts: dict[str, Path]
    times: Path
    twin_layers: Path
    staircase: Path
    seconds: dict[str, float]


def travel(request: Request, crew: Crew) -> Results:
    """Do every stage that is not done yet."""
    return _Journey(request, crew).travel()


class _Journey:
    def __init__(self, request: Request, crew: Crew) -> None:
        self.request, self.crew = request, crew
        _must_be_countable(registry.find(request.board))  # now, and not after the searches
        self.root = request.output / "stages"
        self.setting = Setting(
            data=request.data,
            space=request.space,
            device=request.device,
            board=request.board,
            kept=request.output / "layers",
        )
        self.images, self.space = self.setting.read()
        self.tuning = Tuning.of_user().digests  # decides what kernels are measured
        self.made: list[Job] = []

    def travel(self) -> Results:
        crew = self.crew
        table = self._job("table", stages.make_table, ALL_CODE, {"device": self._device()})
        crew.alone(table)
        baseline = self._search("baseline", table, None)
        crew.together([baseline])
        reference = self._job(
            "baseline latency",
            stages.time_untrained,
            ALL_CODE,
            {"device": self._device(), "of": baseline.stage.digest},
            found=baseline.stage.folder / "found.json",
            table=self._table_file(table),
        )
        crew.alone(reference)
        measured = record.load(Measurement, reference.stage.folder / "measurement.json")
        target_ns = self.request.target_ratio * measured.median_ns

        aware = self._search("latency-aware", table, target_ns)
        nets = {"baseline": self._train("baseline", baseline, table, real=False)}
        artifacts = {"baseline": self._artifacts("baseline", nets["baseline"])}
        crew.together([aware], [nets["baseline"], artifacts["baseline"]])
        nets["latency_aware"] = self._train("latency-aware", aware, table, real=False)
        nets["parent"] = self._train("real twin", aware, table, real=True)
        artifacts["latency_aware"] = self._artifacts("latency-aware", nets["latency_aware"])
        artifacts["parent"] = self._artifacts("real twin", nets["parent"])
        crew.together(
            [nets["latency_aware"], artifacts["latency_aware"]],
            [nets["parent"], artifacts["parent"]],
        )

        genotype = record.load(Found, aware.stage.folder / "found.json").in_stages()
        twin = self._layers("twin layers", sorted(set(layers_of(genotype, real=True))), table)
        stairs = self._layers("staircase", [stair(channels) for channels in STAIR_CHANNELS], table)
        files = {
            name: job.stage.folder / f"{self.request.device}.binas"
            for name, job in artifacts.items()
        }
        times = self._job(
            "measure",
            stages.time_artifacts,
            ALL_CODE,
            {"device": self._device(), "of": [job.stage.digest for job in artifacts.values()]},
            files=files,
            table=self._table_file(table),
        )
        for job in (twin, stairs, times):
            crew.alone(job)
        return Results(
            setting=self.setting,
            table=self._table_file(table),
            target_ns=target_ns,
            searches={
                "baseline": baseline.stage.folder,
                "latency_aware": aware.stage.folder,
            },
            nets={name: job.stage.folder for name, job in nets.items()},
            artifacts={name: job.stage.folder for name, job in artifacts.items()},
            times=times.stage.folder,
            twin_layers=twin.stage.folder / "times.json",
            staircase=stairs.stage.folder / "times.json",
            seconds={job.stage.name: done.seconds for job in self.made if (done := job.stage.done)},
        )

    def _search(self, name: str, table: Job, budget_ns: float | None) -> Job:
        epochs = self.request.search_epochs
        inputs = {"table": table.stage.digest, "budget_ns": budget_ns, "epochs": epochs}
        return self._job(
            f"search {name}",
            stages.run_search,
            SEARCH_CODE,
            {**inputs, "seed": self.request.seed},
            table=self._table_file(table),
            seed=self.request.seed,
            budget_ns=budget_ns,
            epochs=epochs,
        )

    def _train(self, name: str, found: Job, table: Job, *, real: bool) -> Job:
        seed, epochs = self.request.seed, self.request.train_epochs
        return self._job(
            f"train {name}",
            stages.train,
            SEARCH_CODE,
            {"search": found.stage.digest, "real": real, "seed": seed, "epochs": epochs},
            found=found.stage.folder / "found.json",
            table=self._table_file(table),
            real=real,
            seed=seed,
            epochs=epochs,
        )

    def _artifacts(self, name: str, net: Job) -> Job:
        return self._job(
            f"compile {name}",
            stages.make_artifacts,
            ALL_CODE,
            {"net": net.stage.digest, "device": self._device(), "board": self.request.board},
            model=net.stage.folder / "model.onnx",
        )

    def _layers(self, name: str, layers: Sequence[Layer], table: Job) -> Job:
        return self._job(
            name,
            stages.time_layers,
            ALL_CODE,
            {
                "device": self._device(),
                "layers": [asdict(layer) for layer in layers],
                "table": table.stage.digest,
            },
            layers=tuple(layers),
            table=self._table_file(table),
        )

    @staticmethod
    def _table_file(table: Job) -> Path:
        return table.stage.folder / "table.json"

    def _job(
        self, name: str, work: Work, code: tuple[str, ...], inputs: dict[str, Any], **given: Any
    ) -> Job:
        everything = {
            **inputs,
            "data": self.images.digest,
            "space": record.digest(self.space),
            "versions": versions(),
            "tuning": self.tuning,
        }
        place = cache.stage(self.root, name.replace(" ", "-"), everything, *code)
        job = Job(place, work, {"setting": self.setting, **given})
        self.made.append(job)
        return job

    def _device(self) -> dict[str, Any]:
        """The device as it is now: another machine in its place is another input."""
        device = asdict(registry.find(self.request.device))
        device.pop("memory_bytes")  # a container's limit says nothing of speed
        return device


def _must_be_countable(board: Device) -> None:
    """Refuse a board whose instructions the report could not count."""
    if board.arch != emulated.ARCH:
        raise UsageError(
            f"no emulator here counts the instructions of {board.name} ({board.arch})",
            hint=f"give a board of {emulated.ARCH}, such as --board rpi4",
        )


def stair(channels: int) -> Layer:
    """A binary 3x3 convolution of that width, with batch norm and the sign of the next."""
    return Layer(
        op="binary_conv",
        in_shape=(1, 8, 8, channels),
        out_channels=channels,
        kernel=(3, 3),
        padding=(1, 1, 1, 1),
        in_bits=1,
        weight_bits=1,
        stages=("affine",),
        float_out=False,
        bits_out=True,
    )
