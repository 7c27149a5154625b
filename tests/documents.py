"""What stands in the README and the documentation: blocks of code, links, headings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CODE_OF_CONDUCT.md", ROOT / "SECURITY.md",
                 ROOT / "examples" / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if path.is_file()
}  # fmt: skip
FENCE = re.compile(
    r"(?:<!-- (?:not run: (?P<reason>.+?)|[^\n]*?) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)```", re.DOTALL
)
COMMAND = re.compile(r"^(?:\$ )?(?:rebridge|python|pip|make|docker|curl|torchrun|accelerate|import|from|export) ")


@dataclass(frozen=True)
class Block:
    """A block of code of a page.

    Attributes:
        language: sh, python, yaml, ...
        code: what it holds.
        reason: why it is not run, or None.
    """

    language: str
    code: str
    reason: str | None

    @property
    def lines(self) -> list[str]:
        """Commands: lines without comments, those that end in a backslash joined with the next."""
        joined = self.code.replace("\\\n", " ")
        return [line.strip() for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def blocks(page: str, language: str | None = None) -> list[Block]:
    """List the fenced blocks of a page, of one language or of all."""
    text = PAGES[page].read_text(encoding="utf-8")
    found = [Block(one["language"], one["code"], one["reason"]) for one in FENCE.finditer(text)]
    return [block for block in found if language in (None, block.language)]


def run_lines(page: str) -> list[str]:
    """List the commands of a page that are run."""
    return [line for block in blocks(page, "sh") if block.reason is None for line in block.lines]


def outside_code(page: str) -> str:
    """The text of a page without its code."""
    text = re.sub(r"```.*?```", "", PAGES[page].read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def indented(page: str) -> list[str]:
    """List the first lines of indented blocks, which are formulas and no code."""
    lines = re.sub(r"```.*?```", "", PAGES[page].read_text(encoding="utf-8"), flags=re.DOTALL).splitlines()
    return [
        line.strip()
        for before, line in zip(["", *lines], lines, strict=False)
        if line.startswith("    ") and not before.strip()
    ]


def anchors(path: Path) -> set[str]:
    """Addresses of the headings of a page, as Markdown and GitHub both make them."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.replace("`", "").lower()).strip().replace(" ", "-") for head in heads}


def small_project(folder: Path) -> Path:
    """Fill a folder like the project's root, with what the pages speak of, all of it small; returns it."""
    examples = folder / "examples" / "images"
    examples.mkdir(parents=True)
    for path in sorted((ROOT / "examples" / "images").iterdir()):
        with Image.open(path) as photo:
            photo.resize((48, 40)).save(examples / path.name)
    for name in ("photos", "pairs/clean"):
        (folder / name).mkdir(parents=True)
    for path in examples.iterdir():
        with Image.open(path) as photo:
            photo.save(folder / "pairs" / "clean" / path.name)
    with Image.open(examples / "chelsea.jpg") as photo:
        for name in ("photos/one.png", "photos/two.jpg", "photo.png", "photo.jpg", "blurred.png"):
            photo.save(folder / name)
        photo.resize((12, 10)).save(folder / "small.png")
        Image.new("L", photo.size).save(folder / "scratches.png")
    (folder / "configs").symlink_to(ROOT / "configs")
    return folder
