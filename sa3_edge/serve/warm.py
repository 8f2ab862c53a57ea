"""The one loaded model: kept between clips, swapped when another is asked for, freed when nobody asks."""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from sa3_edge.bundle import Bundle
from sa3_edge.engines import EngineOptions, Tensors
from sa3_edge.engines.runner import Adapters, GraphRunner
from sa3_edge.errors import RequestError
from sa3_edge.generation.pipeline import Pipeline
from sa3_edge.manifest import FILE_NAME, GraphName
from sa3_edge.models.catalog import installed_models
from sa3_edge.serve.settings import Settings

_TEXTS = 32  # encoded prompts that are kept; each is a few hundred kilobytes at most


class _RemembersTexts(GraphRunner):
    """Runs graphs; of the last prompts it knows the encoding."""

    def __init__(self, bundle: Bundle, engine: str, options: EngineOptions) -> None:
        super().__init__(bundle, engine, options, keep_loaded=True)
        self._texts: OrderedDict[bytes, dict[str, NDArray[Any]]] = OrderedDict()

    def run(self, graph: GraphName, inputs: Tensors, adapters: Adapters = ()) -> dict[str, NDArray[Any]]:
        if graph != "text_encoder":
            return super().run(graph, inputs, adapters)
        key = b"".join(name.encode() + array.tobytes() for name, array in sorted(inputs.items()))
        if key not in self._texts:
            self._texts[key] = super().run(graph, inputs)
        self._texts.move_to_end(key)
        while len(self._texts) > _TEXTS:
            self._texts.popitem(last=False)
        return self._texts[key]


class _Seen(NamedTuple):
    """A bundle that was verified, and which version of its manifest."""

    version: tuple[object, ...] | None
    bundle: Bundle


def _version(path: Path) -> tuple[object, ...] | None:
    """What changes whenever a bundle's manifest is written; nothing if there is none."""
    try:
        now = (path / FILE_NAME).stat()
    except OSError:
        return None
    return path, now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns


class WarmModel:
    """Gives the pipeline of a model by name; another name frees the one before."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._bundles: dict[str, _Seen] = {}
        self._pipeline: Pipeline | None = None
        self._name: str | None = None

    @property
    def loaded(self) -> str | None:
        """The name of the model that holds memory."""
        return self._name

    def bundle(self, name: str) -> Bundle:
        """The installed bundle of this name, verified at first sight and whenever its manifest has changed.

        A name, never a path: a client has no business in folders. Raises RequestError.
        """
        installed = installed_models()
        if name == self._settings.model and name not in installed:
            from sa3_edge.models.catalog import resolve_model

            path = resolve_model(name)  # the server was started with a folder
        elif name in installed:
            path = installed[name]
        else:
            raise RequestError(f"no model is called {name!r}; installed: {', '.join(installed)}")
        with self._lock:
            version = _version(path)
            known = self._bundles.get(name)
            if known is not None and version is not None and version == known.version:
                return known.bundle
            bundle = Bundle.load(path)
            if known is not None and known.bundle.id == bundle.id:
                bundle = known.bundle  # written again as it was: what is loaded stays
            self._bundles[name] = _Seen(version, bundle)
            return bundle

    def pipeline(self, name: str) -> Pipeline:
        """The loaded pipeline. Raises RequestError, BundleError or EngineError."""
        bundle = self.bundle(name)
        if self._pipeline is None or self._pipeline.bundle is not bundle:
            self.free()
            chosen = self._settings
            options = EngineOptions(chosen.threads, chosen.compute_units)
            runner = _RemembersTexts(bundle, chosen.engine, options)
            # A record names an installed model, and never a folder of this machine.
            self._pipeline = Pipeline(runner, name if name in installed_models() else "")
            self._name = name
        return self._pipeline

    def free(self) -> None:
        """Give the memory back; the next clip loads anew."""
        if self._pipeline is not None:
            self._pipeline.free()
        self._pipeline = self._name = None
