"""What is said of a clip that was made, as JSON: the command's --json, the sidecar, a list's results."""

import json
import re
from collections.abc import Mapping

from sa3_edge.clips.files import ClipFiles
from sa3_edge.clips.record import Record
from sa3_edge.generation.made import Stream


def json_text(result: Mapping[str, object]) -> str:
    """One JSON object on one line."""
    text = json.dumps(result, ensure_ascii=False, allow_nan=False)
    # Half a surrogate pair, as a list's line may have it, can be written only as an escape.
    return re.sub(r"[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text) + "\n"


def report_of(made: Stream, files: ClipFiles, record: Record, notes: list[str]) -> dict[str, object]:
    """The clip as a JSON object; "file" is "-" for one that is in no file."""
    return {
        "file": str(files.audio or "-"),
        "latents_file": str(files.latents) if files.latents else None,
        "prompt": record.prompt,
        "seconds": made.seconds,
        "samples": made.samples,
        "sample_rate": made.sample_rate,
        "seed": made.seed,
        "steps": made.steps,
        "headroom": made.headroom,
        "cfg": made.cfg,
        "mode": record.mode,
        "options": record.options,
        "model": {"name": record.model_name, "revision": record.revision, "bundle": record.bundle},
        "precision": record.precision,
        "synthetic": record.synthetic,
        "engine": record.engine_version,
        "version": record.version,
        "timings": {key: round(time, 4) for key, time in made.timings.items() if key != "first_piece"},
        "seconds_to_first_sound": round(made.timings["first_piece"], 4),
        "realtime_factor": round(made.samples / made.sample_rate / made.timings["total"], 2),
        "notes": notes,
    }
