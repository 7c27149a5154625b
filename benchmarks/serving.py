"""Prints how long a resident `rebridge serve` takes to answer, beside the network's own time in the same run.

    python benchmarks/serving.py --runs 20 --json docs/tables/serving.json

Pictures of 256 x 256 pixels are sent to `POST /api/restore`, one after the other, by a client that does nothing else than send
and receive, in turn with the same restoration in this process, from pixels to pixels; medians are printed, in milliseconds of the
clock. What the server adds is receiving the file, reading and writing it, comparing before and after, and answering. Where its
time goes is what its answers say of themselves in the header Server-Timing; the rest is the way there and back, and threads that
wait for each other. Seconds of the processor, of the server and of the restorations here, hold on a busy machine too.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from rebridge import Restorer
from rebridge.denoisers.machine import describe_machine
from rebridge.images import Image, read_image, write_image

PHOTO = Path(__file__).parent.parent / "examples" / "images" / "chelsea.jpg"
SIDE = 256
PATIENCE = 60.0
"""Seconds that the server may take to begin, and to answer."""
BOUNDARY = "a-line-that-no-picture-has"


def free_port() -> int:
    """Find a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Client:
    """One connection, which stays open, and one visitor."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._cookie: dict[str, str] = {}

    def awaited(self, server: subprocess.Popen[bytes]) -> None:
        """Wait until the server answers."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and server.poll() is None:
            with contextlib.suppress(OSError):
                self._connection.connect()
                self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return
            time.sleep(0.1)
        raise RuntimeError("the server did not begin")

    def restored(self, form: bytes) -> dict[str, float]:
        """Have a picture restored: the milliseconds of each stage, as the answer says them."""
        head = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        self._connection.request("POST", "/api/restore", form, head | self._cookie)
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"the server answered {answer.status}: {said[:200]!r}")
        if (cookie := answer.getheader("set-cookie")) is not None:
            self._cookie = {"Cookie": cookie.partition(";")[0]}
        parts = (part.strip().partition(";dur=") for part in str(answer.getheader("server-timing")).split(","))
        return {name: float(milliseconds) for name, _, milliseconds in parts}


def filled_form(picture: Path, fields: dict[str, str]) -> bytes:
    """Write a form with a picture and other fields, as a browser sends it."""
    lines = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{fields[key]}\r\n' for key in fields]
    lines.append(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="{picture.name}"\r\n\r\n')
    return "".join(lines).encode() + picture.read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode()


def processor_seconds(process: int) -> float:
    """Read the seconds of the processor that all threads of a process took; 0 where there is no /proc."""
    with contextlib.suppress(OSError):
        threads = Path(f"/proc/{process}/task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9
    return 0.0


def timed(client: Client, restore: Restorer, picture: Path, model: str, runs: int, server: int) -> dict[str, Any]:
    """Median milliseconds of an answer, of its stages and of the same restoration here, in turn."""
    image = read_image(picture).pixels
    answers, here, spent = [], [], []
    theirs, ours = 0.0, 0.0
    for run in range(runs + 2):
        if run == 2:
            theirs, ours = processor_seconds(server), 0.0
        form = filled_form(picture, {"model": model, "seed": str(run)})
        began, used = time.perf_counter(), time.process_time()
        restore(image)
        middle = time.perf_counter()
        ours += time.process_time() - used
        stages = client.restored(form)
        if run >= 2:  # the first ones load the model
            here.append(1000 * (middle - began))
            answers.append(1000 * (time.perf_counter() - middle))
            spent.append(stages)
    known = {name: median(one[name] for one in spent) for name in spent[0]}
    known["the rest"] = median(whole - sum(one.values()) for whole, one in zip(answers, spent, strict=True))
    theirs = processor_seconds(server) - theirs
    return {
        "answer_processor_ms": round(1000 * theirs / runs, 1),
        "network_processor_ms": round(1000 * ours / runs, 1),
        "answer_ms": round(median(answers), 1),
        "network_ms": round(median(here), 1),
        "ratio": round(median(answers) / median(here), 2),
        "stages_ms": {name: round(value, 1) for name, value in known.items()},
    }


def main() -> None:
    """Start a server, time it and stop it."""
    parser = argparse.ArgumentParser(description="Time of an answer of the web page's server.")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--model", action="append")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    port, records = free_port(), {}
    with tempfile.TemporaryDirectory() as place:
        picture = Path(place) / "in.png"
        write_image(picture, Image(read_image(PHOTO).pixels[:, :SIDE, :SIDE]))
        words = [sys.executable, "-m", "rebridge.cli", "serve", "--port", str(port)]
        environment: dict[str, Any] = {**os.environ, "BROWSER": "true"}
        with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            try:
                client = Client(port)
                client.awaited(server)
                for model in given.model or ["rdbm-tiny", "rdbm-small"]:
                    restore = Restorer.from_pretrained(model)
                    records[model] = found = timed(client, restore, picture, model, given.runs, server.pid)
                    answer, here = found["answer_ms"], found["network_ms"]
                    print(f"{model}: {answer:.1f} ms, {answer - here:.1f} ms more than the {here:.1f} ms here "
                          f"({found['ratio']:.2f} x); of the processor {found['answer_processor_ms']:.1f} ms, "
                          f"{found['network_processor_ms']:.1f} ms here")  # fmt: skip
                    print("  " + ", ".join(f"{name} {value:.1f} ms" for name, value in found["stages_ms"].items()))
            finally:
                server.terminate()
    if given.json is not None:
        table = {"machine": describe_machine(), "side": SIDE, "runs": given.runs, "models": records}
        given.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
