"""What must not get in: other hosts, other pages, no token, too much, too slow, paths, bombs."""

import hashlib
import io
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
import soundfile

from sa3_edge.serve.recordings import MOST_SAMPLES_A_SECOND
from sa3_edge.serve.settings import Limits
from tests.edge.serve.conftest import DEADLINE, SLOW, Running, Wav, until

TOKEN = "correct horse"  # noqa: S105  a test's own


def _status(served: Running, method: str = "GET", path: str = "/v1/models", **headers: str) -> int:
    return served.client.request(
        method, path, headers={key.replace("_", "-"): value for key, value in headers.items()}
    ).status_code


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "10.0.0.1", "", "[::1", "a b"]
)
def test_other_host_names_are_refused_as_dns_rebinding_brings_them(served: Running, host: str) -> None:
    assert _status(served, host=host) == 421
    assert _status(served, path="/", host=host) == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:8765"])
def test_names_of_this_machine_are_answered_at_any_port(served: Running, host: str) -> None:
    assert _status(served, host=host) == 200


def test_two_hosts_are_one_too_many(served: Running) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as raw:
        raw.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert raw.recv(100).split()[1] in (b"400", b"421")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost.evil.example", "file://"]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/models"), ("POST", "/v1/generations"), ("GET", "/v1/events"), ("DELETE", "/v1/generations/x")],
)
def test_pages_of_other_sites_may_not_ask(served: Running, origin: str, method: str, path: str) -> None:
    assert _status(served, method, path, origin=origin) == 403


def test_the_own_page_may(served: Running) -> None:
    assert _status(served, origin=served.url, sec_fetch_site="same-origin") == 200


def test_what_a_browser_says_is_cross_site_is_refused_without_an_origin_too(served: Running) -> None:
    # <img>, <audio>, <script> and navigations send no Origin.
    for site in ("cross-site", "same-site"):
        assert _status(served, path="/v1/generations", sec_fetch_site=site, sec_fetch_mode="no-cors") == 403
        assert _status(served, path="/health", sec_fetch_site=site, sec_fetch_mode="navigate") == 403
    assert (
        _status(served, path="/", sec_fetch_site="cross-site", sec_fetch_mode="navigate") == 200
    )  # a link to the page


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_a_form_cannot_order_a_clip(served: Running, content_type: str) -> None:
    answer = served.client.post("/v1/generations", content=b'{"prompt": "x"}', headers={"content-type": content_type})
    assert answer.status_code == 415


def test_nothing_is_answered_without_the_token_but_the_page_that_asks_for_it(serve_with: Callable[..., Any]) -> None:
    with serve_with(token=TOKEN) as server:
        for method, path in (
            ("GET", "/health"),
            ("GET", "/openapi.json"),
            ("GET", "/v1/generations"),
            ("POST", "/v1/generations"),
            ("POST", "/v1/sound-generation"),
            ("GET", "/v1/events"),
            ("POST", "/v1/recordings"),
        ):
            assert _status(server, method, path) == 401, path
        assert _status(server, path="/") == 200
        for wrong in (
            "Bearer nothing",
            f"Basic {TOKEN}",
            TOKEN,
            f"Bearer {TOKEN[:-1]}",
            f"Bearer {TOKEN}x",
            "Bearer é",
        ):
            assert (
                httpx.get(f"{server.url}/health", headers=[(b"authorization", wrong.encode("latin-1"))]).status_code
                == 401
            )
        assert _status(server, authorization=f"Bearer {TOKEN}") == 200
        assert _status(server, xi_api_key=TOKEN) == 200  # as the ElevenLabs client shows it


def test_a_page_exchanges_the_token_for_a_cookie_that_is_not_the_token(serve_with: Callable[..., Any]) -> None:
    with serve_with(token=TOKEN) as server:
        assert server.client.post("/v1/session", json={"token": "wrong"}).status_code == 401
        answer = server.client.post("/v1/session", json={"token": TOKEN})
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert TOKEN not in cookie
        assert server.client.get("/health").status_code == 200
        forged = f"sa3_edge_session={hashlib.sha256(TOKEN.encode()).hexdigest()}"
        assert httpx.get(f"{server.url}/health", headers={"cookie": forged}).status_code == 401


def test_a_token_in_the_address_is_no_token(serve_with: Callable[..., Any]) -> None:
    with serve_with(token=TOKEN) as server:
        assert server.client.get("/health", params={"token": TOKEN, "access_token": TOKEN}).status_code == 401


def test_an_upload_of_a_gigabyte_is_refused_before_it_is_sent(served: Running) -> None:
    head = (
        f"POST /v1/recordings HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {1 << 30}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", served.port), timeout=DEADLINE) as raw:
        raw.sendall(head.encode())
        assert raw.recv(1000).split()[1] == b"413"


def test_an_upload_that_does_not_say_its_size_is_cut_off_at_the_limit(serve_with: Callable[..., Any]) -> None:
    sent = 0

    def endless() -> Any:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        while sent < 1 << 30:
            sent += 1 << 16
            yield bytes(1 << 16)

    with serve_with(limits=Limits(upload_bytes=1 << 20)) as server:
        try:
            answer = server.client.post(
                "/v1/recordings", content=endless(), headers={"content-type": "multipart/form-data; boundary=x"}
            )
            assert answer.status_code == 413
        except httpx.WriteError:
            pass  # the connection was closed while this client still wrote
        assert sent < 64 << 20
        assert not list((server.settings.folder / "recordings").glob(".upload-*"))


def test_a_body_is_refused_beyond_its_limit_and_when_it_is_compressed(served: Running) -> None:
    body = b'{"prompt": "' + b"x" * (1 << 20) + b'"}'
    assert (
        served.client.post("/v1/generations", content=body, headers={"content-type": "application/json"}).status_code
        == 413
    )
    answer = served.client.post(
        "/v1/generations", content=b"{}", headers={"content-type": "application/json", "content-encoding": "gzip"}
    )
    assert answer.status_code == 415


def test_headers_that_trickle_in_are_not_waited_for(serve_with: Callable[..., Any]) -> None:
    with serve_with(limits=Limits(header_seconds=0.5)) as server:
        loris = [socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) for _ in range(20)]
        for raw in loris:
            raw.sendall(b"GET /health HTTP/1.1\r\n")
        closed = set()

        def all_closed() -> bool:
            for raw in loris:
                if raw in closed:
                    continue
                try:
                    raw.sendall(b"X-Slow: 1\r\n")  # more bytes win no time
                    raw.settimeout(0.01)
                    if raw.recv(100) == b"":
                        closed.add(raw)
                except TimeoutError:
                    pass
                except OSError:
                    closed.add(raw)
            return len(closed) == len(loris)

        assert until(all_closed)
        assert server.client.get("/health").status_code == 200
        for raw in loris:
            raw.close()


def test_a_body_that_trickles_in_is_not_waited_for(serve_with: Callable[..., Any]) -> None:
    with (
        serve_with(limits=Limits(body_seconds=0.3)) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as raw,
    ):
        head = "POST /v1/generations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        raw.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        assert raw.recv(1000).split()[1] == b"408"


def test_a_client_that_takes_nothing_holds_neither_worker_nor_others(served: Running) -> None:
    made = served.made(prompt="long", seconds=60, steps=1, format="wav")
    with socket.create_connection(("127.0.0.1", served.port)) as idler:
        idler.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idler.sendall(f"GET /v1/generations/{made['id']}/audio HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        idler.recv(1)
        assert served.made(prompt="meanwhile")["state"] == "done"


PATHS = [
    "../../etc/passwd",
    "/etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "....//etc/passwd",
    "C:\\windows\\win.ini",
    "\\\\host\\share",
    "file:///etc/passwd",
    "rec-../../x",
    "gen-\x00",
    "~/.ssh/id_rsa",
    ".",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_path_of_a_request_is_used(served: Running, path: str) -> None:
    for field in ("init_audio", "model", "output", "save_latents", "format", "bits", "schedule"):
        body = {"prompt": "x", "seconds": 1, field: path}
        answer = served.client.post("/v1/generations", json=body)
        assert answer.status_code == 422, (field, answer.text)
        assert "root:" not in answer.text
    for place in ("/v1/generations/{}", "/v1/generations/{}/audio", "/v1/recordings/{}/audio", "/page/{}", "/{}"):
        # As it is: clients tidy up what they send.
        target = place.format(quote(path, safe="/.%~"))
        with socket.create_connection(("127.0.0.1", served.port), timeout=DEADLINE) as raw:
            raw.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answered = b"".join(iter(lambda: raw.recv(1 << 16), b""))
        assert answered.split()[1] in (b"404", b"405"), target
        assert b"root:" not in answered
    assert served.client.get("/v1/generations", params={"before": path}).status_code == 200


def test_a_prompt_that_is_a_path_names_a_file_in_the_folder(served: Running) -> None:
    made = served.made(prompt="../../../tmp/evil.sh", seed=1)
    assert made["clip"]["file"] == "tmp-evil-sh-1.flac"
    assert (served.settings.folder / made["clip"]["file"]).is_file()


def _upload(served: Running, data: bytes) -> httpx.Response:
    return served.client.post("/v1/recordings", files={"file": ("a.flac", data)})


def test_small_files_that_would_be_gigabytes_are_refused(served: Running, tmp_path: Path) -> None:
    # Silence: 8 channels at the highest rate that FLAC has, or hours of it.
    channels = 8
    silence = np.zeros((1 << 16, channels), np.int16)
    path = tmp_path / "bomb.flac"
    with soundfile.SoundFile(path, "w", 655_350, channels, subtype="PCM_16") as file:
        for _ in range(10):
            file.write(silence)
    answer = _upload(served, path.read_bytes())
    assert answer.status_code == 422
    assert f"at most {MOST_SAMPLES_A_SECOND} samples" in answer.json()["error"]["message"]
    with soundfile.SoundFile(path, "w", 1000, 1, subtype="PCM_16") as file:
        for _ in range(28):
            file.write(silence[:, 0])
    answer = _upload(served, path.read_bytes())
    assert answer.status_code == 422
    assert "longer than 30 minutes" in answer.json()["error"]["message"]


def test_uploads_that_are_not_recordings_are_refused_and_leave_nothing(served: Running, wav: Wav) -> None:
    folder = served.settings.folder / "recordings"
    before = set(folder.glob("*")) if folder.exists() else set()
    whole = wav(seconds=1.0)
    for data in (b"", b"RIFF", b"#!/bin/sh\nrm -rf /", whole[:40], b"\0" * 100_000, whole[:44]):
        assert _upload(served, data).status_code == 422
    assert set(folder.glob("*")) | set(folder.glob(".*")) == before


def test_recordings_together_take_no_more_than_they_may(serve_with: Callable[..., Any], wav: Wav) -> None:
    data = wav(seconds=1.0)
    with serve_with(limits=Limits(recordings_bytes=len(data) + 10)) as server:
        assert _upload(server, data).status_code == 201
        assert _upload(server, data).status_code == 201  # the same one
        answer = _upload(server, wav(seconds=1.1))
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "full")


def test_too_many_connections_are_told_so(serve_with: Callable[..., Any]) -> None:
    with serve_with(limits=Limits(connections=5)) as server:
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
        until(lambda: httpx.get(f"{server.url}/health").status_code == 503)
        for raw in held:
            raw.close()
        assert until(lambda: httpx.get(f"{server.url}/health").status_code == 200)


def test_pages_run_no_inline_script_and_load_nothing_from_elsewhere(served: Running) -> None:
    for path in ("/", "/docs", "/page/app.js", "/health", "/nothing"):
        headers = served.client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
    page = Path(__file__).parents[3] / "sa3_edge" / "serve" / "page"
    for file in page.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text, file.name
        assert "https:" not in text, file.name


def test_no_answer_names_a_folder_of_this_machine_but_where_clips_are_kept(served: Running, wav: Wav) -> None:
    recording = _upload(served, wav(seconds=1.2)).json()
    made = served.made(seconds=None, init_audio=recording["id"], noise_level=0.5)
    folder = str(served.settings.folder)
    for path in ("/v1/models", "/v1/generations", f"/v1/generations/{made['id']}", "/openapi.json"):
        assert folder not in served.client.get(path).text


def test_deep_and_strange_json_is_refused_in_words(served: Running) -> None:
    for body in (
        b"[" * 100_000,
        b"{",
        b"\xff\xfe",
        b'{"prompt": "\\ud800"}',
        b"null",
        b"[]",
        b"1e999",
        b'{"prompt": "x", "seconds": 1e999}',
        b'{"prompt":"x","seed":' + b"9" * 5000 + b"}",
    ):
        answer = served.client.post("/v1/generations", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (413, 422), body[:30]
        assert answer.json()["error"]["message"]


def test_slow_work_does_not_hold_answers(served: Running) -> None:
    generation = served.generate(**SLOW)
    start = time.monotonic()
    assert served.client.get("/health").status_code == 200
    assert time.monotonic() - start < DEADLINE
    served.client.delete(f"/v1/generations/{generation['id']}")
    assert served.ended(generation)["state"] == "cancelled"


def test_a_sound_is_sent_as_sound_whatever_a_prompt_says(served: Running) -> None:
    made = served.made(prompt='"><script>alert(1)</script>\r\nX-Evil: 1', seed=2)
    answer = served.client.get(f"/v1/generations/{made['id']}/audio?download=true")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert "x-evil" not in answer.headers
    assert soundfile.info(io.BytesIO(answer.content)).frames
