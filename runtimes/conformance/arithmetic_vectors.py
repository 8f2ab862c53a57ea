"""What a host computes beside the graphs: noise, schedule, lengths, tiles, masks, guidance, samplers, the limiter."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sa3_edge.audio.limiter import CEILING, limit
from sa3_edge.errors import RequestError
from sa3_edge.generation.editing import CROSSFADE_SECONDS, Plan, keep_mask, seconds_of, splice
from sa3_edge.generation.guidance import guided
from sa3_edge.generation.lengths import Lengths, plan_lengths
from sa3_edge.generation.noise import NoiseStream
from sa3_edge.generation.sampling import LatentNoise, Latents, Velocity, euler, ping_pong, schedule
from sa3_edge.generation.tiling import decode_tiles, plan_tiles
from sa3_edge.manifest import Manifest, Tiles
from vector_format import Made, bits, digest, json_file, npy_file, signal

_SEEDS = (0, 1, 42, 2**31, 2**32 - 1)
_LINES = ((-6.2, 2.0), (-4.5, 3.25))  # of log-SNR: a distilled model's, and another
_RATE, _FRAME = 44100, 4096


def arithmetic_vectors(manifest: Manifest) -> Made:
    """`manifest` gives the geometry of lengths."""
    splice_case, splice_expected = _splice()
    cases = {
        "prng": {"cases": _integers()},
        "noise": {"streams": _streams(), "latents": _latent_noise()},
        "schedule": {"cases": _schedules()},
        "variation": {"cases": _variations()},
        "lengths": {"audio": _geometry(manifest), **_lengths(manifest)},
        "tiles": {"cases": _tiles(), "decoding": _decoding()},
        "mask": {"samples_per_frame": _FRAME, "cases": _masks()},
        "splice": splice_case,
        "guidance": _guidance(),
        "sampler": _samplers(),
        "limiter": {"ceiling": CEILING, "cases": _limited()},
    }
    return {f"{name}.json": json_file(content) for name, content in cases.items()} | {"splice.npy": splice_expected}


def _integers() -> list[dict[str, Any]]:
    """Past two twists of the generator, whose state is 624 integers."""
    drawn = {seed: np.random.RandomState(seed).randint(0, 2**32, size=1300, dtype=np.uint32) for seed in _SEEDS}
    return [
        {"seed": seed, "integers": digest(integers), "at_623": integers[623:626].tolist()}
        for seed, integers in drawn.items()
    ]


def _streams() -> list[dict[str, Any]]:
    """Draws of one stream after another: whole blocks of 16, and counts whose last block is drawn anew."""
    made = []
    plans = (
        (42, [16]),
        (42, [160, 21, 17, 31]),
        (0, [256 * 1292] * 3),
        (2**31, [16 * 75, 17]),
        (2**32 - 1, [16 * 80] * 9),
    )
    for seed, counts in plans:
        stream = NoiseStream(seed)
        made.append({"seed": seed, "draws": [digest(stream.normal((count,))) for count in counts]})
    return made


def _latent_noise() -> list[dict[str, Any]]:
    """Drawn for the allocated frames, of which the first valid ones are used."""
    made = []
    for seed, channels, allocated, valid in ((7, 16, 80, 75), (42, 16, 2, 1), (3, 96, 120, 118)):
        noise = LatentNoise(seed, channels, allocated, valid)
        draws = [digest(noise()) for _ in range(3)]
        made.append({"seed": seed, "channels": channels, "allocated": allocated, "valid": valid, "draws": draws})
    return made


def _schedules() -> list[dict[str, Any]]:
    return [
        {"steps": steps, "logsnr_start": start, "logsnr_end": end, "t": bits(schedule(steps, start, end))}
        for steps in (1, 2, 3, 4, 8, 50, 200)
        for start, end in _LINES
    ]


def _variations() -> list[dict[str, Any]]:
    return [
        {
            "steps": steps,
            "logsnr_start": start,
            "logsnr_end": end,
            "noise_level": level,
            "monotonic": bits(schedule(steps, start, end) * np.float32(level)),
            "reference": bits(schedule(steps, start, end, level)),
        }
        for steps in (1, 4, 8)
        for level in (0.01, 0.3, 0.6, 0.7, 1.0)
        for start, end in _LINES
    ]


def _geometry(manifest: Manifest) -> dict[str, int]:
    audio = manifest.audio
    names = ("sample_rate", "samples_per_frame", "max_frames")
    return {name: getattr(audio, name) for name in names}


def _lengths(manifest: Manifest) -> dict[str, Any]:
    """Edges of every rounding: just at, below and above whole samples, whole frames and the longest clip."""
    longest = manifest.max_seconds
    seconds = {0.1, 0.29, 0.58, 1.0, 1.1, 1.3, 5.0, 8.1, 30.0, 59.999, 92.879818594104, longest - 6, longest - 5.9}
    for frames in (1, 2, 3, 64, 65, 100, 500):
        for samples in (frames * _FRAME - 1, frames * _FRAME, frames * _FRAME + 1):
            seconds.add(seconds_of(samples, _RATE))
    seconds |= {math.nextafter(second, 0) for second in (1.0, 5.0, 30.0)} | {float(longest)}
    possible = sorted(second for second in seconds if 0.1 <= second <= longest)
    cases = []
    for second in possible:
        for headroom in (0.0, 0.05, 0.0928, 0.0929, 6.0, 500.0):
            planned = plan_lengths(second, headroom, manifest)
            numbers = [planned.samples, planned.valid, planned.allocated]
            cases.append({"seconds": second, "headroom": headroom, "samples_valid_allocated": numbers})
    counts = (1, 4409, 4410, 12789, 44099, 44100, 44101, 48510, 1_300_001, 2_645_955, 5_291_999)
    exact = [{"samples": samples, "seconds": seconds_of(samples, _RATE)} for samples in counts]
    refused = []
    for second, headroom in ((0.05, 6.0), (0.0999999, 6.0), (-1.0, 6.0), (longest + 0.001, 6.0), (5.0, -0.5)):
        refused.append({"seconds": second, "headroom": headroom, "message": _refusal(second, headroom, manifest)})
    return {"cases": cases, "seconds_of": exact, "refused": refused}


def _refusal(seconds: float, headroom: float, manifest: Manifest) -> str:
    try:
        plan_lengths(seconds, headroom, manifest)
    except RequestError as error:
        return str(error)
    raise AssertionError(f"{seconds} s with {headroom} s of headroom should be refused")


def _tiles() -> list[dict[str, Any]]:
    cases = []
    for tiles in (Tiles(frames=64, overlap=2, multiple=2), Tiles(frames=64, overlap=4, multiple=2)):
        for wanted, available in ((1, 2), (2, 2), (5, 6), (63, 64), (64, 70), (65, 70), (133, 200), (1292, 1292)):
            for full in (False, True):
                planned = plan_tiles(wanted, available, tiles, full=full)
                cases.append(
                    {
                        "wanted": wanted,
                        "available": available,
                        "frames": tiles.frames,
                        "overlap": tiles.overlap,
                        "multiple": tiles.multiple,
                        "full": full,
                        "tiles": [[tile.start, tile.stop, tile.keep_start, tile.keep_stop] for tile in planned],
                    }
                )
    return cases


def _decoding() -> list[dict[str, Any]]:
    """Whole decodings by a decoder that repeats each frame's value: what is filled up, cut off and joined."""
    cases = []
    tiles = Tiles(frames=4, overlap=2, multiple=4)
    for valid, wanted in ((5, 3), (6, 6), (9, 8), (13, 13)):
        latents = signal(11, (1, 4, valid))
        seen: list[list[str]] = []

        def decode(tile: NDArray[np.float32], seen: list[list[str]] = seen) -> NDArray[np.float32]:
            seen.append(bits(tile[0, 0]))
            return np.repeat(tile[:, :2], 3, axis=-1)

        audio = np.concatenate(list(decode_tiles(decode, latents, wanted, tiles, 3)), axis=-1)
        cases.append(
            {
                "latents": {"seed": 11, "shape": [1, 4, valid]},
                "wanted": wanted,
                "frames": tiles.frames,
                "overlap": tiles.overlap,
                "multiple": tiles.multiple,
                "samples_per_frame": 3,
                "first_channel_of_each_tile": seen,
                "audio": digest(audio),
            }
        )
    return cases


def _masks() -> list[dict[str, Any]]:
    cases = []
    edges: tuple[tuple[int, int, list[list[int]]], ...] = (
        (44100, 75, [[0, 4096]]),
        (44100, 75, [[4096, 4097]]),
        (44100, 75, [[4095, 4096]]),
        (44100, 75, [[4097, 8192], [20000, 44100]]),
        (44100, 75, [[4097, 8193]]),
        (40960, 74, [[0, 0]]),
        (40961, 12, [[40960, 40961]]),
    )
    for samples, valid, regions in edges:
        plan = Plan(samples / _RATE, Lengths(samples, valid, valid), None, tuple((a, b) for a, b in regions))
        keep = "".join("1" if kept else "0" for kept in keep_mask(plan, _FRAME)[0, 0].tolist())
        cases.append({"samples": samples, "valid": valid, "regions": regions, "keep": keep})
    return cases


def _splice() -> tuple[dict[str, Any], bytes]:
    samples, beyond = 6000, 100
    regions = ((2000, 2500), (4000, 4001))
    made, recording = signal(1, (2, samples), 0.3), signal(2, (2, samples + beyond), 0.3)
    plan = Plan(samples / _RATE, Lengths(samples, 2, 2), recording, regions, True)
    case = {
        "made": {"seed": 1, "shape": list(made.shape), "gain": 0.3},
        "recording": {"seed": 2, "shape": list(recording.shape), "gain": 0.3},
        "regions": [list(span) for span in regions],
        "rate": _RATE,
        "fade_seconds": CROSSFADE_SECONDS,
        "expected": "splice.npy",
        "tolerance": 1.2e-7,
    }
    return case, npy_file(splice(made, plan, _RATE))


def _guidance() -> dict[str, Any]:
    x, conditional, unconditional = (signal(seed, (1, 4, 9)) for seed in (1, 2, 3))
    cases = []
    for t in (1.0, 0.5125):
        for cfg in (0.0, 3.0, 7.0):
            for apg in (0.0, 0.5, 1.0):
                velocity = guided(_constant(conditional), _constant(unconditional), cfg, apg)(x, float(np.float32(t)))
                cases.append({"t": bits(np.array([t]))[0], "cfg": cfg, "apg": apg, "velocity": bits(velocity)})
    return {
        "shape": list(x.shape),
        "x": {"seed": 1},
        "conditional": {"seed": 2},
        "unconditional": {"seed": 3},
        "tolerance": 2e-6,
        "cases": cases,
    }


def _constant(velocity: Latents) -> Velocity:
    return lambda x, t: velocity


def _samplers() -> dict[str, Any]:
    """Against a velocity that any host has: v = sin(3 x) * t, both in fp64, rounded once."""
    channels, allocated, valid = 4, 12, 11
    cases = []
    for objective in ("rf_denoiser", "rectified_flow"):
        for steps in (1, 4, 8):
            noise = LatentNoise(5, channels, allocated, valid)
            timesteps = schedule(steps, *_LINES[0])
            x = noise()
            if objective == "rf_denoiser":
                made = ping_pong(_sine, x, timesteps, noise, _silent)
            else:
                made = euler(_sine, x, timesteps, _silent)
            cases.append({"objective": objective, "steps": steps, "latents": bits(made)})
    return {
        "seed": 5,
        "channels": channels,
        "allocated": allocated,
        "valid": valid,
        "logsnr_start": _LINES[0][0],
        "logsnr_end": _LINES[0][1],
        "tolerance": 2e-6,
        "cases": cases,
    }


def _sine(x: Latents, t: float) -> Latents:
    velocity: Latents = (np.sin(3.0 * x.astype(np.float64)) * t).astype(np.float32)
    return velocity


def _silent(done: int, total: int) -> None:
    pass


def _limited() -> list[dict[str, Any]]:
    """Properties, no bits: a limiter is a host's own. Signals are sines, whose peaks may lie between samples."""
    cases: list[dict[str, Any]] = [
        {"name": "quiet", "hz": 440.0, "phase": 0.0, "gains": [0.5, 0.25], "unchanged": True},
        {"name": "loud", "hz": 440.0, "phase": 0.0, "gains": [1.5, 0.75], "unchanged": False},
        {"name": "peaks between samples", "hz": 11025.0, "phase": 0.125, "gains": [1.2, 1.2], "unchanged": False},
        {
            "name": "none too loud between samples",
            "hz": 11025.0,
            "phase": 0.125,
            "gains": [0.75, 0.75],
            "unchanged": True,
        },
    ]
    for case in cases:
        audio = np.stack([gain * _tone(case["hz"], case["phase"]) for gain in case["gains"]]).astype(np.float32)
        assert np.array_equal(limit(audio, _RATE), audio) == case["unchanged"], case
        case["samples"] = audio.shape[-1]
    return cases


def _tone(hz: float, phase: float) -> NDArray[np.float64]:
    """sin(2 pi (hz i / rate + phase)), a quarter of a second."""
    i = np.arange(_RATE // 4)
    tone: NDArray[np.float64] = np.sin(2 * np.pi * (hz * i / _RATE + phase))
    return tone
