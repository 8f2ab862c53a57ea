"""What a server adds to a clip, and whether its memory stays flat: `python -m benchmarks.serve [--model demo]`.

The overhead is the time from asking for a warm 5 s clip over HTTP until its FLAC is here, less that of
`Pipeline.generate` of the same request with the same warm pipeline, run by turns.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.devices import describe_machine
from sa3_edge.generation.request import GenerationRequest
from sa3_edge.serve.server import bind, make_server
from sa3_edge.serve.service import Service
from sa3_edge.serve.settings import Settings

_SECONDS = 5.0


def _clip(client: httpx.Client, seed: int) -> None:
    body = {"prompt": "lofi piano", "seconds": _SECONDS, "seed": seed}
    generation = client.post("/v1/generations", json=body).raise_for_status().json()
    client.get(f"/v1/generations/{generation['id']}/audio").raise_for_status()


def measure(client: httpx.Client, service: Service, model: str, rounds: int, generations: int) -> dict[str, Any]:
    """Figures of a server that runs."""
    _clip(client, 0)  # loads
    pipeline = service.warm.pipeline(model)
    served, bare = [], []
    for seed in range(1, rounds + 1):
        start = time.perf_counter()
        _clip(client, seed)
        middle = time.perf_counter()
        pipeline.generate(GenerationRequest("lofi piano", seconds=_SECONDS, seed=seed))
        served.append(middle - start)
        bare.append(time.perf_counter() - middle)
    memory = {}
    for seed in range(generations):
        _clip(client, 1000 + seed)
        if seed + 1 in (generations // 10, generations // 2, generations):
            memory[seed + 1] = client.get("/health").json()["memory"]
    differences = [over - under for over, under in zip(served, bare, strict=True)]
    return {
        "clip_s": _SECONDS,
        "rounds": rounds,
        "served_median_s": statistics.median(served),
        "generate_median_s": statistics.median(bare),
        "overhead_median_s": statistics.median(differences),
        "memory_by_generations": memory,
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--generations", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, bind("127.0.0.1", 0) as listening:
        ready = threading.Event()
        server = make_server(Settings(options.model, Path(folder)), ready.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            ready.wait()
            service: Service = server.config.app.state.service  # type: ignore[union-attr]
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            with httpx.Client(base_url=url, timeout=600) as client:
                figures = measure(client, service, options.model, options.rounds, options.generations)
            print(json.dumps({"machine": describe_machine(), "model": options.model, **figures}, indent=1))
        finally:
            server.should_exit = True
            thread.join()


if __name__ == "__main__":
    main()
