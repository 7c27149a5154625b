"""Odd input of every kind, at random and repeatable: a result or one sentence, and nothing else.

    python tools/fuzz.py --cases 10000            # as `make fuzz`
    python tools/fuzz.py --only options:123       # one case again, with all it prints

A case is a kind and a number. Each runs in a forked child with limits of time and memory, in a folder of its own, as the command
line would run it. It fails by a traceback, an exit code that is not documented, a hang, memory over the limit, a changed input, a
half-written file, or the payload that odd files carry.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import torch
import typer
import yaml

from rebridge import bridges, commands, networks
from rebridge.cli import app
from rebridge.images import Image, ImageError, read_image, write_image
from rebridge.models import TrainedModel
from tools.sentences import foreign_words

SECONDS = 60
"""Of computing, after which a case hangs; and five times as long by the clock, as machines are shared."""
MEMORY = 4 * 2**30
KINDS = {"files": 5, "options": 4, "models": 3, "configurations": 1}
"""Kinds of cases, and how many of each come in a round."""
SUFFIXES = (".png", ".jpg", ".tif", ".webp", ".bmp", ".avif", ".jp2", ".ppm")
PAYLOAD = "payload-ran"
NUMBERS = ["-1", "0", "1", "2", "3", "1.5", "1e9", "1e300", "-1e300", "nan", "inf", "9" * 30, "0x10", "2**9"]
WORDS = ["", " ", "x", "none", "null", "true", "[]", "{}", "a=b", "name=x", "a,b", ":", "dbim:eta=2", "goub:lam=inf"]
WORDS += [
    "../x",
    "/dev/null",
    "/dev/zero",
    "/proc/self/mem",
    "-",
    "--",
    "*",
    "?",
    "[",
    "%s",
    "{0}",
    "\u5199",
    "a\0b",
    "\udcff",
]
WORDS += ["x" * 5000, "y\ny", "rain", "noise@", "noise@-1", "sr4", "1x1", "100000x100000", "cuda", "meta", "float16"]


@dataclass(frozen=True)
class Case:
    """A kind of odd input and a number that seeds it."""

    kind: str
    number: int

    @property
    def draw(self) -> random.Random:
        """Random numbers of this case alone."""
        return random.Random(f"{self.kind}:{self.number}")

    def __str__(self) -> str:
        return f"{self.kind}:{self.number}"


@dataclass(frozen=True)
class Outcome:
    """What became of a case: what is wrong with it, or None, and the exit code."""

    case: Case
    problem: str | None
    code: int | None = None


class Materials:
    """Sound files that cases are made of: pictures, a model, a configuration."""

    def __init__(self, folder: Path) -> None:
        self.pictures = folder / "pictures"
        self.model = folder / "model"
        self.pictures.mkdir()
        warnings.simplefilter("ignore")
        y, x = np.mgrid[:20, :28]
        samples = np.stack([8 * x, 12 * y, 4 * (x + y), 255 - 6 * x], -1).astype(np.float32) / 255
        planes = torch.from_numpy(samples).permute(2, 0, 1)
        for suffix in SUFFIXES:
            if suffix == ".ppm":
                data = b"P6 28 20 255\n" + (255 * samples[..., :3]).astype(np.uint8).tobytes()
                (self.pictures / "a.ppm").write_bytes(data)
                continue
            exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
            write_image(self.pictures / f"a{suffix}", Image(planes[:3], exif=exif, comment=b"words"))
        for suffix in (".png", ".tif"):
            write_image(self.pictures / f"deep{suffix}", Image(planes[:3], 16, planes[3:]))
        torch.manual_seed(0)
        network = networks.create("fast", widths=[4, 4], blocks=[1], middle=1, embedding=4)
        model = TrainedModel.of(
            network, bridges.create("rdbm"), "residual", tasks=["rain"], sampler={"name": "dbim", "steps": 1}
        )
        model.save_pretrained(self.model)
        self.configuration = {
            "data": {"clean": "pictures", "tasks": ["rain"], "patch": 16, "workers": 0},
            "network": {"name": "fast", "widths": [4, 4], "blocks": [1], "middle": 1, "embedding": 4},
            "bridge": {"name": "rdbm"},
            "optimisation": {"iterations": 1, "batch": 1, "lr": 1e-3},
            "output": "run",
        }


def fuzz(cases: Sequence[Case], jobs: int = 1, seconds: int = SECONDS) -> Iterator[Outcome]:
    """Run cases, each in a child of its own, several at once."""
    torch.set_num_threads(1)
    for module in sorted(Path(commands.__path__[0]).glob("*.py")):  # once here, instead of in each child
        importlib.import_module(f"rebridge.commands.{module.stem}")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        materials = Materials(Path(place))
        waiting, running = list(reversed(cases)), list[Child]()
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(Child(waiting.pop(), materials, Path(place), seconds))
            time.sleep(0.002)
            for child in list(running):
                outcome = child.outcome(seconds)
                if outcome is not None:
                    running.remove(child)
                    yield outcome


def rounds(count: int, first: int = 0) -> list[Case]:
    """List cases of all kinds in their shares."""
    cycle = [kind for kind, share in KINDS.items() for _ in range(share)]
    return [Case(cycle[number % len(cycle)], number) for number in range(first, first + count)]


class Child:
    """A forked process that tries one case and tells through a pipe what became of it."""

    def __init__(self, case: Case, materials: Materials, place: Path, seconds: int) -> None:
        self.case = case
        self.folder = Path(tempfile.mkdtemp(prefix="case-", dir=place))
        self.began = time.monotonic()
        self.told, tells = os.pipe()
        self.number = os.fork()
        if self.number:
            os.close(tells)
            return
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            found = _attempt(case, materials, self.folder)
        except BaseException:
            found = {"problem": "the fuzzer itself: " + traceback.format_exc(limit=-3)}
        os.write(tells, json.dumps(found).encode()[:60_000])
        os._exit(0)

    def outcome(self, seconds: int) -> Outcome | None:
        """What became of the case, or None while it runs."""
        ended, status = os.waitpid(self.number, os.WNOHANG)
        if not ended and time.monotonic() - self.began < 5 * seconds:
            return None
        if not ended:
            os.kill(self.number, signal.SIGKILL)
            os.waitpid(self.number, 0)
        with os.fdopen(self.told, "rb") as pipe:
            answer = pipe.read()
        shutil.rmtree(self.folder, ignore_errors=True)
        if not ended:
            return Outcome(self.case, f"hangs for {5 * seconds} s")
        if os.WIFSIGNALED(status) or not answer:
            return Outcome(self.case, f"ended by signal {os.WTERMSIG(status) if os.WIFSIGNALED(status) else status}")
        return Outcome(self.case, **json.loads(answer))


def _attempt(case: Case, materials: Materials, folder: Path) -> dict[str, Any]:
    """Make a case's files, run its command, and look at what became of them."""
    os.chdir(folder)
    os.environ |= {"HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    draw = case.draw
    arguments = MAKERS[case.kind](draw, materials, folder)
    before = _hashes(folder)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    text = io.StringIO()
    code, problem = 0, None
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            app(arguments, prog_name="rebridge")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 2
        except BaseException as error:
            problem = f"{type(error).__name__}: {traceback.format_exc(limit=-4)[-1500:]}"
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    problem = problem or _judged(code, text.getvalue(), folder, before)
    if problem:
        problem = f"rebridge {' '.join(repr(word)[:200] for word in arguments)}: {problem}"
    return {"problem": problem, "code": code}


def _judged(code: int, text: str, folder: Path, before: dict[str, str]) -> str | None:
    """Say what is wrong with the end of a command, or None."""
    if code not in (0, 1, 2):
        return f"exit code {code}"
    words = foreign_words(text)
    if words is not None:
        return f"words of Python: {words}"
    if code == 2 and not text.strip():
        return "exit code 2 without a word"
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > MEMORY:
        return "memory over the limit"
    after = _hashes(folder)
    changed = [name for name in before if after.get(name) != before[name]]
    if changed:
        return f"changed {', '.join(changed)}"
    if any(PAYLOAD in name for name in after):
        return "the payload ran"
    for name in after.keys() - before.keys():
        if name.endswith(".part"):
            return f"left {name}"
        if Path(name).suffix in SUFFIXES:
            try:
                read_image(folder / name, strict=True)
            except ImageError as error:
                return f"half written: {error}"
    return None


def _hashes(folder: Path) -> dict[str, str]:
    """Contents of all regular files below a folder, by name."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _spoilt(data: bytes, draw: random.Random) -> bytes:
    """Bytes with one to three things wrong with them."""
    content = bytearray(data)
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(len(content) + 1)
        length = draw.choice((1, 2, 4, 16, 200))
        kind = draw.randrange(7)
        if kind == 0:
            del content[place:]
        elif kind == 1:
            content[place : place + length] = draw.randbytes(length)
        elif kind == 2:
            content[place : place + length] = bytes(length)
        elif kind == 3:
            content[place:place] = draw.randbytes(length)
        elif kind == 4:
            del content[place : place + length]
        elif kind == 5:
            content[place : place + 4] = draw.choice(
                (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1", b"\x80\0\0\0")
            )
        else:
            content += content[place : place + length] * draw.randint(1, 50)
    return bytes(content)


def _file_case(draw: random.Random, materials: Materials, folder: Path) -> list[str]:
    """Damaged pictures, of which some have another's suffix or an odd name."""
    inputs = folder / "in"
    inputs.mkdir()
    for _ in range(draw.randint(1, 3)):
        source = draw.choice(sorted(materials.pictures.iterdir()))
        suffix = source.suffix if draw.random() < 0.8 else draw.choice(SUFFIXES)
        stem = draw.choice(("a", "b", "\u5199" * 60, "a b", "-x", "[red]", "*", ".hidden"))
        data = source.read_bytes()
        data = _spoilt(data, draw) if draw.random() < 0.85 else b"%!PS\n(" + PAYLOAD.encode() + b") (w) file closefile"
        (inputs / f"{stem}{suffix}").write_bytes(data)
    whole = ["in"] if draw.random() < 0.6 else [f"in/{name.name}" for name in inputs.iterdir()]
    command = draw.choice(("restore", "restore", "degrade", "inspect", "enlarge"))
    words = [command, *(word if not word.startswith("-") else f"./{word}" for word in whole)]
    if command != "inspect":
        words += ["-o", draw.choice(("out", "out", "in", "out/deep", "a.png"))]
        words += ["--format", draw.choice(SUFFIXES)[1:]] if draw.random() < 0.3 else []
    if command == "restore":
        words += ["--model", str(materials.model)]
    if command == "degrade":
        words += ["--task", draw.choice(("rain", "blur", "jpeg", "sr2", "noise"))]
    return words + (["--strict"] if command != "inspect" and draw.random() < 0.2 else [])


def _option_case(draw: random.Random, materials: Materials, folder: Path) -> list[str]:
    """Options of any command with odd values."""
    shutil.copytree(materials.pictures, folder / "in")
    group: Any = typer.main.get_command(app)
    known = {name: found for name, found in group.commands.items() if name not in ("serve", "train", "tune", "doctor")}
    name = draw.choice(sorted(known))
    arguments = {
        "restore": ["in/a.png", "-o", "out", "--model", str(materials.model)],
        "degrade": ["in/a.png", "-o", "out", "--task", "rain"],
        "enlarge": ["in/a.png", "-o", "out"],
        "inspect": ["in/a.png"],
        "solve": ["in/a.png", "-o", "out", "--simulate", "--steps", "2"],
        "evaluate": ["--clean", "in", "--task", "rain", "--limit", "1", "--model", str(materials.model)],
        "compare": [
            "--analytic",
            "--steps",
            "1",
            "--seeds",
            "0",
            "--samples",
            "50",
            "--bridge",
            "goub",
            "--sampler",
            "dbim",
        ],
        "info": [str(materials.model)],
        "convert": [str(materials.model / "model.safetensors")],
    }.get(name, [])
    options = [part for part in known[name].params if part.param_type_name == "option" and part.opts[0] != "--help"]
    for part in draw.sample(options, min(draw.randint(1, 3), len(options))):
        if part.opts[0] in ("--open", "--compile", "--install-completion", "--show-completion"):
            continue
        value = draw.choice(NUMBERS if draw.random() < 0.5 else WORDS)
        flag = draw.choice(part.opts)
        arguments += [flag] if getattr(part, "is_flag", False) else [flag, value]
    if draw.random() < 0.15:
        arguments.append(draw.choice(WORDS))
    return [name, *arguments]


def _model_case(draw: random.Random, materials: Materials, folder: Path) -> list[str]:
    """A model folder with something wrong in it."""
    shutil.copytree(materials.model, folder / "model")
    shutil.copytree(materials.pictures, folder / "in")
    config = folder / "model" / "config.json"
    kind = draw.randrange(6)
    if kind == 0:
        config.write_bytes(_spoilt(config.read_bytes(), draw))
    elif kind == 1:
        weights = folder / "model" / "model.safetensors"
        weights.write_bytes(_spoilt(weights.read_bytes(), draw))
    elif kind == 2:
        path = folder / "model" / draw.choice(("config.json", "model.safetensors", "presets.json"))
        path.unlink(missing_ok=True)
        draw.choice((os.mkfifo, os.mkdir, lambda name: os.symlink("/dev/zero", name)))(path)
    elif kind == 3:
        (folder / "model" / "presets.json").write_text(draw.choice(("[" * 5000, "{}", '{"rain": 3}', "null", "NaN")))
    else:
        content = json.loads(config.read_text())
        if draw.random() < 0.7:
            content.pop("sha256", None)
        config.write_text(json.dumps(_changed(content, draw)))
    if draw.random() < 0.4:
        return ["info", "model"]
    return ["restore", "in/a.png", "-o", "out", "--model", "model"]


def _configuration_case(draw: random.Random, materials: Materials, folder: Path) -> list[str]:
    """A configuration of training with odd values, keys or syntax."""
    shutil.copytree(materials.pictures, folder / "pictures")
    for path in (folder / "pictures").iterdir():
        if path.name != "a.png":
            path.unlink()
    text = yaml.safe_dump(_changed(materials.configuration, draw))
    if draw.random() < 0.3:
        text = _spoilt(text.encode(), draw).decode("utf-8", "replace")
    if draw.random() < 0.1:
        text = (
            "a: &a [x, x]\n"
            + "".join(f"b{i}: &b{i} [*{'a' if not i else f'b{i - 1}'}, *a]\n" for i in range(60))
            + text
        )
    (folder / "config.yaml").write_text(text)
    words = ["train", "config.yaml"]
    if draw.random() < 0.3:
        keys = (
            "optimisation.iterations",
            "data.patch",
            "optimisation.lr",
            "bridge.name",
            "network.widths",
            "x.y",
            "seed",
        )
        words.append(f"{draw.choice(keys)}={draw.choice(NUMBERS + WORDS)}")
    return words


def _changed(content: Any, draw: random.Random) -> Any:
    """A copy with one to three values exchanged, dropped or added."""
    content = json.loads(json.dumps(content))
    for _ in range(draw.randint(1, 3)):
        place = content
        while isinstance(place, dict) and place:
            key = draw.choice(sorted(place))
            if isinstance(place[key], dict) and draw.random() < 0.8:
                place = place[key]
                continue
            odd: Any = draw.choice(
                (None, True, -1, 0, 10**12, 1e308, "x", "", [], {}, [[1]], "__import__('os')", 1.5, [10**9])
            )
            if draw.random() < 0.15:
                del place[key]
            else:
                place[key if draw.random() < 0.9 else draw.choice(("name", "format", "\u5199", "__class__"))] = odd
            break
    return content


MAKERS = {"files": _file_case, "options": _option_case, "models": _model_case, "configurations": _configuration_case}


def main() -> None:
    """Run the cases and report those that fail; exit code 1 where some do."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="after which a case hangs")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="cases at once")
    parser.add_argument("--only", help="one case, as options:123")
    wanted = parser.parse_args()
    cases = rounds(wanted.cases, wanted.first)
    if wanted.only:
        kind, _, number = wanted.only.partition(":")
        cases = [Case(kind, int(number))]
    codes: Counter[int | None] = Counter()
    failures = []
    began = time.monotonic()
    for outcome in fuzz(cases, wanted.jobs, wanted.seconds):
        codes[outcome.code] += 1
        if outcome.problem:
            failures.append(outcome)
            print(f"{outcome.case}: {outcome.problem}", flush=True)
        if sum(codes.values()) % 500 == 0:
            print(f"{sum(codes.values())} cases, {len(failures)} failed, {time.monotonic() - began:.0f} s", flush=True)
    told = ", ".join(f"{count} x {code}" for code, count in sorted(codes.items(), key=str))
    print(f"{sum(codes.values())} cases, {len(failures)} failed; exit codes {told}; {time.monotonic() - began:.0f} s")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
