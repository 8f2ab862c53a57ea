"""Clips made on many machines: a pool of Ray workers, each with a pipeline of its own, and one driver that writes.

    with Fleet("ray://head:10001", pipeline) as fleet:
        for place, made in fleet.make(orders): ...

What a worker needs is where it runs, by the same path or name and the same hash, or is sent there once a node: the
bundle into the user's cache, recordings and adapters beside it for as long as the worker lives. A worker that is lost
costs the clip that it was making, which another one makes.
"""

import hashlib
import io
import re
import tempfile
import warnings
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from platformdirs import user_cache_path

import sa3_edge
from sa3_edge.adapters.lora import AdapterFile
from sa3_edge.adapters.names import PEFT_CONFIG
from sa3_edge.bundle import Bundle
from sa3_edge.clips.files import ClipFiles
from sa3_edge.clips.options import ClipOptions
from sa3_edge.clips.render import Clip, prepare, write_sidecar
from sa3_edge.engines import EngineOptions
from sa3_edge.engines.libraries import load_ray
from sa3_edge.engines.runner import GraphRunner
from sa3_edge.errors import EngineError, Remedy, RequestError, Sa3Error
from sa3_edge.files import put_in_place, sha256_of, unfinished_folder, whole_file
from sa3_edge.generation.pipeline import Pipeline
from sa3_edge.manifest import FILE_NAME
from sa3_edge.models.catalog import installed_models, of_bundle

_ADDRESS = re.compile(r"ray(://[\w.\-\[\]:]+:\d+)?")
_TRIES = 3  # of a clip whose workers are lost
_END_SECONDS = 1  # in which workers that do nothing clean up
_START_SECONDS = 300  # until the first worker answers: a node may have to be sent a model


def check_address(address: str) -> None:
    """Raise RequestError for what is no cluster's address."""
    if not _ADDRESS.fullmatch(address):
        raise RequestError(f"{address!r} is no cluster; write ray (on this machine) or ray://HOST:PORT")


@dataclass(frozen=True)
class Made:
    """A clip and the bytes of its file, which is not written yet."""

    clip: Clip
    data: bytes

    def write(self) -> Clip:
        """The clip, in its file. Raises Sa3Error as `Job.run`."""
        files = self.clip.files
        assert files.audio is not None
        with whole_file(files.audio, replace=files.overwrite) as temporary:
            temporary.write_bytes(self.data)
        write_sidecar(files, self.clip.report)
        return self.clip


@dataclass(frozen=True)
class _Model:
    """What a worker is to load, as the driver knows it."""

    name: str  # "" for a bundle that just lies in a folder
    folder: Path
    bundle: str
    engine: str
    options: EngineOptions
    max_memory: int | None


@dataclass(frozen=True)
class _Sent:
    """A file of the driver's that a clip is made from. content: a list, so that it is fetched only if it is needed."""

    path: Path
    sha256: str
    content: list[Any]
    config: bytes | None = None  # what lies beside an adapter in PEFT's layout


@dataclass(frozen=True)
class _Order:
    """A clip to make: its options and files, as the driver knows them, and what it is made from."""

    options: ClipOptions
    files: ClipFiles
    recording: _Sent | None
    adapters: tuple[tuple[_Sent, float], ...]


class _Worker:
    """Runs in a process of its own, anywhere."""

    def __init__(self, model: _Model):
        self._model = model
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._pipeline: Pipeline | None = None

    def start(self) -> tuple[str, str | None]:
        """This installation's version, and the engine; None where the model is not here."""
        folder = self._find()
        return sa3_edge.__version__, self._load(folder) if folder is not None else None

    def take_bundle(self, files: Mapping[str, list[Any]]) -> str:
        """Keep a bundle in this machine's cache; the engine."""
        folder = self._cached
        if not folder.exists():
            ray = load_ray()
            folder.parent.mkdir(parents=True, exist_ok=True)
            with unfinished_folder(folder.parent) as unfinished:
                for name, (content,) in files.items():
                    path = unfinished / PurePosixPath(name)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(ray.get(content))
                if not folder.exists():
                    put_in_place(unfinished, folder)
        return self._load(folder)

    def make(self, order: _Order) -> Made | Sa3Error:
        """Make a clip; what is wrong with it is an answer, not a failure of the worker."""
        assert self._pipeline is not None
        out = io.BytesIO()
        try:
            # Read from where things are here, and recorded as they are called there.
            here = replace(
                order.options,
                init_audio=self._here(order.recording) if order.recording is not None else None,
                lora=[f"{self._here(sent)}:{strength!r}" for sent, strength in order.adapters],
            )
            files = replace(order.files, sidecar=None)  # which the driver writes
            job = replace(prepare(here, elsewhere=True), options=order.options, files=(files,))
            (clip,) = job.run(self._pipeline, sink=out)
        except Sa3Error as error:
            return error
        return Made(replace(clip, files=order.files), out.getvalue())

    def end(self) -> None:
        """Delete what was sent here for clips."""
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def _cached(self) -> Path:
        return user_cache_path("sa3-edge") / "bundles" / self._model.bundle

    def _find(self) -> Path | None:
        """Where the bundle is on this machine."""
        return of_bundle(self._model.bundle, (self._model.folder, *installed_models().values(), self._cached))

    def _load(self, folder: Path) -> str:
        model = self._model
        graphs = GraphRunner(Bundle.load(folder), model.engine, model.options, keep_loaded=True)
        self._pipeline = Pipeline(graphs, model.name, model.max_memory)
        return self._pipeline.engine

    def _here(self, file: _Sent) -> Path:
        """A file of the driver's on this machine, under its own name."""
        config = file.path.with_name(PEFT_CONFIG)
        same = file.config is None or (config.is_file() and config.read_bytes() == file.config)
        if same and file.path.is_file() and sha256_of(file.path) == file.sha256:
            return file.path
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="sa3-edge-")
        kept = Path(self._folder.name) / file.sha256 / file.path.name
        if not kept.exists():
            kept.parent.mkdir()
            kept.write_bytes(load_ray().get(file.content[0]))
            if file.config is not None:
                kept.with_name(PEFT_CONFIG).write_bytes(file.config)
        return kept


class Fleet:
    """Workers of a cluster that run the model of a pipeline, as a context: on leaving it they end."""

    def __init__(self, address: str, pipeline: Pipeline):
        """`address`: "ray" for a cluster of this machine alone (or that of RAY_ADDRESS), or "ray://HOST:PORT".

        Workers open the model as `pipeline` did. Where that was told its threads, there are as many workers as have
        room, each with so many processors; else one a node, with all of it. Raises RequestError for another address,
        EngineError if Ray is not installed.
        """
        check_address(address)
        self._pipeline, self._threads = pipeline, pipeline.graphs.options.threads
        self._address = None if address == "ray" else address
        try:
            self._ray = load_ray()
        except ImportError:
            raise EngineError("Ray is not installed", remedy=Remedy("install extra", ("ray",))) from None
        self._bundle: dict[str, list[Any]] = {}
        self._sent: dict[Path, _Sent] = {}
        self._workers: dict[Any, tuple[str, float]] = {}  # by handle: its node, and what it takes of it

    def __enter__(self) -> "Fleet":
        """Join the cluster, or begin one. Raises Sa3Error."""
        self._ours = not self._ray.is_initialized()
        if self._ours:
            quiet = {"log_to_driver": False, "logging_level": "ERROR"}
            if self._address is None:
                quiet["include_dashboard"] = False
            try:
                with warnings.catch_warnings(action="ignore"):  # of what is raised as well
                    self._ray.init(self._address, **quiet)
            except (ConnectionError, RuntimeError, ValueError) as error:
                token = "" if self._address is None else " (one that asks for a token: RAY_AUTH_MODE=token)"
                raise Sa3Error(f"no cluster answers at {self._address or 'ray'}: {_last_line(error)}{token}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ends = [worker.end.remote() for worker in self._workers]
        if ends:
            self._ray.wait(ends, num_returns=len(ends), timeout=_END_SECONDS)
        for worker in self._workers:
            self._ray.kill(worker)
        self._workers.clear()
        if self._ours:
            self._ray.shutdown()

    def make(self, orders: Sequence[tuple[ClipOptions, ClipFiles]]) -> Iterator[tuple[int, Made | Sa3Error]]:
        """Make clips, each with its files settled; (place of the order, its clip or why there is none) as they come.

        Raises Sa3Error if no worker can be started.
        """
        ray = self._ray
        waiting, lost = deque(range(len(orders))), Counter[int]()
        starting: dict[Any, Any] = {}  # answers to come, and whose
        working: dict[Any, tuple[Any, int]] = {}
        idle: list[Any] = []
        for node, processors in self._places()[: len(orders)]:
            self._begin(node, processors, starting)
        while waiting or working:
            while waiting and idle:
                worker, place = idle.pop(), waiting.popleft()
                working[worker.make.remote(self._order(*orders[place]))] = worker, place
            done, _ = ray.wait([*working, *starting], timeout=None if working else _START_SECONDS)
            if not done:
                raise Sa3Error(f"no worker of the cluster answered in {_START_SECONDS} s")
            if done[0] in starting:
                worker = starting.pop(done[0])
                if self._started(worker, done[0], starting, others=bool(working or idle)):
                    idle.append(worker)
                continue
            worker, place = working.pop(done[0])
            try:
                yield place, ray.get(done[0])
                idle.append(worker)
            except ray.exceptions.RayActorError:
                lost[place] += 1
                if lost[place] < _TRIES:
                    waiting.appendleft(place)
                else:
                    yield place, Sa3Error(f"{_TRIES} workers were lost while they made it")
                self._begin(*self._workers.pop(worker), starting)
            except ray.exceptions.RayTaskError as error:
                yield place, Sa3Error(f"a fault of a worker: {_last_line(error)}")
                idle.append(worker)

    def _places(self) -> list[tuple[str, float]]:
        """Where workers have room: a node, and how many of its processors. Raises RequestError if nowhere."""
        places = []
        for node in self._ray.nodes():
            processors = node["Resources"].get("CPU", 0.0) if node["Alive"] else 0.0
            wanted = self._threads or processors
            if processors:
                places += [(node["NodeID"], float(wanted))] * int(processors // wanted)
        if not places:
            raise RequestError(f"no node of the cluster has `threads` {self._threads or 1} processors")
        return places

    def _begin(self, node: str, processors: float, starting: dict[Any, Any]) -> None:
        ray = self._ray
        near = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=True)
        pipeline, bundle, graphs = self._pipeline, self._pipeline.bundle, self._pipeline.graphs
        model = _Model(
            pipeline.name, bundle.path.resolve(), bundle.id, graphs.engine.name, graphs.options, pipeline.max_memory
        )
        worker = ray.remote(_Worker).options(num_cpus=processors, scheduling_strategy=near).remote(model)
        self._workers[worker] = node, processors
        starting[worker.start.remote()] = worker

    def _started(self, worker: Any, answer: Any, starting: dict[Any, Any], *, others: bool) -> bool:
        """Whether a worker that answered can work. Raises Sa3Error if none can."""
        try:
            said = self._ray.get(answer)
        except self._ray.exceptions.RayError as error:
            del self._workers[worker]
            if others or starting:
                return False
            raise Sa3Error(f"no worker of the cluster could be started: {_last_line(error)}") from error
        if isinstance(said, tuple):
            version, engine = said
            if version != sa3_edge.__version__:
                raise RequestError(f"a node of the cluster has sa3-edge {version}, this is {sa3_edge.__version__}")
            if engine is None:
                starting[worker.take_bundle.remote(self._bundle_files())] = worker
                return False
            said = engine
        if said != self._pipeline.engine:
            raise RequestError(f"a node of the cluster would compute with {said}, this is {self._pipeline.engine}")
        return True

    def _bundle_files(self) -> dict[str, list[Any]]:
        """The bundle in the cluster's memory, put there once."""
        if not self._bundle:
            folder = self._pipeline.bundle.path
            names = [FILE_NAME, *(file.path for file in self._pipeline.bundle.files())]
            self._bundle = {name: [self._ray.put((folder / name).read_bytes())] for name in dict.fromkeys(names)}
        return self._bundle

    def _order(self, options: ClipOptions, files: ClipFiles) -> _Order:
        recording = self._send(options.init_audio) if options.init_audio is not None else None
        adapters = []
        for adapter in map(AdapterFile.parse, options.lora):
            config = adapter.path.with_name(PEFT_CONFIG)
            sent = replace(self._send(adapter.path), config=config.read_bytes() if config.is_file() else None)
            adapters.append((sent, adapter.strength))
        return _Order(options, files, recording, tuple(adapters))

    def _send(self, path: Path) -> _Sent:
        """A file that clips are made from, in the cluster's memory, put there once."""
        path = path.resolve()
        if path not in self._sent:
            data = path.read_bytes()
            self._sent[path] = _Sent(path, hashlib.sha256(data).hexdigest(), [self._ray.put(data)])
        return self._sent[path]


def _last_line(error: object) -> str:
    """What happened; the lines before it are where."""
    return str(error).strip().rpartition("\n")[2] or type(error).__name__
