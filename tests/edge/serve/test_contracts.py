"""Contracts of others: their own client, plain HTTP, and a client that goes away."""

import base64
import io
import json
from typing import Any

import httpx
import pytest
import soundfile
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError

from sa3_edge.compose.tempo import with_tempo
from tests.edge.serve.conftest import Running, until


def _client(served: Running, key: str = "none") -> ElevenLabs:
    return ElevenLabs(api_key=key, base_url=served.url, timeout=120)


@pytest.mark.parametrize(
    ("output_format", "rate", "tolerance"),
    [(None, 44_100, 0.1), ("mp3_22050_32", 22_050, 0.15), ("wav_16000", 16_000, 1e-9), ("opus_48000_64", 48_000, 0.05)],
)
def test_the_elevenlabs_client_gets_sound_of_the_asked_length(
    served: Running, output_format: Any, rate: int, tolerance: float
) -> None:
    sound = _client(served).text_to_sound_effects.convert(
        text="rain on a tin roof", duration_seconds=2.0, prompt_influence=0.3, output_format=output_format
    )
    info = soundfile.info(io.BytesIO(b"".join(sound)))
    assert info.samplerate == rate
    assert info.duration == pytest.approx(2.0, abs=tolerance)


def test_the_elevenlabs_client_gets_a_loop(served: Running) -> None:
    arguments: dict[str, Any] = {"duration_seconds": 1.0, "loop": True, "output_format": "wav_44100"}
    sound = b"".join(_client(served).text_to_sound_effects.convert(text="a creek", **arguments))
    assert soundfile.info(io.BytesIO(sound)).frames == 44_100
    newest = served.client.get("/v1/generations?limit=1").json()["generations"][0]
    assert newest["clip"]["options"]["loop"] is True


def test_bare_samples_are_of_the_asked_rate(served: Running) -> None:
    answer = served.client.post(
        "/v1/sound-generation?output_format=pcm_24000", json={"text": "wind", "duration_seconds": 1.0}
    )
    channels = int(answer.headers["x-channels"])
    assert len(answer.content) == 24_000 * 2 * channels


def test_more_influence_guides_more(served: Running) -> None:
    answer = served.client.post(
        "/v1/sound-generation", json={"text": "wind", "duration_seconds": 0.5, "prompt_influence": 1.0}
    )
    generation = served.client.get(f"/v1/generations/{answer.headers['x-generation-id']}").json()
    assert generation["clip"]["options"]["cfg"] == 4.0


@pytest.mark.parametrize(
    "arguments", [{"text": ""}, {"text": "x", "duration_seconds": 0.1}, {"text": "x", "output_format": "ulaw_8000"}]
)
def test_the_elevenlabs_client_is_told_what_is_wrong(served: Running, arguments: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refused:
        b"".join(_client(served).text_to_sound_effects.convert(**arguments))
    assert refused.value.status_code == 422
    assert refused.value.body["detail"]["message"]


def test_music_is_a_wav_of_the_asked_length_with_its_tempo_in_words(served: Running) -> None:
    body = {"prompt": "house", "duration_seconds": 1.5, "seed": 4, "bpm": 122, "model": "any", "stream": False}
    answer = served.client.post("/v1/audio/music-generations", json=body)
    assert answer.headers["content-type"] == "audio/wav"
    info = soundfile.info(io.BytesIO(answer.content))
    assert (info.format, info.subtype, info.duration) == ("WAV", "PCM_16", 1.5)
    generation = served.client.get(f"/v1/generations/{answer.headers['x-generation-id']}").json()
    assert (generation["prompt"], generation["seed"]) == ("house", 4)
    assert generation["clip"]["options"]["bpm"] == 122  # said to the model in words, see compose/test_loop.py


def test_streamed_music_tells_its_progress_and_ends_with_the_same_bytes(served: Running) -> None:
    body = {"prompt": "house", "duration_seconds": 1.0, "seed": 4}
    whole = served.client.post("/v1/audio/music-generations", json=body).content
    with served.client.stream("POST", "/v1/audio/music-generations", json={**body, "stream": True}) as answer:
        said = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    events = [json.loads(each) for each in said]
    assert {event["type"] for event in events[:-1]} == {"progress"}
    assert events[-1]["type"] == "complete"
    assert base64.b64decode(events[-1]["data"]) == whole


def test_impossible_music_is_their_400(served: Running) -> None:
    answer = served.client.post("/v1/audio/music-generations", json={"prompt": "x", "duration_seconds": 1e6})
    assert answer.status_code == 400


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_cancels_its_work(served: Running, stream: bool) -> None:
    body = {"prompt": f"gone {stream}", "duration_seconds": 20, "steps": 9000, "stream": stream}

    def mine() -> dict[str, Any]:
        listed = served.client.get("/v1/generations?limit=5").json()["generations"]
        return next((each for each in listed if each["prompt"] == body["prompt"]), {})

    # Away as soon as the work has begun: by closing the stream, or because no answer came.
    with httpx.Client(base_url=served.url, timeout=httpx.Timeout(10, read=None if stream else 0.5)) as impatient:
        if stream:
            with impatient.stream("POST", "/v1/audio/music-generations", json=body) as answer:
                next(line for line in answer.iter_lines() if '"stage":"diffuse"' in line)
        else:
            with pytest.raises(httpx.ReadTimeout):
                impatient.post("/v1/audio/music-generations", json=body)
    assert until(lambda: mine().get("state") == "cancelled")


def test_a_prompt_that_names_its_tempo_keeps_it() -> None:
    assert with_tempo("house, 120 bpm", 90) == "house, 120 bpm"
    assert with_tempo("house", None) == "house"
    assert with_tempo("house.", 90.5) == "house, 90.5 BPM"
