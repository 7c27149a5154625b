"""The page in a real browser: Debian's chromium without a window, driven by playwright."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the extra app is not installed")

from rebridge.app.limits import Limits
from tests.app.servers import listening, picture

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

AXE = "axe-core@4.14.1"
SOON = 120_000
"""Milliseconds: machines are shared."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with listening(Limits()) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as run:
        found = run.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with opened(browser, address) as found:
        yield found


@contextmanager
def opened(browser: Any, address: str, **options: Any) -> Iterator[Any]:
    """A visitor's page; at the end no error may stand in the console."""
    context = browser.new_context(**options)
    found = context.new_page()
    problems: list[str] = []
    found.on("pageerror", lambda error: problems.append(str(error)))
    found.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    found.set_default_timeout(SOON)
    found.goto(address)
    found.wait_for_selector("#limits:has-text('megapixels')")
    yield found
    context.close()
    assert not [text for text in problems if "status of 4" not in text]


def files(*names: str, size: tuple[int, int] = (160, 120)) -> list[dict[str, Any]]:
    return [
        {"name": name, "mimeType": "image/png", "buffer": picture(number, size)} for number, name in enumerate(names)
    ]


def restored(page: Any, count: int = 1) -> None:
    until(page, f"document.querySelectorAll('#list li[data-state=done]').length === {count}")


def until(page: Any, truth: str) -> None:
    """Wait for an expression; playwright's own waiting needs `eval`, which the page forbids."""
    for _ in range(SOON // 50):
        if page.evaluate(truth):
            return
        time.sleep(0.05)
    raise AssertionError(truth)


def slow(page: Any) -> None:
    """Choose options under which a picture takes long."""
    page.click("#options summary")
    page.fill("#steps", "100")


def test_a_picture_is_restored_compared_and_downloaded(page: Any) -> None:
    page.set_input_files("#files", files("beach.png"))
    restored(page)
    page.wait_for_selector("#show:not([hidden])")
    assert "beach.png" in page.inner_text("#show-title")
    assert "rdbm-small" in page.inner_text("#facts")
    page.click("#show summary")
    assert "dbim" in page.inner_text("#how")
    for layer in ("#under img", "#over img"):
        until(page, f"document.querySelector('{layer}').naturalWidth === 160")
    page.fill("#slider", "20")
    assert page.eval_on_selector("#over", "node => node.style.clipPath").endswith("20%)")
    page.locator("#stage").scroll_into_view_if_needed()
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.4 * box["height"], steps=4)
    page.mouse.up()
    assert float(page.input_value("#slider")) == pytest.approx(70, abs=1)
    page.click("#views button[data-view=changed]")
    until(page, "document.querySelector('#under img').src.endsWith('changed')")
    assert page.is_hidden("#slider-row")
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "beach.png"
    assert Image.open(download.value.path()).size == (160, 120)


def test_zoom_and_pan_move_both_pictures_in_step(page: Any) -> None:
    page.set_input_files("#files", files("beach.png"))
    restored(page)
    page.click("#full")
    assert page.inner_text("#zoom") == "100 %"
    page.focus("#stage")
    page.keyboard.press("+")
    page.keyboard.press("ArrowLeft")
    under, over = page.eval_on_selector_all(".layer img", "nodes => nodes.map(node => node.style.transform)")
    assert under == over
    assert page.inner_text("#zoom") == "125 %"
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 120)
    page.mouse.up()
    moved, also = page.eval_on_selector_all(".layer img", "nodes => nodes.map(node => node.style.transform)")
    assert moved == also != under


def test_pictures_that_are_dropped_before_the_page_is_ready_come_once(browser: Any, address: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    held: list[Any] = []
    page.route("**/api/about", lambda route: held.append(route))
    page.goto(address)
    page.set_input_files("#files", files("early.png"))
    page.wait_for_timeout(300)
    assert page.locator("#list li[data-state=sending]").count() == 1
    held[0].continue_()
    restored(page)
    page.wait_for_timeout(300)
    assert page.locator("#list li").count() == 1
    context.close()


def test_several_pictures_come_as_one_zip_file(page: Any) -> None:
    page.set_input_files("#files", [*files("a.png"), *files("b.png", "a.png")])
    restored(page, 3)
    with page.expect_download() as download:
        page.click("#zip")
    assert sorted(zipfile.ZipFile(download.value.path()).namelist()) == ["a (2).png", "a.png", "b.png"]


def test_samples_bring_a_map_of_uncertainty_and_progress_shows_estimates(page: Any) -> None:
    page.click("#options summary")
    page.fill("#samples", "2")
    page.fill("#steps", "20")
    page.select_option("#sampler", "dbim:eta=1")
    page.set_input_files("#files", files("c.png", size=(320, 240)))
    page.wait_for_selector("#list li[data-state=running] img:not([hidden])")
    restored(page)
    page.click("#views button[data-view=uncertainty]")
    assert "Standard deviation" in page.get_attribute("#under img", "alt")


def test_a_picture_is_cancelled_and_tried_again(page: Any) -> None:
    slow(page)
    page.set_input_files("#files", files("d.png", size=(600, 500)))
    page.wait_for_selector("#list li[data-state=running]")
    page.click("#list button:has-text('Cancel')")
    page.wait_for_selector("#list li[data-state=cancelled]")
    page.fill("#steps", "1")
    page.click("#list button:has-text('Retry')")
    restored(page)


def test_what_is_no_picture_is_answered_with_a_sentence(page: Any) -> None:
    page.set_input_files("#files", [{"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture at all"}])
    page.wait_for_selector("#list li[data-state=failed]")
    assert "cannot be read as an image: no known image format." in page.inner_text("#list .words")


def test_a_phone_shows_all_of_it_in_its_width(browser: Any, address: str) -> None:
    with opened(browser, address, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True) as page:
        page.set_input_files(
            "#files", files("a-name-that-is-so-long-that-it-does-not-fit-into-one-line-of-a-phone.png")
        )
        restored(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.is_visible("#stage")


def test_dark_mode_is_dark_and_light_mode_is_light(browser: Any, address: str) -> None:
    found = {}
    for scheme in ("dark", "light"):
        with opened(browser, address, color_scheme=scheme) as page:
            colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
            found[scheme] = sum(int(part) for part in colour[4:-1].split(","))
    assert found["dark"] < 150
    assert found["light"] > 650


def test_the_keyboard_alone_restores_an_example_and_moves_the_slider(page: Any) -> None:
    def tab_to(selector: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate(f"document.activeElement.matches({selector!r})"):
                return
        raise AssertionError(f"{selector} is not reached by the keyboard")

    page.wait_for_selector("#examples button")
    tab_to("#examples button")
    page.keyboard.press("Enter")
    restored(page)
    tab_to("#list .name button")
    page.keyboard.press("Enter")
    tab_to("#slider")
    page.keyboard.press("ArrowRight")
    assert page.input_value("#slider") == "51"
    assert page.get_attribute("#slider", "aria-valuetext") == "51 % before, 49 % after"


def test_two_visitors_at_once_see_their_own_pictures(browser: Any, address: str) -> None:
    with opened(browser, address) as first, opened(browser, address) as second:
        first.set_input_files("#files", files("mine.png"))
        second.set_input_files("#files", files("yours.png"))
        for page, name in ((first, "mine.png"), (second, "yours.png")):
            restored(page)
            page.reload()
            page.wait_for_selector("#list li")
            assert page.locator("#list .name").all_inner_texts() == [name]


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, from npm."""
    folder = tmp_path_factory.mktemp("axe")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, which brings axe-core")
    try:
        subprocess.run([npm, "pack", AXE], cwd=folder, check=True, capture_output=True, timeout=60)
    except subprocess.SubprocessError:
        pytest.skip(f"npm does not deliver {AXE}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(browser: Any, address: str, axe: str, scheme: str) -> None:
    with opened(browser, address, color_scheme=scheme) as page:
        page.click("#options summary")
        page.set_input_files("#files", files("g.png"))
        restored(page)
        page.set_input_files("#files", [{"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture"}])
        page.wait_for_selector("#list li[data-state=failed]")
        page.evaluate(axe)
        for place in ("/", "/docs"):
            if place != "/":
                page.goto(address + place)
                page.wait_for_selector("h2")
                page.evaluate(axe)
            found = page.evaluate("async () => (await axe.run()).violations")
            assert not [f"{place}: {fault['id']}: {fault['nodes'][0]['html']}" for fault in found]


def test_all_controls_have_names(page: Any) -> None:
    page.set_input_files("#files", files("e.png"))
    restored(page)
    nameless = page.evaluate(
        "[...document.querySelectorAll('button, a, input, select, progress')].filter(node => !(node.ariaLabel || "
        "node.textContent.trim() || (node.labels && node.labels.length))).map(node => node.outerHTML)"
    )
    assert nameless == []
    assert page.evaluate(
        "document.querySelectorAll('[id]').length === new Set([...document.querySelectorAll('[id]')].map(n => n.id)).size"
    )


def test_the_documentation_of_the_api_lists_its_routes(browser: Any, address: str) -> None:
    with opened(browser, address) as page:
        page.goto(f"{address}/docs")
        page.wait_for_selector("h2:has-text('POST /api/jobs')")
        assert "sampler" in page.inner_text("#routes")


def test_the_download_of_all_is_a_whole_archive(page: Any) -> None:
    page.set_input_files("#files", files("f.png"))
    restored(page)
    answer = page.request.get(page.url + "api/results.zip")
    assert zipfile.ZipFile(io.BytesIO(answer.body())).testzip() is None


def test_page_and_examples_are_small(address: str) -> None:
    from rebridge.app.api import STATIC

    assert sum(path.stat().st_size for path in STATIC.glob("*") if Path(path).is_file()) < 100_000


def test_what_was_found_is_shown_with_its_certainty(page: Any) -> None:
    page.click("#examples button:has-text('noise')")
    restored(page)
    assert "Found noise (" in page.inner_text("#found")
    assert "Treated: noise." in page.inner_text("#found")


def test_the_strength_is_sent_and_no_change_is_no_change(page: Any) -> None:
    page.focus("#strength")
    page.keyboard.press("Home")
    assert page.inner_text("#strength-value") == "0 %"
    page.click("#examples button:has-text('noise')")
    restored(page)
    assert "0 % of the pixels changed" in page.inner_text("#facts")


def test_a_mask_is_painted_and_what_it_covers_is_filled(page: Any) -> None:
    page.set_input_files("#files", files("scratched.png"))
    restored(page)
    page.click("#start-painting")
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 60, box["y"] + box["height"] / 2 + 20, steps=5)
    page.mouse.up()
    page.click("#fill")
    restored(page, 2)
    page.click("#list li:nth-child(2) .name button")
    assert "% of the picture, drawn by inpaint-small; the rest is as it was." in page.inner_text("#found")
    assert page.is_hidden("#painting")


def test_a_mask_is_painted_by_the_keyboard_too(page: Any) -> None:
    page.set_input_files("#files", files("scratched.png"))
    restored(page)
    page.click("#start-painting")
    page.focus("#stage")
    page.keyboard.press(" ")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press(" ")
    assert page.evaluate("brush.strokes.length") == 2
    page.click("#undo")
    assert page.evaluate("brush.strokes.length") == 1
    page.click("#clear")
    page.click("#fill")
    until(page, "document.querySelector('#status').textContent === 'Nothing is painted yet.'")


def test_the_loupe_shows_both_at_100_percent(page: Any) -> None:
    page.set_input_files("#files", files("beach.png", size=(400, 300)))
    restored(page)
    page.click("#look-closer")
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    left, right = page.eval_on_selector_all("#loupe div", "nodes => nodes.map(node => node.style.backgroundImage)")
    assert left.endswith('/views/before")')
    assert right.endswith('/views/after")')
    place = page.eval_on_selector("#loupe div", "node => node.style.backgroundPosition")
    x, y = (float(part.removesuffix("px")) for part in place.split())
    half = page.eval_on_selector("#loupe div", "node => [node.clientWidth / 2, node.clientHeight / 2]")
    assert [x - half[0], y - half[1]] == pytest.approx([-200, -150], abs=3)
    page.click("#look-closer")
    assert page.is_hidden("#loupe")


def test_the_page_is_small_and_there_at_once(browser: Any, address: str) -> None:
    context = browser.new_context()
    found = context.new_page()
    sizes: list[int] = []
    found.on("response", lambda answer: sizes.append(len(answer.body())))
    found.goto(address)
    found.wait_for_selector("#limits:has-text('megapixels')")
    found.wait_for_load_state("networkidle")
    total = sum(sizes)
    times = []
    for _ in range(4):  # the machine may be busy with other tests at one moment
        times.append(found.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"))
        found.reload()
    context.close()
    assert total < 100_000
    assert min(times) < 300
