"""Where the small models' weights are published without a login, pinned by revision and hash.

`stabilityai/stable-audio-3-optimized` has them in NumPy's files, transformer and text encoder rounded to float16. It
has neither config nor tokenizer: those lie with the base model, which needs no login either. The base model's config
says `rectified_flow` and another length of training clips; all else is the same.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from sa3_edge.errors import DownloadError
from sa3_edge.files import read_small
from sa3_edge.models.catalog import PUBLISHED
from sa3_edge.models.download import Progress, download, missing_bytes
from sa3_edge.models.hub import Hub, RemoteFile, Snapshot

REPOSITORY, REVISION = "stabilityai/stable-audio-3-optimized", "da6edc54ddba10bfd79a077102ded687f80e882b"
BASE, BASE_REVISION = PUBLISHED["small-music-base"], "eab5ceee5ad9c1ed38800aff30a8e49d1161c539"
FOLDER = "MLX"  # of the repository; the checkpoint's folder when all is there


@dataclass(frozen=True)
class Pinned:
    """A file as it is known: its path, bytes and SHA-256."""

    path: str
    bytes: int
    sha256: str

    @property
    def remote(self) -> RemoteFile:
        """As a download takes it."""
        return RemoteFile(self.path, self.bytes, self.sha256, "")


_SHARED = (
    Pinned(
        f"{FOLDER}/same_s_encoder_f32.npz",
        214_946_620,
        "a48f80d81c30d74c45e2a3047082c4891f715e24c44645adb9c1f4f07afdaf0c",
    ),
    Pinned(
        f"{FOLDER}/same_s_decoder_f32.npz",
        218_090_820,
        "909928a8e6937c1ebe6ac4b729f0462bd3773704a11ea18278e42671dc69bfe4",
    ),
    Pinned(
        f"{FOLDER}/t5gemma_f16.npz", 567_443_068, "8deb20489f36d9aec539f26c9c67321f99bc5fe300d470435ed6e76be4f16bbd"
    ),
)
WEIGHTS = {
    "small-music": (
        Pinned(
            f"{FOLDER}/dit_sm-music_f16.npz",
            919_193_814,
            "8ed3f38e2597f361ee675051f1265d9aa2ae2fffce1c61acd2e9fe31e1db1cbc",
        ),
        *_SHARED,
    ),
    "small-sfx": (
        Pinned(
            f"{FOLDER}/dit_sm-sfx_f16.npz",
            919_193_814,
            "7e702d2640699a57fe436ca975fda16832040ba568c1e092c2ae826987558118",
        ),
        *_SHARED,
    ),
}
CONFIG = "model_config.json"  # its hash at that revision is the hub's to state
TEXT = (
    Pinned("t5gemma-b-b-ul2/config.json", 2_540, "575334409716886ac2952f5a275ed92868deef8a0ea560258d9970a431c6fb3a"),
    Pinned(
        "t5gemma-b-b-ul2/tokenizer.json",
        34_362_429,
        "7794135caa3ea73918949c902a781cc61dab674a4b59c17d85931c77c1114cbd",
    ),
)
# What of the base model's config is another in the distilled one's: 120 s, in samples that are whole latent frames.
_OBJECTIVE, _SAMPLE_SIZE = "rf_denoiser", 5_292_032


@dataclass(frozen=True)
class Sources:
    """What a pull fetches: weights, and config with tokenizer."""

    weights: Snapshot
    texts: Snapshot

    @property
    def bytes(self) -> int:
        """All files together."""
        return sum(file.bytes for snapshot in (self.weights, self.texts) for file in snapshot.files)

    def missing(self, folder: Path) -> int:
        """Bytes that are not in `folder` yet."""
        return missing_bytes(self.weights, folder) + missing_bytes(self.texts, folder / FOLDER)

    def fetch(self, hub: Hub, folder: Path, progress: Progress) -> Path:
        """Make `folder` hold them. Returns the checkpoint's folder. Raises DownloadError."""
        small = sum(file.bytes for file in self.texts.files)
        # What is small first: a repository that is closed or gone says so before gigabytes came.
        download(hub, self.texts, folder / FOLDER, lambda done, total: progress(done, self.bytes))
        download(hub, self.weights, folder, lambda done, total: progress(small + done, self.bytes))
        _distil(folder / FOLDER / CONFIG)
        return folder / FOLDER


def sources(hub: Hub, name: str) -> Sources:
    """What is to be fetched for the model `name`. Raises DownloadError if the hub states other files."""
    weights = Snapshot(REPOSITORY, REVISION, tuple(each.remote for each in WEIGHTS[name]))
    config = hub.snapshot(BASE, (CONFIG,), BASE_REVISION)
    if config.revision != BASE_REVISION:
        raise DownloadError(
            f"{hub.endpoint} answers with revision {config.revision} of {BASE}, not {BASE_REVISION}\n"
            "Nothing is fetched that cannot be checked; does HF_ENDPOINT name a hub?"
        )
    return Sources(weights, Snapshot(BASE, BASE_REVISION, (*config.files, *(each.remote for each in TEXT))))


def _distil(path: Path) -> None:
    """Turn the base model's config into the distilled one's. What is not as expected is left, for the exporter."""
    try:
        config = json.loads(read_small(path, 16 << 20))
        config["model"]["diffusion"]["diffusion_objective"] = _OBJECTIVE
        config["sample_size"] = _SAMPLE_SIZE
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    path.write_text(json.dumps(config, indent=1), encoding="utf-8")
