"""The page of takes, opened from a disk in headless Chromium.

python -m tests.edge.takes.test_page FOLDER writes the picture of the documentation there.
"""

import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize, expect

from sa3_edge.takes import write_page
from tests.chromium import NARROW, WIDE, chromium, needs_chromium
from tests.conftest import RunCli

pytestmark = needs_chromium
PROMPT = '</script><b>"techno" & drums'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("takes") / "my takes #1"
    arguments = ["generate", PROMPT, "--takes", "3", "--seed", "5", "-s", "3", "-m", "demo", "-o", str(folder), "-q"]
    subprocess.run([sys.executable, "-m", "sa3_edge", *arguments], check=True)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, folder: Path) -> Iterator[Page]:
    """The page; afterwards nothing must have gone wrong in it, and nothing have been asked of a network."""
    with browser.new_context(viewport=WIDE, permissions=["clipboard-read", "clipboard-write"]) as context:
        page = context.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        local = ("file:", "data:", "blob:")
        page.on("request", lambda request: None if request.url.startswith(local) else wrong.append(request.url))
        page.goto((folder / "index.html").as_uri())
        yield page
        assert not wrong


def test_a_take_plays_loops_and_is_sought_in(page: Page) -> None:
    first = page.locator("article").first
    expect(first).to_contain_text('<b>"techno" & drums')
    expect(first).to_contain_text("seed 5")
    first.get_by_role("button", name="Loop").click()
    first.get_by_role("button", name="Play").click()
    expect(first.get_by_role("button", name="Pause")).to_be_visible()
    position = first.get_by_role("slider")
    page.wait_for_function("input => input.valueAsNumber > 0.2", arg=position.element_handle())
    assert page.evaluate("audio.loop")
    first.get_by_role("button", name="Pause").click()
    position.focus()
    position.press("End")
    expect(first.locator(".time")).to_have_text("0:03 / 0:03")


def test_stars_and_notes_are_kept_and_saved_as_a_file_that_the_next_page_reads(page: Page, folder: Path) -> None:
    second = page.locator("article").nth(1)
    second.get_by_role("button", name="Star").click()
    second.get_by_role("textbox").fill("the good one")
    page.reload()
    expect(page.locator("article").nth(1).get_by_role("button", name="Star")).to_have_attribute("aria-pressed", "true")
    page.get_by_label("stars only").check()
    expect(page.locator("article")).to_have_count(1)
    page.locator("article").get_by_role("button", name="Star").press("Enter")  # off, and on again
    page.get_by_label("stars only").uncheck()
    page.locator("article").nth(1).get_by_role("button", name="Star").click()
    with page.expect_download() as waited:
        page.get_by_role("button", name="Save stars").click()
    waited.value.save_as(folder / "stars.json")
    saved = json.loads((folder / "stars.json").read_text(encoding="utf-8"))
    (name,) = saved
    assert saved[name] == {"star": True, "note": "the good one"}
    assert (folder / name).is_file()
    page.evaluate("localStorage.clear()")
    write_page(folder)
    page.reload()
    expect(page.locator("article").nth(1).get_by_role("textbox")).to_have_value("the good one")
    (folder / "stars.json").unlink()
    write_page(folder)


def test_the_command_of_a_take_is_copied(page: Page) -> None:
    page.locator("article").first.get_by_role("button", name="Copy command").click()
    copied: str = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("sa3-edge generate '</script><b>\"techno\" & drums'")
    assert {"--seconds 3.0", "--seed 5", "--model demo"} <= {
        " ".join(pair) for pair in itertools.pairwise(copied.split())
    }


def test_two_takes_are_compared_from_the_same_moment(page: Page) -> None:
    first, second = page.locator("article").first, page.locator("article").nth(1)
    first.get_by_role("button", name="as A").click()
    second.get_by_role("button", name="as B").click()
    first.get_by_role("slider").fill("1.5")
    expect(first.locator(".time")).to_have_text("0:01 / 0:03")
    page.keyboard.press("x")
    expect(second).to_have_class("current")
    page.wait_for_function("audio.currentTime >= 1.5")
    expect(page.locator("#slot-B")).to_have_class("on")


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["1280", "360"])
def test_axe_finds_nothing_and_nothing_overflows(
    browser: Browser, folder: Path, scheme: str, viewport: ViewportSize
) -> None:
    with browser.new_context(viewport=viewport, color_scheme=scheme) as context:  # type: ignore[arg-type]
        page = context.new_page()
        page.goto((folder / "index.html").as_uri())
        page.locator("article").first.get_by_role("button", name="as A").click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


def test_a_page_of_somebody_else_is_not_replaced(run_cli: RunCli, tmp_path: Path) -> None:
    assert run_cli("generate", "x", "-s", 1, "-m", "demo", "-o", tmp_path / "x.flac")[0] == 0
    (tmp_path / "index.html").write_text("my own", encoding="utf-8")
    code, _, err = run_cli("page", tmp_path)
    assert code != 0
    assert "index.html" in err
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == "my own"


def test_variations_of_a_clip_begin_with_it_and_have_a_page(run_cli: RunCli, folder: Path) -> None:
    clip = next(folder.glob("*-5.wav"))
    code, out, err = run_cli("vary", clip, "--takes", 2, "--amount", 0.2)
    assert code == 0, err
    made = folder / f"{clip.stem}-variations"
    assert str(made / "index.html") in out
    assert len(list(made.glob("*.wav"))) == 2
    info = json.loads(run_cli("info", next(made.glob("*.wav")), "--json")[1])
    assert (info["prompt"], info["model"], info["options"]["noise_level"]) == (PROMPT, "demo", 0.2)
    assert info["options"]["init_audio"] == f"../{clip.name}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("generate", "x", "--takes", 0), "--takes must be from 1 to 200"),
        (("generate", "x", "--takes", 2, "-o", "x.wav"), "takes go into a folder"),
        (("generate", "x", "--takes", 2, "-o", "-"), "takes go into a folder"),
        (("generate", "x", "--takes", 2, "--count", 2), "--takes does not go with"),
        (("page", "nowhere"), "there is no folder nowhere"),
        (("page", "."), "there is no clip in ."),
        (("vary", "nowhere.wav"), "nowhere.wav does not exist"),
    ],
)
def test_invalid_requests_are_explained_in_one_line(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SA3_EDGE_MODEL", "demo")
    code, _, err = run_cli(*arguments)
    assert (code, message in err, len(err.strip().splitlines())) == (2, True, 1), err
    assert list(tmp_path.iterdir()) == []


def test_an_invalid_file_of_stars_is_refused_and_kept(run_cli: RunCli, tmp_path: Path) -> None:
    assert run_cli("generate", "x", "-s", 1, "-m", "demo", "-o", tmp_path / "x.flac")[0] == 0
    (tmp_path / "stars.json").write_text("[" * 5000, encoding="utf-8")
    code, _, err = run_cli("page", tmp_path)
    assert (code, "holds no stars" in err) == (2, True)
    assert (tmp_path / "stars.json").stat().st_size == 5000


def screenshot(out: Path) -> None:
    """docs/images/takes.png: four takes of the demo model."""
    with tempfile.TemporaryDirectory() as temporary, chromium() as browser:
        folder = Path(temporary) / "techno drums"
        arguments = ["generate", "techno drums", "--takes", "4", "--seed", "1", "-s", "10", "-m", "demo"]
        subprocess.run([sys.executable, "-m", "sa3_edge", *arguments, "-o", str(folder)], check=True)
        page = browser.new_page(viewport=WIDE, color_scheme="dark")
        page.goto((folder / "index.html").as_uri())
        page.locator("article").nth(1).get_by_role("button", name="Star").click()
        page.locator("article").nth(1).get_by_role("slider").fill("4")
        page.locator("article").first.get_by_role("button", name="as A").click()
        page.locator("article").nth(1).get_by_role("button", name="as B").click()
        page.wait_for_timeout(500)
        page.screenshot(path=out / "takes.png")


if __name__ == "__main__":
    screenshot(Path(sys.argv[1]))
