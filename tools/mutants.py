"""Mutants: bugs of one line each, in copies of the tree; the tests must find nearly all of them.

    python tools/mutants.py                        # as `make mutants`; goes on where an earlier run was stopped
    python tools/mutants.py --check                # only: does each still stand in the code?
    python tools/mutants.py --only samplers        # those of one package
    python tools/mutants.py --last package         # without the whole suite for those that survive their package

`tools/mutants.txt` has the list. Each mutant meets the tests that mirror its module, then those of its package, and the whole
suite only where those do not find it. Whatever is slow to import is imported once: the tests run in forked children, one at a
time. Each verdict is added to a file at once; a bug that was found is not tried again, one that survived only when the code or
the tests have changed.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import hashlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
LIST = Path(__file__).with_suffix(".txt")
KILLED = 0.95
"""Least share that must be found."""
STAGES = ("own", "package", "whole")
"""The tests that mirror the module or are named in the list; those of the folders named there; the whole suite."""
PATIENCE = 600
"""Seconds after which a test is taken for one that hangs."""
IMPORTS = [
    "torch.utils.data",
    "torch._dynamo",
    "safetensors.torch",
    "cv2",
    "PIL.Image",
]
IMPORTS += ["tifffile", "pydantic", "typer", "rich", "yaml", "huggingface_hub", "hypothesis", "accelerate", "diffusers"]
IMPORTS += ["transformers", "fastapi.testclient", "scipy"]


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

    @property
    def name(self) -> str:
        """What the file of results calls it."""
        return f"{self.path}: {self.before} -> {self.after}"

    def applied(self, root: Path = ROOT) -> str:
        """The file's text with the bug.

        Raises:
            ValueError: what the list names does not stand there exactly once.
        """
        text = (root / self.path).read_text(encoding="utf-8")
        if text.count(self.before) != 1:
            raise ValueError(f"{self.path} holds {text.count(self.before)} times and not once: {self.before}")
        return text.replace(self.before, self.after)

    def stages(self, root: Path, last: str) -> Iterator[list[str]]:
        """Files of tests in the order to try them: the module's own, the package's, the whole suite.

        Args:
            root: of the tree.
            last: the stage to end with, one of STAGES.
        """
        folder, stem = os.path.split(self.file.removesuffix(".py"))
        named = [f"tests/{folder}/test_{stem}.py", *(f"tests/{name}" for name in self.tests)]
        own = [path for path in named if (root / path).is_file()]
        package = [path for name in named if (root / name).is_dir() for path in _tests(root, root / name)]
        seen: set[str] = set()
        for stage, found in zip(STAGES, (own, package, _tests(root, root / "tests")), strict=True):
            fresh = [path for path in dict.fromkeys(found) if path not in seen]
            seen.update(fresh)
            if fresh:
                yield fresh
            if stage == last:
                return


def _tests(root: Path, folder: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in sorted(folder.rglob("test_*.py"))]


def mutants(file: Path = LIST) -> list[Mutant]:
    """Read a list."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            place, tests, before, after = line.replace("\\n", "\n").split(" | ")
            found.append(Mutant(place, tuple(tests.split()), before, after))
    return found


class Watch:
    """A plug-in of pytest that says which test began last and which failed first; one that hangs ends the process."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Set the alarm."""
        os.write(self.pipe, f"{nodeid}\n".encode())
        signal.alarm(PATIENCE)

    def pytest_collectreport(self, report: Any) -> None:
        """Name a file that cannot even be imported."""
        if report.failed:
            os.write(self.pipe, f"{report.nodeid}\n".encode())


def failing(copy: Path, tests: list[str]) -> str | None:
    """Run tests in a child; the name of the first that fails or hangs, None where none does.

    Raises:
        RuntimeError: pytest could not run.
    """
    reading, writing = os.pipe()
    log = copy / "log.txt"
    child = os.fork()
    if not child:
        os.close(reading)
        _run(copy, tests, log, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        began = pipe.read().splitlines()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code in (0, 5):
        return None
    if code in (1, 2) or code < 0:
        return began[-1] if began else "collection"
    raise RuntimeError(f"pytest ended with {code}: {log.read_text(errors='replace')[-1000:]}")


def _run(copy: Path, tests: list[str], log: Path, pipe: int) -> None:
    """Be the child: leave no trace in the parent's streams, and end with pytest's exit code."""
    code = 70
    try:
        with log.open("w") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGHUP):  # ignored in the background, and by what tests start there
            signal.signal(number, signal.default_int_handler)
        os.chdir(copy)
        os.environ.update(PYTHONPATH=str(copy), OMP_NUM_THREADS="1", TMPDIR=str(copy / "tmp"))
        tempfile.tempdir = None
        sys.path.insert(0, str(copy))
        words = ["-q", "-x", "-m", "not slow", "-p", "no:cacheprovider", f"--basetemp={copy / 'tmp' / 'pytest'}"]
        code = int(pytest.main([*words, *tests], plugins=[Watch(pipe)]))
    finally:
        os._exit(code)


@contextlib.contextmanager
def copied(source: Path, mutant: Mutant | None = None) -> Iterator[Path]:
    """Copy a tree with its bytecode, with the bug; removed at the end."""
    with tempfile.TemporaryDirectory(prefix="mutant-", ignore_cleanup_errors=True) as place:
        copy = Path(place) / "tree"
        shutil.copytree(source, copy, symlinks=True)
        (copy / "tmp").mkdir(exist_ok=True)
        if mutant is not None:
            (copy / mutant.path).write_text(mutant.applied(source), encoding="utf-8")
            stem = Path(mutant.path).stem
            for stale in (copy / mutant.path).parent.glob(f"__pycache__/{stem}.*.pyc"):
                stale.unlink()
        yield copy


def template(folder: Path) -> tuple[Path, str]:
    """Copy what git knows of the tree and compile it; its place, and a digest of package and tests."""
    tree = folder / "template"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    digest = hashlib.sha256()
    for name in sorted(os.fsdecode(listed.stdout).split("\0")):
        if name and (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
            if name.startswith(("rebridge/", "tests/")):
                digest.update(name.encode() + (ROOT / name).read_bytes())
    compileall.compile_dir(tree / "rebridge", quiet=1)
    return tree, digest.hexdigest()[:16]


@dataclass
class Trial:
    """The mutants that were tried so far, and how to try one more.

    Args:
        tree: the code without a bug.
        state: digest of code and tests.
        results: file of verdicts, one a line, which is added to.
        last: the stage to end with where none before finds anything, one of STAGES.
    """

    tree: Path
    state: str
    results: Path
    last: str
    sound: dict[str, bool] = field(default_factory=dict)

    def verdicts(self) -> dict[str, dict[str, Any]]:
        """The last verdict on each mutant; one that survived counts for this code and these tests only."""
        if not self.results.exists():
            return {}
        lines = [json.loads(line) for line in self.results.read_text(encoding="utf-8").splitlines() if line]
        return {
            line["mutant"]: line
            for line in lines
            if line["killed"] or (line["state"] == self.state and line["last"] == self.last)
        }

    def killer(self, mutant: Mutant) -> str | None:
        """The test that finds a mutant; one that fails without the bug as well is no proof.

        Raises:
            RuntimeError: such a test.
        """
        with copied(self.tree, mutant) as copy:
            for tests in mutant.stages(self.tree, self.last):
                found = failing(copy, tests)
                if found is None:
                    continue
                if not self._passes(found):
                    raise RuntimeError(f"{found} fails without any bug: mend it first")
                return found
        return None

    def _passes(self, test: str) -> bool:
        if test not in self.sound:
            with copied(self.tree) as copy:
                self.sound[test] = test == "collection" or failing(copy, [test]) is None
        return self.sound[test]

    def judge(self, mutant: Mutant) -> str | None:
        """Try a mutant and write the verdict down; the test that finds it, None where none does."""
        began = time.monotonic()
        killer = self.killer(mutant)
        verdict = {"mutant": mutant.name, "killed": killer, "state": self.state, "last": self.last}
        verdict["seconds"] = f"{time.monotonic() - began:.1f}"
        self.results.parent.mkdir(parents=True, exist_ok=True)
        with self.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(verdict) + "\n")
        return killer


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--check", action="store_true", help="only look if each mutant can be made")
    parser.add_argument("--list", type=Path, default=LIST, help="another list, of the same form")
    parser.add_argument("--only", default="", help="those whose file begins so")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int)
    parser.add_argument("--last", choices=STAGES, default="whole", help="how far to look where nothing is found")
    parser.add_argument(
        "--results", type=Path, default=ROOT / "build" / "mutants.jsonl", help="verdicts, kept and read"
    )
    return parser.parse_args()


def main() -> None:
    """Try the mutants and name those that survive; exit code 1 where too many do."""
    wanted = arguments()
    chosen = [mutant for mutant in mutants(wanted.list) if mutant.file.startswith(wanted.only)]
    chosen = chosen[wanted.first :][: wanted.count]
    for mutant in chosen:
        mutant.applied()
    print(f"{len(chosen)} mutants of {len({mutant.file.split('/')[0] for mutant in chosen})} packages", flush=True)
    if wanted.check:
        return
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1")
    sys.path[:] = [place for place in sys.path if place not in ("", str(ROOT), str(ROOT / "tools"))]
    for name in IMPORTS:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        tree, state = template(Path(place))
        trial = Trial(tree, state, wanted.results, wanted.last)
        known = trial.verdicts()
        for mutant in chosen:
            try:
                killer = known[mutant.name]["killed"] if mutant.name in known else trial.judge(mutant)
            except RuntimeError as error:
                killer = None
                print(f"not tried: {error}")
            survivors += killer is None
            print(f"{'SURVIVES' if killer is None else 'killed'}: {mutant.name} [{killer}]", flush=True)
    share = 1 - survivors / max(len(chosen), 1)
    print(f"{len(chosen) - survivors} of {len(chosen)} killed, {100 * share:.1f} %")
    sys.exit(0 if share >= KILLED else 1)


if __name__ == "__main__":
    main()
