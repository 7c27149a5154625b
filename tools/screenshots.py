"""Take the pictures of the page that the README shows, in Debian's Chromium.

    python tools/screenshots.py

needs `chromium`, playwright and the extra `app`. The photographs are those of `examples/images`, degraded as the names say.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from rebridge.commands.degrade import degrade
from rebridge.commands.options import DegradeOptions

ROOT = Path(__file__).parents[1]
PICTURES = {"snow": "chelsea", "noise": "coffee", "lowlight": "astronaut"}
"""The photograph that each task spoils; the last one is shown on the phone."""
SEED = 3
SECONDS = 300.0
"""That the pictures may take."""
COLOURS = 256
"""Of the PNG files: they stay small."""


@contextmanager
def serving() -> Iterator[str]:
    """Run `rebridge serve`; yields its address."""
    command = [sys.executable, "-m", "rebridge.cli", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        found = re.search(r"http://\S+/", server.stdout.readline())
        try:
            assert found is not None, "the server did not start"
            yield found.group()
        finally:
            server.terminate()


def degraded(folder: Path) -> dict[str, Path]:
    """Spoil each photograph; the files are named after what ails them."""
    found = {}
    for task, name in PICTURES.items():
        source, output = ROOT / "examples" / "images" / f"{name}.jpg", folder / f"{name}-{task}.png"
        degrade(DegradeOptions(inputs=[source], output=output, task=task, seed=SEED, overwrite=True))
        found[task] = output
    return found


def restored(page: Any, files: list[Path]) -> None:
    """Send pictures, wait until all are restored, and show the last one; its slider stands in the middle."""
    page.set_input_files("#files", [str(file) for file in files])
    until = time.monotonic() + SECONDS
    while page.locator("#list li[data-state=done]").count() < len(files):
        assert time.monotonic() < until, "the pictures are not restored"
        time.sleep(0.25)
    page.click(f"#list li:nth-child({len(files)}) .name button")
    page.evaluate("document.getElementById('status').textContent = ''")
    page.wait_for_load_state("networkidle")
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")


def saved(shot: bytes, path: Path) -> None:
    """Write a screenshot with few colours."""
    picture = Image.open(io.BytesIO(shot)).convert("RGB")
    picture.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    print(f"{path}: {picture.width} x {picture.height} pixels, {path.stat().st_size / 1e3:.0f} kB")


def main() -> None:
    """Take both pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--work", type=Path, default=ROOT / "demo-results" / "screenshots")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    pictures = degraded(options.work)
    with serving() as address, sync_playwright() as run:
        browser = run.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        desk = browser.new_page(viewport={"width": 1080, "height": 800}, color_scheme="light")
        desk.goto(address)
        restored(desk, [pictures["noise"], pictures["snow"]])
        saved(desk.screenshot(), options.out / "app.png")
        phone = browser.new_page(viewport={"width": 360, "height": 780}, color_scheme="dark", is_mobile=True)
        phone.goto(address)
        restored(phone, [pictures["lowlight"]])
        phone.evaluate("document.getElementById('show').scrollIntoView()")
        saved(phone.screenshot(), options.out / "app-phone.png")
        browser.close()


if __name__ == "__main__":
    main()
