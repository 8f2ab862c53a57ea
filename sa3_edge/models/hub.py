"""What the Hugging Face hub publishes, and its refusals in plain words.

`huggingface_hub` knows token, proxy and local cache, and speaks to the server.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from sa3_edge.engines.libraries import send_nothing
from sa3_edge.errors import DownloadError, Remedy

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

send_nothing()  # huggingface_hub reads its switch when it is first imported, which is below
_CHUNK = 1 << 20
# A hub states these; nothing of another form becomes part of a path or is compared with.
_COMMIT, _SHA256 = re.compile("[0-9a-f]{40}"), re.compile("[0-9a-f]{64}")
_LARGEST_FILE = 1 << 40
# Statuses that may pass: the server is busy, or something between us and it.
PASSING = frozenset({408, 429, 500, 502, 503, 504})


class Hash(Protocol):
    """A hashlib object."""

    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


def is_commit(revision: object) -> bool:
    """Whether a revision has the form of git's commits, and may become a folder's name."""
    return isinstance(revision, str) and _COMMIT.fullmatch(revision) is not None


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository. Large ones are known by their SHA-256, the others by git's SHA-1 of a blob."""

    path: str
    bytes: int
    sha256: str | None
    git_sha1: str

    @property
    def hash(self) -> str:
        """The hash that the hub states."""
        return self.sha256 or self.git_sha1

    def new_hash(self) -> Hash:
        """A hash of that kind, of nothing yet."""
        if self.sha256:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self.bytes, usedforsecurity=False)

    def is_at(self, path: Path) -> bool:
        """Whether `path` is this file, bit for bit."""
        if not path.is_file() or path.stat().st_size != self.bytes:
            return False
        digest = self.new_hash()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest() == self.hash


@dataclass(frozen=True)
class Snapshot:
    """Files of a repository at one commit."""

    repository: str
    revision: str
    files: tuple[RemoteFile, ...]


class Hub:
    """The hub at `HF_ENDPOINT`, huggingface.co by default. Its refusals are DownloadErrors that say what to do."""

    def __init__(self) -> None:
        # Asked for now: huggingface_hub reads the variable once, when something first imports it.
        self.endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")

    def page(self, repository: str) -> str:
        """The page that people visit."""
        return f"{self.endpoint}/{repository}"

    def snapshot(self, repository: str, paths: tuple[str, ...], revision: str | None = None) -> Snapshot:
        """A revision, the newest unless one is named, and what the hub states of its files `paths`."""
        from huggingface_hub import HfApi, constants, get_token

        with self.refusals_explained(repository):
            try:
                info = HfApi(endpoint=self.endpoint).model_info(
                    repository,
                    revision=revision,
                    files_metadata=True,
                    timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
                )
            except (ValueError, TypeError, KeyError) as error:
                raise DownloadError(
                    f"{self.endpoint} does not answer as a Hugging Face hub does ({type(error).__name__})\n"
                    f"Does a login page or a proxy stand between? See {self.page(repository)}"
                ) from error
            except RecursionError as error:
                raise DownloadError(f"{self.endpoint} does not answer as a Hugging Face hub does") from error
        listed = {sibling.rfilename: sibling for sibling in info.siblings or []}
        files = [_remote_file(path, listed[path]) for path in paths if path in listed]
        known = [file for file in files if file]
        if len(known) < len(paths) and info.gated:  # who has no access is not told everything
            raise DownloadError("\n".join(self._refusal(repository, 403 if get_token() else 401)))
        if missing := [path for path in paths if path not in listed]:
            raise DownloadError(
                f"{repository} has no {', '.join(missing)}\n"
                f"Its layout is not the one that this sa3-edge knows; see {self.page(repository)}"
            )
        found = info.sha
        if len(known) < len(paths) or found is None or not is_commit(found):
            raise DownloadError(
                f"{self.endpoint} does not state revision, sizes and hashes of the files in {repository}\n"
                "Nothing is fetched that cannot be checked; does HF_ENDPOINT name a hub?"
            )
        return Snapshot(repository, found, tuple(known))

    def cached(self, snapshot: Snapshot) -> Path | None:
        """The snapshot's folder in Hugging Face's own cache, if all its files are there and right."""
        from huggingface_hub import try_to_load_from_cache

        paths = [
            try_to_load_from_cache(snapshot.repository, file.path, revision=snapshot.revision)
            for file in snapshot.files
        ]
        for file, path in zip(snapshot.files, paths, strict=True):
            if not isinstance(path, str) or not file.is_at(Path(path)):
                return None
        root, first = Path(str(paths[0])), snapshot.files[0].path
        return root.parents[len(Path(first).parts) - 1]

    @contextmanager
    def stream(self, snapshot: Snapshot, file: RemoteFile, start: int) -> Iterator[tuple[bool, Iterator[bytes]]]:
        """A file's bytes from `start` on: whether the server begins there (or at 0 all the same), and the bytes."""
        from huggingface_hub import constants, get_session, hf_raise_for_status
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        url = f"{self.endpoint}/{snapshot.repository}/resolve/{snapshot.revision}/{quote(file.path)}"
        # A range of compressed bytes would be of no use.
        headers = {**build_hf_headers(library_name="sa3-edge"), "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        # The session sends the token to the hub only, not to the storage that the hub redirects to.
        with get_session().stream(
            "GET", url, headers=headers, follow_redirects=True, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
        ) as response:
            hf_raise_for_status(response)
            yield response.status_code == 206, response.iter_bytes()

    @contextmanager
    def refusals_explained(self, repository: str) -> Iterator[None]:
        """Raise what goes wrong inside as DownloadError: what happened, and on a second line what to do."""
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        try:
            yield
        except OfflineModeIsEnabled as error:
            raise DownloadError(
                f"HF_HUB_OFFLINE is set, so {repository} is not downloaded\nUnset it to download",
                remedy=Remedy("use local checkpoint"),
            ) from error
        except HfHubHTTPError as error:
            status = error.response.status_code
            raise DownloadError(
                "\n".join(self._refusal(repository, status)),
                remedy=Remedy("use local checkpoint") if status == 404 else None,
            ) from error
        except http_error() as error:
            raise DownloadError(
                f"{self.endpoint} cannot be reached, or stopped answering: {error or type(error).__name__}\n"
                "Check the connection and pull again: what was downloaded is kept",
                remedy=Remedy("use local checkpoint"),
            ) from error

    def _refusal(self, repository: str, status: int) -> tuple[str, str]:
        from huggingface_hub import get_token

        page = self.page(repository)
        if status == 401 and get_token():
            return (
                f"the hub does not accept your Hugging Face token (401 for {repository})",
                f"Make a new one at {self.endpoint}/settings/tokens, then: hf auth login (or set HF_TOKEN)",
            )
        if status == 401:
            return (
                f"{repository} is for people who accepted its licence, and you are not logged in (401)",
                f"Accept the licence at {page}, then: hf auth login (or set HF_TOKEN)",
            )
        if status == 403:
            return (
                f"your Hugging Face account has no access to {repository} (403)",
                f"Accept the licence at {page}; a fine-grained token must also allow reading gated repositories",
            )
        if status == 404:
            return (
                f"{self.endpoint} has no repository {repository}, or not all of its files (404)",
                f"See {page}",
            )
        return (
            f"the hub answers {status} for {repository}",
            f"Try again later: what was downloaded is kept. See {page}",
        )


def _remote_file(path: str, sibling: "RepoSibling") -> RemoteFile | None:
    """A file as the hub states it; None without its size or its hash, each in its exact form."""
    size = sibling.lfs.size if sibling.lfs else sibling.size
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _LARGEST_FILE:
        return None
    if sibling.lfs:
        sha256 = sibling.lfs.sha256
        return RemoteFile(path, size, sha256, "") if isinstance(sha256, str) and _SHA256.fullmatch(sha256) else None
    blob = sibling.blob_id
    return RemoteFile(path, size, None, blob) if isinstance(blob, str) and is_commit(blob) else None


def http_error() -> type[Exception]:
    """The base class of all connection errors.

    huggingface_hub speaks through httpx up to 1.x and through httpx2 since; its own errors derive from that package's.
    """
    from huggingface_hub.errors import HfHubHTTPError

    return next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
