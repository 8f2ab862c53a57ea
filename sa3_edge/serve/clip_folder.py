"""The clips that were made: files in a folder that people can see, each with its whole request inside.

Beside them lies history.jsonl, a line a clip: the id that the API gave it. A clip without a line, of an older server
or made by `sa3-edge generate -o FOLDER/...`, is found all the same; its id is made from its name.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sa3_edge.audio.formats import FORMATS, stored_bits
from sa3_edge.clips.files import slug
from sa3_edge.clips.record import Record, read_record
from sa3_edge.errors import RequestError, Sa3Error

HISTORY = "history.jsonl"


@dataclass(frozen=True)
class Clip:
    """A finished clip as it lies in the folder."""

    id: str
    path: Path
    created: float
    bytes: int
    seconds: float
    sample_rate: int
    channels: int
    samples: int
    bits: str | None
    record: Record
    notes: tuple[str, ...] = ()
    took: float | None = None

    @property
    def format(self) -> str:
        """A key of FORMATS."""
        return self.path.suffix.removeprefix(".")


class ClipFolder:
    """Finds, names and removes clips. No name comes from a client: files are looked for by id."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[tuple[int, int], Clip | None]] = {}  # by name: what the file was, and the clip
        self._lines: dict[str, dict[str, object]] = {}
        self._read_until = 0
        self._reserved: set[str] = set()

    def prepare(self) -> None:
        """Make the folder. Raises RequestError if clips cannot be put there."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not os.access(self.path, os.W_OK):
                raise RequestError(f"the folder {self.path} is not writable")
        except OSError as error:
            raise RequestError(f"the folder {self.path} cannot be made: {error.strerror or error}") from None

    def reserve(self, prompt: str, seed: int, suffix: str) -> Path:
        """A readable name that no file has and that nobody else is given until `release`."""
        stem = f"{slug(prompt)}-{seed}"
        with self._lock:
            count = 1
            while True:
                name = f"{stem}.{suffix}" if count == 1 else f"{stem}-{count}.{suffix}"
                path = self.path / name
                if name not in self._reserved and not path.exists():
                    self._reserved.add(name)
                    return path
                count += 1

    def release(self, path: Path) -> None:
        """The file is written, or will not be."""
        with self._lock:
            self._reserved.discard(path.name)

    def remember(self, clip_id: str, path: Path, notes: list[str], took: float) -> Clip:
        """Give a written clip its id, for good. Raises Sa3Error if that cannot be written."""
        line = json.dumps({"id": clip_id, "file": path.name, "notes": notes, "took": round(took, 3)}) + "\n"
        try:
            with self._lock, (self.path / HISTORY).open("ab+") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read() != b"\n":  # a crash cut the last line
                        file.write(b"\n")
                file.write(line.encode())
        except OSError as error:
            raise Sa3Error(f"{self.path / HISTORY} cannot be written: {error.strerror or error}") from error
        clip = next((clip for clip in self.clips() if clip.path.name == path.name), None)
        if clip is None:
            raise Sa3Error(f"{path} was written and is not there any more")
        return clip

    def clips(self) -> list[Clip]:
        """Every clip, the newest first."""
        with self._lock:
            self._read_history()
            found: list[Clip] = []
            names = set()
            for entry in self._files():
                names.add(entry.name)
                clip = self._clip(entry)
                if clip is not None:
                    found.append(clip)
            for gone in self._seen.keys() - names:
                del self._seen[gone]
        return sorted(found, key=lambda clip: (clip.created, clip.path.name), reverse=True)

    def find(self, clip_id: str) -> Clip | None:
        """The clip of this id."""
        return next((clip for clip in self.clips() if clip.id == clip_id), None)

    def remove(self, clip: Clip) -> None:
        """Delete a clip's file. Raises Sa3Error."""
        try:
            clip.path.unlink(missing_ok=True)
        except OSError as error:
            raise Sa3Error(f"{clip.path.name} cannot be removed: {error.strerror or error}") from error

    def _files(self) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    visible = not entry.name.startswith(".")
                    if visible and Path(entry.name).suffix.removeprefix(".") in FORMATS and entry.is_file():
                        yield entry
        except OSError:
            return

    def _clip(self, entry: os.DirEntry[str]) -> Clip | None:
        import soundfile

        try:
            stat = entry.stat()
        except OSError:
            return None
        line = self._lines.get(entry.name, {})
        clip_id = str(line.get("id") or f"gen-{hashlib.sha256(entry.name.encode()).hexdigest()[:32]}")
        state = (stat.st_mtime_ns, stat.st_size)
        known = self._seen.get(entry.name)
        if known is not None and known[0] == state and (known[1] is None or known[1].id == clip_id):
            return known[1]
        path = Path(entry.path)
        clip: Clip | None = None
        try:
            record, info = read_record(path), soundfile.info(path)
            notes, took = line.get("notes"), line.get("took")
            clip = Clip(
                id=clip_id,
                path=path,
                created=stat.st_mtime,
                bytes=stat.st_size,
                seconds=info.frames / info.samplerate,
                sample_rate=info.samplerate,
                channels=info.channels,
                samples=info.frames,
                bits=stored_bits(path),
                record=record,
                notes=tuple(map(str, notes)) if isinstance(notes, list) else (),
                took=float(took) if isinstance(took, int | float) else None,
            )
        except (Sa3Error, soundfile.SoundFileError, OSError):
            pass  # another sound, or one that is being copied here: it is asked again when it changes
        self._seen[entry.name] = (state, clip)
        return clip

    def _read_history(self) -> None:
        """Read what was added to the history since the last look. A line that a crash cut counts nothing."""
        path = self.path / HISTORY
        try:
            size = path.stat().st_size
            if size == self._read_until:
                return
            if size < self._read_until:
                self._read_until, self._lines = 0, {}
            with path.open("rb") as file:
                file.seek(self._read_until)
                text = file.read()
        except OSError:
            return
        whole = text.rfind(b"\n") + 1
        self._read_until += whole
        for raw in text[:whole].splitlines():
            try:
                line = json.loads(raw)
            except (ValueError, RecursionError):
                continue
            match line:
                case {"id": str(), "file": str(name)}:
                    self._lines[name] = line
