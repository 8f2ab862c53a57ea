"""A bundle on disk, verified: the right schema, every file inside its folder, every hash as stated."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from platformdirs import user_cache_path

from sa3_edge.errors import BundleError, Sa3Error
from sa3_edge.files import read_small, sha256_of, whole_file
from sa3_edge.manifest import FILE_NAME, Artifact, File, GraphName, Manifest, read_manifest

_MOST_REMEMBERED = 2000  # files; a model has 11, with Core ML packages some 30


def describe_file(folder: Path, path: Path) -> File:
    """The manifest's entry for a file in a bundle's folder."""
    return File(path=path.relative_to(folder).as_posix(), sha256=sha256_of(path), bytes=path.stat().st_size)


class _Verified:
    """Files whose hash was seen to be right, by path, size, times and inode: a start need not read gigabytes again.

    The time of the last change (ctime) is among them: no program can put it back, as it can the time of writing.
    """

    def __init__(self, path: Path):
        self._path = path
        self._seen: dict[str, list[int | str]] = {}
        with contextlib.suppress(OSError, ValueError, RecursionError):
            loaded = json.loads(read_small(path, 16 << 20))
            self._seen = loaded if isinstance(loaded, dict) else {}

    @staticmethod
    def _fingerprint(path: Path, sha256: str) -> list[int | str]:
        stat = path.stat()
        return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, sha256]

    def has(self, path: Path, sha256: str) -> bool:
        return self._seen.get(str(path)) == self._fingerprint(path, sha256)

    def add(self, path: Path, sha256: str) -> None:
        self._seen.pop(str(path), None)  # the newest last
        self._seen[str(path)] = self._fingerprint(path, sha256)

    def save(self) -> None:
        # A cache that cannot be written only costs the next start a second look.
        with contextlib.suppress(OSError, Sa3Error):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            kept = dict(list(self._seen.items())[-_MOST_REMEMBERED:])
            with whole_file(self._path) as temporary:
                temporary.write_text(json.dumps(kept), encoding="utf-8")


class Bundle:
    """A verified bundle.

    `path` is its folder, `manifest` its typed manifest, `id` the SHA-256 of `manifest.json`: with the hashes in it,
    that names all the bundle's bytes.
    """

    def __init__(self, path: Path, manifest: Manifest, bundle_id: str):
        self.path, self.manifest, self.id = path, manifest, bundle_id

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, trust_cache: bool = True) -> "Bundle":
        """Open and verify the bundle in folder `path`.

        Hashes are computed once for each version of a file and remembered; `trust_cache=False` computes all anew.
        Raises BundleError if anything is missing, altered, outside the folder or of another schema.
        """
        folder = Path(path)
        manifest_path = folder / FILE_NAME
        try:
            manifest, data = read_manifest(manifest_path)
        except (FileNotFoundError, NotADirectoryError):
            raise BundleError(f"{folder} is not a bundle: it has no {FILE_NAME}") from None
        except OSError as error:
            raise BundleError(f"{manifest_path} cannot be read: {error.strerror}") from None
        except BundleError:
            raise
        except ValueError:  # a NUL in the path
            raise BundleError(f"{folder} is not a bundle: its path cannot be") from None
        bundle = cls(folder, manifest, hashlib.sha256(data).hexdigest())
        verified = _Verified(user_cache_path("sa3-edge") / "verified.json")
        known_all = True
        for file in bundle.files():
            known_all &= bundle._verify(file, verified, trust_cache)
        if not known_all:
            verified.save()
        return bundle

    def files(self) -> Iterator[File]:
        """Every file that the manifest names."""
        yield self.manifest.text.tokenizer
        for graph in self.manifest.graphs.values():
            for artifact in graph.artifacts.values():
                yield from artifact.files

    def resolve(self, file: File) -> Path:
        """Where a file of the bundle lies. Raises BundleError if that is outside the bundle's folder."""
        relative = PurePosixPath(file.path)
        try:
            absolute = (self.path / relative).resolve()
            inside = absolute.is_relative_to(self.path.resolve())
        except (OSError, RuntimeError, ValueError):  # too long, a loop of links, a NUL
            raise BundleError(f"{self.path}: the manifest names a file that cannot be, {file.path[:100]!r}") from None
        # A backslash and a drive's colon separate folders on Windows only.
        if relative.is_absolute() or not inside or ".." in relative.parts or set(file.path) & set("\\:"):
            raise BundleError(f"{self.path}: the manifest names a file outside the bundle, {file.path!r}")
        return absolute

    def check_folder(self, folder: Path) -> None:
        """Raise BundleError unless the manifest names every file in one of the bundle's folders, and all are its own.

        What reads a folder as a whole, as Core ML does a package, reads what else lies in it too.
        """
        named = {self.resolve(file) for file in self.files()}
        for path in folder.rglob("*"):
            if path.is_symlink() or (not path.is_dir() and path.resolve() not in named):
                raise BundleError(f"{path} is not among the files that the manifest names; copy the bundle again")

    def artifact(self, graph: GraphName, format: str) -> Artifact:
        """A graph's files in one format. Raises BundleError if the bundle lacks them."""
        if graph not in self.manifest.graphs:
            raise BundleError(f"{self.path} has no {graph} graph")
        artifacts = self.manifest.graphs[graph].artifacts
        if format not in artifacts:
            raise BundleError(f"{self.path} has no {format} files for {graph}, only {', '.join(sorted(artifacts))}")
        return artifacts[format]

    def _verify(self, file: File, verified: _Verified, trust_cache: bool) -> bool:
        """Check one file; says whether it was known to be right."""
        path = self.resolve(file)
        try:
            size = path.stat().st_size
            if size != file.bytes:
                raise BundleError(f"{path} has {size} bytes, the manifest says {file.bytes}; copy the bundle again")
            if trust_cache and verified.has(path, file.sha256):
                return True
            if sha256_of(path) != file.sha256:
                raise BundleError(f"{path} is not the file that the manifest names (SHA-256 differs); copy it again")
        except FileNotFoundError:
            raise BundleError(f"{path} is missing from the bundle; copy it again") from None
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror or error}") from None
        verified.add(path, file.sha256)
        return False
