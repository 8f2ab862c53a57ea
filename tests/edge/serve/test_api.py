"""The API: a clip is asked for, followed, heard, edited, cancelled, listed and found again."""

import io
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
import soundfile
from safetensors.numpy import save_file

from sa3_edge.adapters.installed import add, remove
from sa3_edge.clips.record import read_record
from sa3_edge.engines.runner import GraphRunner
from sa3_edge.generation.pipeline import Pipeline
from sa3_edge.manifest import GraphName
from sa3_edge.models.catalog import models_folder
from sa3_edge.serve.live import Live
from sa3_edge.serve.settings import Limits
from tests.edge.serve.conftest import DEADLINE, SLOW, Running, Wav, until


def _sound(data: bytes) -> tuple[Any, int]:
    audio, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    return audio, rate


def _events(client: httpx.Client, path: str) -> list[tuple[str, dict[str, Any]]]:
    events, name = [], ""
    with client.stream("GET", path) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                events.append((name, json.loads(line.removeprefix("data: "))))
    return events


def test_a_clip_is_what_the_pipeline_makes_with_the_record_that_the_command_writes(served: Running) -> None:
    made = served.made(prompt="techno drums", seconds=1.5, seed=7, format="wav", bits="float", limiter=False)
    clip = made["clip"]
    audio, rate = _sound(served.client.get(f"/v1/generations/{made['id']}/audio").content)
    request = served.service.queue.get(made["id"]).request.rendering.piece.request  # type: ignore[union-attr]
    expected = Pipeline.load("demo").generate(request)
    np.testing.assert_array_equal(audio.T, expected.audio)
    assert (clip["seconds"], clip["samples"], rate) == (1.5, expected.audio.shape[1], expected.sample_rate)
    record = read_record(served.settings.folder / clip["file"])
    assert (record.prompt, record.options["seed"], record.model) == ("techno drums", 7, "demo")


def test_progress_is_told_by_stage_until_the_end(served: Running) -> None:
    generation = served.generate(seconds=10, steps=40)
    events = _events(served.client, f"/v1/generations/{generation['id']}/events")
    name, last = events[-1]
    assert (name, last["state"]) == ("done", "done")
    assert {name for name, _ in events[:-1]} <= {"progress"}
    assert "denoise" in {event["progress"]["stage"] for _, event in events}
    fractions = [event["progress"]["fraction"] for _, event in events]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_events_of_a_clip_that_is_done_say_so_and_end(served: Running) -> None:
    made = served.made()
    ((name, event),) = _events(served.client, f"/v1/generations/{made['id']}/events")
    assert (name, event["clip"]["file"]) == ("done", made["clip"]["file"])


def test_one_stream_tells_of_every_generation(served: Running) -> None:
    with served.client.stream("GET", "/v1/events") as answer:
        lines = answer.iter_lines()
        next(lines)
        generation = served.generate()
        states = []
        for line in lines:
            if line.startswith("data: "):
                said = json.loads(line.removeprefix("data: "))
                if said["id"] == generation["id"]:
                    states.append(said["state"])
                    if said["state"] == "done":
                        break
    assert states[-1] == "done"


@pytest.mark.parametrize(
    ("query", "accept", "kind", "media"),
    [
        ("", "*/*", "FLAC", "audio/flac"),
        ("", "audio/wav", "WAV", "audio/wav"),
        ("", "audio/flac;q=0.2, audio/mpeg", "MP3", "audio/mpeg"),
        ("?format=opus", "*/*", "OGG", "audio/ogg; codecs=opus"),
        ("?format=wav", "audio/flac", "WAV", "audio/wav"),
    ],
)
def test_the_sound_comes_in_the_format_that_is_asked_for(
    served: Running, query: str, accept: str, kind: str, media: str
) -> None:
    made = served.made(seed=3)
    answer = served.client.get(f"/v1/generations/{made['id']}/audio{query}", headers={"accept": accept})
    assert answer.headers["content-type"] == media
    info = soundfile.info(io.BytesIO(answer.content))
    assert info.format == kind
    assert info.frames / info.samplerate == pytest.approx(1.0, abs=0.1)


def test_parts_of_the_sound_can_be_had_so_that_players_can_seek(served: Running) -> None:
    path = f"/v1/generations/{served.made()['id']}/audio"
    whole = served.client.get(path).content
    part = served.client.get(path, headers={"range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole[100:200])


def test_the_sound_of_a_clip_that_is_not_done_is_waited_for(served: Running) -> None:
    generation = served.generate(seconds=5)
    assert served.client.get(f"/v1/generations/{generation['id']}/audio").status_code == 200


@pytest.mark.parametrize("kind", ["wav", "flac", "opus"])
def test_a_clip_is_heard_while_it_is_decoded_and_is_the_same_in_the_end(
    served: Running, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    go_on = threading.Event()
    hear = Live.hear

    def slowly(live: Live, audio: Any, rate: int) -> None:
        hear(live, audio, rate)
        assert go_on.wait(DEADLINE)  # after each tile, until somebody has heard the first

    monkeypatch.setattr(Live, "hear", slowly)
    generation = served.generate(prompt="heard early", seconds=60, steps=1, format="wav")
    path = f"/v1/generations/{generation['id']}"
    received = b""
    with served.client.stream("GET", f"{path}/audio?format={kind}") as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        for data in answer.iter_raw():
            if not go_on.is_set() and data:
                now = served.client.get(path).json()
                assert (now["state"], now["progress"]["stage"]) == ("running", "decode")
                go_on.set()
            received += data
    assert served.ended(generation)["state"] == "done"
    heard, rate = _sound(received)
    if kind == "opus":
        assert len(heard) / rate == pytest.approx(60, abs=0.05)
    else:
        whole, _ = _sound(served.client.get(f"{path}/audio").content)
        np.testing.assert_array_equal(heard, whole)


def test_who_listens_to_a_clip_that_is_cancelled_is_not_given_a_part_for_the_whole(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear, cancelled = Live.hear, threading.Event()

    def then_wait(live: Live, audio: Any, rate: int) -> None:
        hear(live, audio, rate)
        assert cancelled.wait(DEADLINE)

    monkeypatch.setattr(Live, "hear", then_wait)
    generation = served.generate(prompt="cut", seconds=60, steps=1, format="wav")
    path = f"/v1/generations/{generation['id']}"
    with served.client.stream("GET", f"{path}/audio") as answer:
        pieces = answer.iter_raw()
        next(pieces)
        served.client.delete(path)
        cancelled.set()
        with pytest.raises(httpx.RemoteProtocolError):
            list(pieces)
    assert not list(served.settings.folder.glob("cut*"))


def test_a_running_clip_is_cancelled_within_a_step_and_leaves_no_file(served: Running) -> None:
    generation = served.generate(**SLOW)
    path = f"/v1/generations/{generation['id']}"
    until(lambda: served.client.get(path).json()["progress"]["done"] > 1)
    assert served.client.delete(path).status_code == 202
    assert served.ended(generation)["state"] == "cancelled"
    done = served.client.get(path).json()["progress"]["done"]
    assert 1 < done < SLOW["steps"]
    assert not list(served.settings.folder.glob("slow*"))
    audio = served.client.get(f"{path}/audio")
    assert (audio.status_code, audio.json()["error"]["code"]) == (409, "cancelled")


def test_a_finished_clip_is_deleted_only_when_that_is_said(served: Running) -> None:
    made = served.made()
    path, file = f"/v1/generations/{made['id']}", served.settings.folder / made["clip"]["file"]
    assert served.client.delete(path).status_code == 409
    assert file.exists()
    assert served.client.delete(f"{path}?delete=true").status_code == 204
    assert not file.exists()
    assert served.client.get(path).status_code == 404


def test_more_than_may_wait_are_refused_with_when_to_come_again(serve_with: Callable[..., Any]) -> None:
    with serve_with(limits=Limits(queue=2)) as server:
        first = server.generate(**SLOW)
        until(lambda: server.client.get("/health").json()["running"])
        for _ in range(2):
            server.generate(**SLOW)
        answer = server.client.post("/v1/generations", json=SLOW)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
        assert server.client.delete(f"/v1/generations/{first['id']}").status_code == 202


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"prompt": "x", "secs": 3}, "unknown option 'secs'"),
        ({"prompt": "x", "seconds": "long"}, "seconds cannot be 'long'"),
        ({"prompt": "x", "seconds": 1e9}, "the longest clip is"),
        ({"prompt": "x", "steps": 0}, "steps must be from 1"),
        ({"prompt": "x", "seed": -1}, "seed must be between 0"),
        ({"prompt": "x", "model": "../../etc"}, "no model is called '../../etc'"),
        ({"prompt": "x", "format": "exe"}, "choose wav"),
        ({"prompt": "x", "extend": 3}, "needs a recording"),
        ({"prompt": "x", "negative_prompt": "y", "cfg": 1}, ""),
        ({"prompt": "x", "output": "x.wav"}, "about files of this machine"),
        ({"prompt": 3}, "prompt cannot be 3"),
    ],
)
def test_invalid_requests_are_refused_before_the_queue(served: Running, body: dict[str, Any], message: str) -> None:
    before = len(served.client.get("/v1/generations?limit=200").json()["generations"])
    answer = served.client.post("/v1/generations", json=body)
    assert answer.status_code == 422
    assert message in answer.json()["error"]["message"]
    assert len(served.client.get("/v1/generations?limit=200").json()["generations"]) == before


def test_an_uploaded_recording_is_edited_and_the_rest_kept_sample_for_sample(served: Running, wav: Wav) -> None:
    data = wav(seconds=3.0)
    answer = served.client.post("/v1/recordings", files={"file": ("../../etc/passwd", data)})
    assert answer.status_code == 201, answer.text
    recording = answer.json()
    assert recording["seconds"] == 3.0
    assert served.client.post("/v1/recordings", files={"file": ("again.wav", data)}).json() == recording
    made = served.made(seconds=None, init_audio=recording["id"], inpaint=["1:2"])
    assert (made["source"], made["clip"]["mode"]) == (recording["id"], "inpainting")
    before, rate = _sound(data)
    after, _ = _sound(served.client.get(f"/v1/generations/{made['id']}/audio").content)
    assert after.shape == before.shape
    faded = int(0.031 * rate)
    np.testing.assert_array_equal(after[: rate - faded], before[: rate - faded])
    np.testing.assert_array_equal(after[2 * rate + faded :], before[2 * rate + faded :])
    assert np.abs(after[rate : 2 * rate] - before[rate : 2 * rate]).max() > 0.01


def test_a_clip_is_edited_by_its_id_and_says_what_it_was_made_from(served: Running) -> None:
    first = served.made(seconds=2)
    second = served.made(prompt="longer", seconds=None, init_audio=first["id"], extend=1)
    assert second["source"] == first["id"]
    assert second["clip"]["seconds"] == pytest.approx(3.0)
    assert second["clip"]["options"]["init_audio"] == first["id"]


def test_clips_are_listed_newest_first_by_pages(serve_with: Callable[..., Any]) -> None:
    with serve_with() as server:
        made = [server.made(prompt=f"clip {number}")["id"] for number in range(5)]
        first = server.client.get("/v1/generations?limit=3").json()
        assert [each["id"] for each in first["generations"]] == made[:1:-1]
        rest = server.client.get(f"/v1/generations?limit=3&before={first['next']}").json()
        assert [each["id"] for each in rest["generations"]] == made[1::-1]
        assert rest["next"] is None


def test_a_restart_finds_every_clip_under_its_id(serve_with: Callable[..., Any]) -> None:
    with serve_with() as server:
        made = server.made(prompt="kept", seed=5)
        folder = server.settings.folder
    (folder / "notes.wav").write_bytes(b"no sound")  # what else lies there is in nobody's way
    with (folder / "history.jsonl").open("ab") as history:
        history.write(b'{"id": "gen-cut", "fi')
    with serve_with() as server:
        (again,) = server.client.get("/v1/generations").json()["generations"]
        assert again["id"] == made["id"]
        assert again["clip"] == made["clip"]
        assert server.client.get(f"/v1/generations/{made['id']}/audio").status_code == 200
        another = server.made(prompt="kept", seed=5)
        assert another["clip"]["file"] == "kept-5-2.flac"
    with serve_with() as server:
        both = server.client.get("/v1/generations").json()["generations"]
        assert [each["id"] for each in both] == [another["id"], made["id"]]


def test_two_of_the_same_name_that_wait_together_are_two_files(served: Running) -> None:
    clips = [served.generate(prompt="twin", seed=9) for _ in range(3)]
    files = {served.ended(clip)["clip"]["file"] for clip in clips}
    assert files == {"twin-9.flac", "twin-9-2.flac", "twin-9-3.flac"}


def test_fifty_clients_at_once_get_their_own_clip_or_are_told_to_wait(serve_with: Callable[..., Any]) -> None:
    with serve_with() as server:
        results: list[tuple[int, int, str]] = []

        def client(number: int) -> None:
            body = {"prompt": f"client {number}", "duration_seconds": 0.5, "seed": number}
            with httpx.Client(base_url=server.url, timeout=120) as own:
                answer = own.post("/v1/audio/music-generations", json=body)
            prompt = ""
            if answer.status_code == 200:
                path = server.settings.folder / f"got-{number}"
                path.write_bytes(answer.content)
                prompt = read_record(path).prompt
            results.append((number, answer.status_code, prompt))

        threads = [threading.Thread(target=client, args=(number,)) for number in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 50
    assert {status for _, status, _ in results} <= {200, 429}
    got = [(number, prompt) for number, status, prompt in results if status == 200]
    assert len(got) >= 16
    assert all(prompt == f"client {number}" for number, prompt in got)


def test_the_model_is_freed_when_nobody_asks_and_loaded_again(serve_with: Callable[..., Any]) -> None:
    with serve_with(idle_unload=0.2) as server:
        server.made()
        until(lambda: server.client.get("/health").json()["loaded"] is None)
        server.made()


def test_another_model_takes_the_place_of_the_one_before(
    serve_with: Callable[..., Any], tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    shutil.copytree(tiny_bundle, models_folder() / "other")
    with serve_with() as server:
        first, other, again = (server.made(model=name, seed=1) for name in ("demo", "other", "demo"))
        assert [made["model"] for made in (first, other, again)] == ["demo", "other", "demo"]
        assert server.client.get("/health").json()["loaded"] == "demo"
        sounds = [
            server.client.get(f"/v1/generations/{made['id']}/audio?format=wav").content for made in (first, again)
        ]
        assert sounds[0] == sounds[1]
        shutil.rmtree(models_folder() / "other")
        refused = server.client.post("/v1/generations", json={"prompt": "x", "model": "other"})
        assert refused.status_code == 422
        assert "no model is called 'other'" in refused.json()["error"]["message"]


def test_the_second_clip_of_a_prompt_loads_nothing_and_does_not_read_it_again(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.made(prompt="the same words")
    pipeline = served.service.warm.pipeline("demo")
    loaded, run = pipeline.graphs.loaded, GraphRunner.run
    ran: list[str] = []

    def noted(runner: GraphRunner, graph: GraphName, *rest: Any) -> Any:
        ran.append(graph)
        return run(runner, graph, *rest)

    monkeypatch.setattr(GraphRunner, "run", noted)
    served.made(prompt="the same words")
    assert served.service.warm.pipeline("demo") is pipeline
    assert pipeline.graphs.loaded == loaded
    assert set(ran) == {"conditioner", "denoiser", "decoder"}


def test_a_picture_is_small_and_shows_where_it_is_loud(served: Running, wav: Wav) -> None:
    recording = served.client.post("/v1/recordings", files={"file": ("a.wav", wav(seconds=1.0))}).json()
    picture = served.client.get(f"/v1/recordings/{recording['id']}/picture?columns=50&bands=16").json()
    assert (picture["columns"], len(picture["lows"]), len(picture["highs"])) == (50, 50, 50)
    assert max(picture["highs"]) == pytest.approx(0.3 * 127, abs=1)
    assert min(picture["lows"]) == pytest.approx(-0.3 * 127, abs=1)


def test_health_and_models_say_what_is_there(served: Running) -> None:
    health = served.client.get("/health").json()
    assert (health["status"], health["queue"]) == ("ok", 16)
    assert health["memory"] > 10_000_000
    models = served.client.get("/v1/models").json()["models"]
    assert [model["name"] for model in models if model["default"]] == ["demo"]


def test_an_adapter_is_asked_for_by_its_name_and_never_by_a_path(served: Running, tmp_path: Path) -> None:
    tape = tmp_path / "tape.safetensors"
    layer = "transformer.layers.0.self_attn.to_qkv"
    a, b = np.full((2, 128), 0.1, np.float32), np.full((384, 2), 0.1, np.float32)
    save_file({f"{layer}.lora_A.weight": a, f"{layer}.lora_B.weight": b}, tape)
    body = {"prompt": "x", "seconds": 1, "seed": 1}
    for lora in ([str(tape)], ["tape"], "tape", [1]):
        assert served.client.post("/v1/generations", json={**body, "lora": lora}).status_code == 422, lora
    add(tape)
    try:
        assert served.client.get("/v1/models").json()["adapters"] == ["tape"]
        assert served.client.post("/v1/generations", json={**body, "lora": ["tape:loud"]}).status_code == 422
        sounds = []
        for lora in ([], ["tape:0.5"]):
            made = served.client.post("/v1/generations", json={**body, "lora": lora}).json()
            sounds.append(served.client.get(f"/v1/generations/{made['id']}/audio").content)
        assert sounds[0] != sounds[1]
    finally:
        remove("tape")


def test_the_document_names_every_route_and_every_option(served: Running) -> None:
    from sa3_edge.clips.options import ClipOptions, options_of

    document = served.client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    options = document["components"]["schemas"]["GenerationRequest"]["properties"]
    assert set(options_of(ClipOptions)) <= set(options)
    for path in document["paths"]:
        answer = served.client.request("OPTIONS", path)
        assert answer.status_code == 405, path  # known, and not asked so


def test_answers_are_what_the_document_says(served: Running) -> None:
    from sa3_edge.serve import views

    msgspec.convert(served.made(), views.GenerationView)
    msgspec.convert(served.client.get("/v1/generations").json(), views.GenerationList)
