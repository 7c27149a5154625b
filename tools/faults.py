"""Faults: a run that is killed ends as one that is not, and nothing that was whole is lost.

    python tools/faults.py --kills 50              # as `make faults`

Real processes are killed (SIGKILL): training at any moment, training while it writes a checkpoint, and a restoration of several
files. Then files that may not grow, as on a full disk, and two programs that write the same results.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

# Imported once here instead of in each child, where most kills would otherwise fall into imports.
import accelerate  # noqa: F401
import numpy as np
import torch
import torch._dynamo

from rebridge.cli import app
from rebridge.commands import restore, train  # noqa: F401
from rebridge.images import Image, write_image

ROOT = Path(__file__).parent.parent
SLOWEST = 300.0
"""Seconds within which each program ends."""


class HarmError(AssertionError):
    """What must hold does not."""


def begin(*words: object, prepare: Callable[[], object] = lambda: None) -> int:
    """Start `rebridge` in a child that says nothing; its process number."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
            prepare()
            app([str(word) for word in words], prog_name="rebridge")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 71
    finally:
        os._exit(code)


def ended(child: int, within: float) -> int | None:
    """The exit code of a child that ends within so many seconds, else None; minus the signal's number for a killed one."""
    last = time.monotonic() + within
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= last:
            return None
        time.sleep(0.001)


def kill(child: int) -> None:
    """SIGKILL, and wait for the end."""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def finish(*words: object, expected: tuple[int, ...] = (0,)) -> int:
    """Run `rebridge` to its end; HarmError for another exit code than expected."""
    child = begin(*words)
    code = ended(child, SLOWEST)
    if code is None:
        kill(child)
    if code not in expected:
        raise HarmError(f"rebridge {' '.join(map(str, words))}: exit code {code} and not {expected}")
    return code


def contents(folder: Path, pattern: str = "*") -> dict[str, str]:
    """Checksums of the files below a folder."""
    files = (path for path in sorted(folder.rglob(pattern)) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def weights(run: Path) -> dict[str, str]:
    """Checksums of the model and of the newest checkpoint's tensors."""
    newest = max(run.glob("checkpoint-*"))
    return contents(run / "model", "*.safetensors") | contents(newest, "*.safetensors")


class Faults:
    """Pictures, a configuration, and what they give when nothing goes wrong.

    Args:
        folder: an empty one.
        seed: of the moments at which programs are killed.
    """

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder = folder
        self.draw = random.Random(seed)
        self.pictures = folder / "pictures"
        self.pictures.mkdir()
        rows, columns = np.mgrid[0:40, 0:48]
        for number in range(6):
            waves = np.sin(rows[..., None] / (3 + number) + np.arange(3)) * np.cos(columns[..., None] / 7 + number)
            write_image(
                self.pictures / f"{number}.png", Image(torch.from_numpy(0.5 + 0.4 * waves).permute(2, 0, 1).float())
            )
        self.settings = (f"data.clean={self.pictures}", "data.holdout=2", "optimisation.iterations=12")
        self.settings += ("checkpoint_every=2", "validate_every=6")
        began = time.monotonic()
        finish(*self.training("whole"))
        self.length = time.monotonic() - began
        self.model = folder / "whole" / "model"
        began = time.monotonic()
        finish(*self.restoring("restored"))
        self.restoration = time.monotonic() - began
        self.expected = contents(folder / "restored")

    def training(self, name: str, *more: str) -> tuple[str, ...]:
        """Words of a training run into a folder of this name."""
        return ("train", str(ROOT / "configs" / "tiny.yaml"), *self.settings, f"output={self.folder / name}", *more)

    def restoring(self, name: str, *more: str) -> tuple[str, ...]:
        """Words of a restoration of all pictures into a folder of this name."""
        words = (
            "restore",
            str(self.pictures),
            "-o",
            str(self.folder / name),
            "--model",
            str(self.folder / "whole" / "model"),
        )
        return (*words, *more)

    def killed_training(self) -> None:
        """Kill a run at random moments, up to four times, then let it end: the same bits."""
        self._killed(lambda child: ended(child, self.draw.uniform(0, self.length)))

    def killed_checkpoint(self) -> None:
        """Kill a run while it writes a checkpoint or the model."""

        def while_writing(child: int) -> int | None:
            last, chosen = time.monotonic() + SLOWEST, self.draw.randint(1, 6)
            seen: set[str] = set()
            while time.monotonic() < last:
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    return os.waitstatus_to_exitcode(status)
                seen |= {path.name for path in (self.folder / "run").glob(".*.part")}
                if len(seen) >= chosen:
                    return None
            raise HarmError("hangs")

        self._killed(while_writing)

    def killed_restoration(self) -> None:
        """Kill a restoration of several files: whole results or none; the next run ends the work and clears what is left."""
        out = self.folder / "out"
        child = begin(*self.restoring("out"))
        if ended(child, self.draw.uniform(0, 1.2 * self.restoration)) is None:
            kill(child)
        for name, found in contents(out, "*.png").items():
            if not Path(name).name.startswith(".") and found != self.expected[name]:
                raise HarmError(f"{name} is half written")
        finish(*self.restoring("out", "--skip-existing"))
        if contents(out) != self.expected:
            raise HarmError(f"{sorted(contents(out))} and not {sorted(self.expected)}")
        shutil.rmtree(out)

    def full_disk(self) -> None:
        """Let no file grow beyond some bytes: whole results or none, no leftovers, and what was there stays."""

        def small(limit: int) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        limit = self.draw.choice((10, 500, 2000, 5000))
        out = self.folder / "full"
        out.mkdir()
        (out / "0.png").write_bytes(b"precious")
        code = ended(begin(*self.restoring("full"), prepare=lambda: small(limit)), SLOWEST)
        found = contents(out)
        if code not in (1, 2) or (out / "0.png").read_bytes() != b"precious":
            raise HarmError(f"exit code {code} on a full disk, {sorted(found)}")
        wrong = [name for name in found if name != "0.png" and found[name] != self.expected.get(name)]
        if wrong:
            raise HarmError(f"left on a full disk: {wrong}")
        code = ended(begin(*self.training("run"), prepare=lambda: small(limit)), SLOWEST)
        if code not in (1, 2) or list((self.folder / "run").glob(".checkpoint*.part")):
            raise HarmError(f"training on a full disk: exit code {code}, {sorted(contents(self.folder / 'run'))}")
        for place in ("full", "run"):
            shutil.rmtree(self.folder / place, ignore_errors=True)

    def two_writers(self) -> None:
        """Let two programs write the same results, and two runs the same folder: one of each wins, nothing is mixed."""
        children = [begin(*self.restoring("both")) for _ in range(2)]
        codes = [ended(child, SLOWEST) for child in children]
        if None in codes or contents(self.folder / "both") != self.expected:
            raise HarmError(f"two restorations: exit codes {codes}, {sorted(contents(self.folder / 'both'))}")
        for child in (children := [begin(*self.training("run")) for _ in range(2)]):
            codes = [*codes, ended(child, SLOWEST)]
        if 0 not in codes[2:] or weights(self.folder / "run") != weights(self.folder / "whole"):
            raise HarmError(f"two trainings into one folder: exit codes {codes[2:]}")
        for place in ("both", "run"):
            shutil.rmtree(self.folder / place)

    def _killed(self, moment: Callable[[int], int | None]) -> None:
        for attempt in range(self.draw.randint(1, 4)):
            resumes = ["--resume"] if attempt and any((self.folder / "run").glob("checkpoint-*")) else []
            child = begin(*self.training("run", *resumes))
            if moment(child) is not None:
                break
            kill(child)
        finish(*self.training("run", *(["--resume"] if any((self.folder / "run").glob("checkpoint-*")) else [])))
        if weights(self.folder / "run") != weights(self.folder / "whole"):
            raise HarmError("a run that was killed and resumed has other weights than one that was not")
        left = [path.name for path in (self.folder / "run").glob(".*.part")]
        if left:
            raise HarmError(f"leftovers of a killed run: {left}")
        shutil.rmtree(self.folder / "run")


def main() -> None:
    """Try every fault; exit code 1 where one does harm."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=50, help="of training, of checkpoints and of restorations, each")
    parser.add_argument("--only", default="", help="the faults whose name begins so")
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        faults = Faults(Path(place), wanted.seed)
        plan = {faults.killed_training: wanted.kills, faults.killed_checkpoint: wanted.kills}
        plan |= {faults.killed_restoration: wanted.kills, faults.full_disk: 5, faults.two_writers: 5}
        for fault, times in plan.items():
            if not fault.__name__.startswith(wanted.only):
                continue
            harmless = 0
            for _ in range(times):
                try:
                    fault()
                    harmless += 1
                except HarmError as error:
                    print(f"{fault.__name__}: {error}", flush=True)
                    for name in ("run", "out", "full", "both"):
                        shutil.rmtree(Path(place) / name, ignore_errors=True)
            print(f"{fault.__name__}: {harmless} of {times} without harm", flush=True)
            failed += times - harmless
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
