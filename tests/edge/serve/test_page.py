"""The page in headless Chromium: what a person does with it, by mouse, touch and keyboard, and what axe-core says.

python -m tests.edge.serve.test_page FOLDER writes the screenshots of the README there.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, FilePayload, Locator, Page, ViewportSize, expect

from sa3_edge.serve.settings import Settings
from tests.chromium import NARROW, WIDE, chromium, needs_chromium
from tests.edge.serve.conftest import DEADLINE, SLOW, Running, Wav, running

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@contextmanager
def opened(browser: Browser, server: Running, **context: Any) -> Iterator[Page]:
    """The page; afterwards nothing must have gone wrong in it, and no request gone elsewhere."""
    context = {"viewport": WIDE, "accept_downloads": True, **context}
    with browser.new_context(**context) as made:
        page = made.new_page()
        page.set_default_timeout(DEADLINE * 1000)
        expect.set_options(timeout=DEADLINE * 1000)
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "console",
            lambda said: wrong.append(said.text) if said.type == "error" and not _refused(said.text) else None,
        )
        own = (server.url, "blob:", "data:")
        page.on("request", lambda request: None if request.url.startswith(own) else wrong.append(request.url))
        page.goto(server.url)
        expect(page.locator("#model option").first).to_be_attached()
        yield page
        assert not wrong


def _refused(said: str) -> bool:
    """Whether the browser only says that a request was refused in words, which the page shows."""
    return said.startswith("Failed to load resource") and ("status of 422" in said or "status of 409" in said)


@pytest.fixture
def page(browser: Browser, served: Running) -> Iterator[Page]:
    with opened(browser, served) as page:
        yield page


def generate(page: Page, prompt: str, seconds: float = 3, steps: int | None = None, kind: str = "wav") -> Locator:
    """Fill in the form and send it -> the newest card."""
    page.get_by_label("What do you want to hear?").fill(prompt)
    page.get_by_label("Seconds", exact=True).fill(str(seconds))
    if not page.get_by_label("Steps").is_visible():
        page.get_by_text("More", exact=True).click()
    page.get_by_label("Steps").fill(str(steps or ""))
    page.locator("#format").select_option(kind)
    page.get_by_role("button", name="Generate", exact=True).click()
    card = page.locator("article", has=page.get_by_role("heading", name=prompt)).first
    expect(card).to_be_visible()
    return card


def done(card: Locator) -> Locator:
    expect(card.get_by_role("button", name="Play")).to_be_visible()
    return card


def downloaded(page: Page, card: Locator) -> tuple[Any, int]:
    """A card's samples (n, channels) as its download link gives them."""
    with page.expect_download() as waited:
        card.get_by_role("link", name="Download").click()
    audio, rate = soundfile.read(waited.value.path(), dtype="int32", always_2d=True)
    return audio, rate


def test_a_loop_is_as_long_as_its_bars(page: Page) -> None:
    page.get_by_label("Make a loop").check()
    page.get_by_label("Tempo (bpm)").fill("126")
    page.get_by_label("Bars", exact=True).fill("2")
    audio, rate = downloaded(page, done(generate(page, "house drums in a loop", steps=2)))
    assert len(audio) == round(2 * 4 * 60 / 126 * rate)


def test_a_clip_is_made_followed_played_and_found_again_after_a_reload(page: Page) -> None:
    card = generate(page, "lofi piano by hand", seconds=10, steps=80)
    expect(card.get_by_role("progressbar")).to_be_visible()
    expect(card).to_contain_text("Composing")
    done(card)
    assert page.locator("#announce").inner_text() == "lofi piano by hand: done"
    position = card.get_by_role("slider", name="Position")
    card.get_by_role("button", name="Play").click()
    expect(card.get_by_role("button", name="Pause")).to_be_visible()
    page.wait_for_function("input => input.valueAsNumber > 0.2", arg=position.element_handle())
    card.get_by_role("button", name="Pause").click()
    position.focus()
    position.press("End")
    expect(card.locator(".time")).to_have_text("0:10 / 0:10")
    page.reload()
    found = page.locator("article", has=page.get_by_role("heading", name="lofi piano by hand"))
    expect(found).to_have_count(1)
    done(found)


def test_a_region_is_dragged_and_made_anew_and_the_rest_is_bit_identical(page: Page) -> None:
    first = done(generate(page, "before the edit", seconds=4))
    first.get_by_role("button", name="Edit:").click()
    area = page.locator(".select-area")
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    start, end = (page.get_by_label(name).input_value() for name in ("From (s)", "To (s)"))
    assert float(start) == pytest.approx(1.0, abs=0.05)
    assert float(end) == pytest.approx(2.0, abs=0.05)
    page.get_by_label("What do you want to hear?").fill("after the edit")
    page.get_by_role("button", name="Redo the region").click()
    second = done(page.locator("article", has=page.get_by_role("heading", name="after the edit")))
    before, rate = downloaded(page, first)
    after, _ = downloaded(page, second)
    assert before.shape == after.shape
    first_sample, last_sample, fade = int(float(start) * rate), int(float(end) * rate), int(0.031 * rate)
    np.testing.assert_array_equal(before[: first_sample - fade], after[: first_sample - fade])
    np.testing.assert_array_equal(before[last_sample + fade :], after[last_sample + fade :])
    assert (before[first_sample:last_sample] != after[first_sample:last_sample]).any()


def test_a_region_is_moved_by_keys_alone(page: Page) -> None:
    done(generate(page, "by keys", seconds=4)).get_by_role("button", name="Edit:").press("Enter")
    start = page.get_by_role("slider", name="Start of the region")
    end = page.get_by_role("slider", name="End of the region")
    start.focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "PageUp", "ArrowLeft"):
        start.press(key)
    assert start.get_attribute("aria-valuenow") == "1.10"
    start.press("Tab")
    assert end.evaluate("handle => handle === document.activeElement")
    end.press("Home")  # not before the start
    assert end.get_attribute("aria-valuenow") == "1.20"
    assert page.get_by_label("To (s)").input_value() == "1.2"
    page.get_by_label("Extend").check()
    expect(start).to_be_hidden()
    page.get_by_label("Seconds to add").fill("1")
    page.get_by_label("What do you want to hear?").fill("longer by keys")
    page.get_by_role("button", name="Extend", exact=True).press("Enter")
    card = done(page.locator("article", has=page.get_by_role("heading", name="longer by keys")))
    expect(card).to_contain_text("5 s")
    page.get_by_role("button", name="Leave the recording out").click()
    expect(page.get_by_text("Choose a file")).to_be_visible()


def test_a_region_is_chosen_by_touch(browser: Browser, served: Running, wav: Wav) -> None:
    with opened(browser, served, viewport=NARROW, has_touch=True, is_mobile=True) as page:
        file: FilePayload = {"name": "tone.wav", "mimeType": "audio/wav", "buffer": wav(seconds=2.0)}
        page.locator("#file").set_input_files([file])
        area = page.locator(".select-area")
        area.scroll_into_view_if_needed()
        box = area.bounding_box()
        assert box is not None
        touch = page.context.new_cdp_session(page)
        for kind, share in (("touchStart", 0.5), ("touchMove", 0.6), ("touchMove", 0.75), ("touchEnd", None)):
            point = {"x": box["x"] + box["width"] * (share or 0), "y": box["y"] + 20}
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [] if share is None else [point]})
        start, end = (float(page.get_by_label(name).input_value()) for name in ("From (s)", "To (s)"))
        assert [start, end] == pytest.approx([1.0, 1.5], abs=0.1)


def test_a_clip_is_cancelled_and_the_form_says_what_is_wrong(page: Page, served: Running) -> None:
    card = generate(page, "never mind", seconds=SLOW["seconds"], steps=900)
    expect(card).to_contain_text("Composing")
    card.get_by_role("button", name="Cancel").click()
    expect(card).to_contain_text("Cancelled.")
    card.get_by_role("button", name="Dismiss").click()
    expect(card).to_have_count(0)
    page.locator("#compose").evaluate("form => { form.noValidate = true; }")
    page.get_by_label("Seconds", exact=True).fill("100000")
    page.get_by_role("button", name="Generate", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("the longest clip is")


def test_two_takes_are_compared_in_place(page: Page) -> None:
    page.get_by_label("Takes").fill("2")
    generate(page, "two takes", seconds=3)
    cards = page.locator("article", has=page.get_by_role("heading", name="two takes"))
    expect(cards).to_have_count(2)
    for index, slot in enumerate("AB"):
        done(cards.nth(index)).get_by_role("button", name=f"Compare as {slot}").click()
    compare = page.get_by_role("region", name="Compare two clips")
    a, b = (compare.get_by_role("button", name=f"Hear {slot}") for slot in "AB")
    compare.get_by_role("button", name="Play both").click()
    position = compare.get_by_role("slider", name="Position in both")
    page.wait_for_function("input => input.valueAsNumber > 0.1", arg=position.element_handle())
    page.locator("body").press("x")
    expect(b).to_have_attribute("aria-pressed", "true")
    expect(a).to_have_attribute("aria-pressed", "false")
    assert position.evaluate("input => input.valueAsNumber") > 0.1  # the place is kept
    compare.get_by_role("button", name="Stop comparing").click()
    expect(compare).to_be_hidden()


def test_settings_are_used_again_and_a_clip_is_deleted(page: Page) -> None:
    card = done(generate(page, "settings of old", seconds=2, steps=5))
    page.get_by_label("What do you want to hear?").fill("something else")
    card.get_by_role("button", name="Use settings").click()
    assert page.get_by_label("What do you want to hear?").input_value() == "settings of old"
    assert page.get_by_label("Steps").input_value() == "5"
    card.get_by_role("button", name="Another seed").click()
    same = page.locator("article", has=page.get_by_role("heading", name="settings of old"))
    expect(same).to_have_count(2)
    done(same.first)
    page.on("dialog", lambda dialog: dialog.accept())
    same.first.get_by_role("button", name="Delete:").click()
    expect(same).to_have_count(1)


def test_the_dice_and_the_examples_fill_in_a_prompt(page: Page) -> None:
    prompt = page.get_by_label("What do you want to hear?")
    page.get_by_role("button", name="Surprise me with a prompt").click()
    assert len(prompt.input_value()) > 10
    page.get_by_role("list", name="Examples").get_by_role("button").first.click()
    assert "piano" in prompt.input_value()


def test_the_token_is_asked_for_once_and_never_stays_in_the_address(browser: Browser, tmp_path: Path) -> None:
    with running(Settings("demo", tmp_path, token="open sesame")) as server:  # noqa: S106
        with browser.new_context() as context:
            page = context.new_page()
            page.goto(server.url)
            page.get_by_label("Token", exact=True).fill("wrong")
            page.get_by_role("button", name="Open").click()
            expect(page.get_by_role("alert")).to_contain_text("not the server's token")
            page.get_by_label("Token", exact=True).fill("open sesame")
            page.get_by_role("button", name="Open").click()
            expect(page.locator("#folder")).to_contain_text(str(tmp_path))
        with browser.new_context() as context:
            page = context.new_page()
            page.goto(f"{server.url}/#token=open%20sesame")
            expect(page.locator("#folder")).to_contain_text(str(tmp_path))
            assert page.url == f"{server.url}/"


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["1280", "360"])
def test_axe_finds_nothing_serious_and_nothing_overflows(
    browser: Browser, served: Running, scheme: str, viewport: ViewportSize
) -> None:
    served.made(prompt="something to look at", seconds=2)
    with opened(browser, served, viewport=viewport, color_scheme=scheme, reduced_motion="reduce") as page:
        card = done(page.locator("article").first)
        card.get_by_role("button", name="Compare as A").click()
        card.get_by_role("button", name="Edit:").click()
        expect(page.get_by_role("slider", name="Start of the region")).to_be_visible()
        page.get_by_text("More", exact=True).click()
        _check(page)
        page.goto(f"{served.url}/docs")
        page.locator("details").nth(2).locator("summary").click()
        _check(page)


def _check(page: Page) -> None:
    results = Axe().run(page)
    serious = [found for found in results.response["violations"] if found["impact"] in ("serious", "critical")]
    assert not serious, [(found["id"], [node["html"] for node in found["nodes"]]) for found in serious]
    width = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1]


_WITHOUT_TIMES = """
for (const span of document.querySelectorAll(".meta span")) if (span.textContent.startsWith("made in")) span.remove();
"""


def screenshots(folder: Path) -> None:
    """The page with clips, at 1280 and at 360 pixels."""
    prompts = ("ambient pads", "techno drums", "lofi piano")
    with tempfile.TemporaryDirectory() as clips, running(Settings("demo", Path(clips) / "sa3-edge")) as server:
        for number, prompt in enumerate(prompts):
            server.made(prompt=prompt, seconds=12, seed=number + 7)
        with chromium() as browser:
            for viewport, scheme in ((WIDE, "dark"), ({**NARROW, "height": 1640}, "light")):
                with opened(browser, server, viewport=viewport, color_scheme=scheme, device_scale_factor=1.5) as page:
                    page.get_by_label("What do you want to hear?").fill("lofi piano")
                    if viewport is WIDE:
                        page.locator("article").first.get_by_role("button", name="Edit:").click()
                    # A folder's name in a picture should be a user's, not a test's.
                    page.locator("#folder").evaluate("folder => { folder.textContent = 'kept in ~/Music/sa3-edge'; }")
                    # Nor a time that was taken while the browser drew.
                    page.evaluate(_WITHOUT_TIMES)
                    page.evaluate("scrollTo(0, 0)")
                    expect(page.locator("canvas").first).to_have_attribute("data-drawn", "yes")
                    expect(page.locator("article canvas").first).to_have_attribute("data-drawn", "yes")
                    expect(page.locator("article canvas").nth(1)).to_have_attribute("data-drawn", "yes")
                    page.screenshot(path=folder / f"page-{viewport['width']}.png", full_page=False)


if __name__ == "__main__":
    screenshots(Path(sys.argv[1]))
