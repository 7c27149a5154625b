"""Mutants: bugs of one line each, in copies of the tree; the tests must find nearly all of them.

    python tools/mutants.py                        # as `make mutants`
    python tools/mutants.py --check                # only: does each still stand in the code?
    python tools/mutants.py --only samplers        # those of one package

`tools/mutants.txt` has the list. Each mutant runs the tests of its package, and the whole suite only where those do not find it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIST = Path(__file__).with_suffix(".txt")
KILLED = 0.95
"""Least share that must be found."""


@dataclass(frozen=True)
class Mutant:
    """A line of the list: a file of the package, the tests to run first, and the exchange."""

    file: str
    tests: tuple[str, ...]
    before: str
    after: str

    @property
    def path(self) -> str:
        """Place of the file below the root."""
        return f"rebridge/{self.file}"

    def applied(self, root: Path = ROOT) -> str:
        """The file's text with the bug.

        Raises:
            ValueError: what the list names does not stand there exactly once.
        """
        text = (root / self.path).read_text(encoding="utf-8")
        if text.count(self.before) != 1:
            raise ValueError(f"{self.path} holds {text.count(self.before)} times and not once: {self.before}")
        return text.replace(self.before, self.after)


def mutants() -> list[Mutant]:
    """Read the list."""
    found = []
    for line in LIST.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            file, tests, before, after = line.replace("\\n", "\n").split(" | ")
            found.append(Mutant(file, tuple(tests.split()), before, after))
    return found


def survives(mutant: Mutant, whole: bool) -> bool:
    """Run the tests on a copy with the bug; True where none fails."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as place:
        copy = Path(place)
        for name in ("rebridge", "tests", "configs", "examples", "benchmarks", "docs", "tools"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "Makefile"):
            shutil.copy(ROOT / name, copy / name)
        (copy / mutant.path).write_text(mutant.applied(), encoding="utf-8")
        chosen = [f"tests/{name}" for name in mutant.tests]
        return _passes(copy, chosen) and (not whole or _passes(copy, [f"--ignore={name}" for name in chosen]))


def _passes(copy: Path, words: list[str]) -> bool:
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", "-p", "no:cacheprovider", *words]
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pytest ended with {done.returncode}: {done.stdout[-500:]} {done.stderr[-500:]}")
    return done.returncode == 0


def main() -> None:
    """Try the mutants and name those that survive; exit code 1 where too many do."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="only look if each mutant can be made")
    parser.add_argument("--only", default="", help="those whose file begins so")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int)
    parser.add_argument(
        "--package-only", action="store_true", help="no whole suite for those that their package does not find"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    wanted = parser.parse_args()
    chosen = [mutant for mutant in mutants() if mutant.file.startswith(wanted.only)][wanted.first :][: wanted.count]
    for mutant in chosen:
        mutant.applied()
    print(f"{len(chosen)} mutants of {len({mutant.file.split('/')[0] for mutant in chosen})} packages")
    if wanted.check:
        return
    began, survivors = time.monotonic(), 0
    with ThreadPoolExecutor(wanted.jobs) as pool:
        for mutant, alive in zip(
            chosen, pool.map(lambda one: survives(one, not wanted.package_only), chosen), strict=True
        ):
            survivors += alive
            print(f"{'SURVIVES' if alive else 'killed'}: {mutant.path}: {mutant.after}", flush=True)
    share = 1 - survivors / max(len(chosen), 1)
    print(f"{len(chosen) - survivors} of {len(chosen)} killed, {100 * share:.1f} %; {time.monotonic() - began:.0f} s")
    sys.exit(0 if share >= KILLED else 1)


if __name__ == "__main__":
    main()
