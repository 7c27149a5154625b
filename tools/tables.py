"""Writes the tables of the README and the documentation from the files in docs/tables and docs/citations.

python tools/tables.py            # writes them between the marks `<!-- table: NAME -->` and `<!-- end -->`
python tools/tables.py --check    # says which are out of date, and fails if any is
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
TABLES, CITATIONS = ROOT / "docs" / "tables", ROOT / "docs" / "citations"
MARKS = re.compile(r"(<!-- table: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
MODELS = ("rdbm-tiny", "rdbm-small")
TOLD_HEADS = ("`rdbm-tiny`", "`rdbm-small`", "told: `rdbm-tiny`", "told: `rdbm-small`")
FOREIGN = (
    ("rain", "rain"), ("real rain", "real rain"), ("snow", "snow"), ("raindrops", "raindrops"),
    ("haze by depth", "haze by depth"),
    ("real haze_indoor", "real haze, indoors"), ("real haze_outdoor", "real haze, outdoors"),
    ("night, photon noise", "night, photon noise"), ("dark, 0.6 x^2.2", "dark, 0.6 x^2.2"), ("real noise", "real camera noise"),
    ("noise 5", "white noise 5"), ("noise 15", "white noise 15"), ("noise 25", "white noise 25"),
    ("noise 50", "white noise 50"), ("JPEG 10", "JPEG 10"), ("JPEG 20", "JPEG 20"), ("JPEG 40", "JPEG 40"),
    ("blur 1.6", "Gaussian blur 1.6"), ("haze + noise 15", "haze and noise"), ("rain + night", "rain and night"),
    ("mild haze", "mild haze"), ("mild dark", "mild darkness"), ("noise 3", "white noise 3"), ("JPEG 90", "JPEG 90"),
    ("blur 0.5", "blur of half a pixel"),
)  # fmt: skip
"""Sets of benchmarks/pictures.py, and their names in documents."""
SOUND = (
    ("clean photographs", "photographs, reduced"), ("clean CBSD68", "CBSD68, reduced"),
    ("clean CBSD68, cut out", "CBSD68, cut out"),
    ("clean, grey", "photographs in grey"), ("clean, toned", "toned photographs"),
    ("clean, few colours", "photographs with a third of their colour"), ("clean CBSD68, grey", "CBSD68 in grey"),
    ("clean CBSD68, toned", "CBSD68, toned"), ("clean CBSD68, few colours", "CBSD68 with a third of its colour"),
    ("clean, overexposed", "photographs, two stops overexposed"), ("clean CBSD68, overexposed", "CBSD68, two stops overexposed"),
    ("clean real truths", "truths of real pairs"), ("clean, quality 90", "JPEG of quality 90"), ("faces", "faces"),
    ("text", "text"), ("line art", "line art"), ("stars", "stars"),
    ("drawn on black", "figures on black"), ("ramp", "ramps"), ("flat", "flat"), ("clean screenshots", "screenshots"),
    ("clean receipts", "receipts"), ("clean rendered", "rendered"),
)  # fmt: skip
FRAMED = (
    ("rain, framed", "rain"), ("snow, framed", "snow"), ("haze by depth, framed", "haze by depth"),
    ("night, photon noise, framed", "night, photon noise"), ("noise 25, framed", "white noise 25"),
    ("JPEG 10, framed", "JPEG 10"), ("blur 1.6, framed", "Gaussian blur 1.6"),
)  # fmt: skip
OWN = ("rain", "haze", "snow", "raindrop", "lowlight", "noise", "blur", "jpeg")
SHORT = {
    "rain": "rain", "snow": "snow", "haze by depth": "haze", "night, photon noise": "low light", "noise 25": "noise 25",
    "blur 1.6": "blur", "JPEG 20": "JPEG 20",
}  # fmt: skip
"""Sets of the README's table, and the heads of its columns."""
KINDS = {
    "rain": ("rain", "real rain"),
    "haze": ("haze by depth", "real haze_indoor", "real haze_outdoor"),
    "low light": ("night, photon noise", "dark, 0.6 x^2.2"),
    "snow": ("snow",),
    "noise": ("noise 25", "noise 50", "real noise"),
    "JPEG": ("JPEG 10",),
}
"""Sets of ours that are of the kind of sets that peers were run on."""


def read(name: str) -> Any:
    """Read a file of docs/tables."""
    return json.loads((TABLES / f"{name}.json").read_text(encoding="utf-8"))


def rows(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Write a table."""
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def decibels(value: float | None, signed: bool = False) -> str:
    """Write a figure with one digit, and a dash where there is none."""
    return "-" if value is None else f"{value:+.1f}" if signed else f"{value:.1f}"


def figure(table: dict[str, Any], model: str, name: str, key: str) -> float | None:
    """Look up a figure of benchmarks/pictures.py, where it was measured."""
    return table.get(model, {}).get(name, {}).get(key)


def entered(table: dict[str, Any], name: str) -> float | None:
    """Look up the PSNR of the degraded pictures of a set."""
    return next((found for model in table if (found := figure(table, model, name, "in")) is not None), None)


def four(table: dict[str, Any], name: str) -> list[float | None]:
    """Look up what both restorers make of a set by themselves, and with the kind named."""
    return [figure(table, model, name, key) for key in ("out", "named") for model in MODELS]


def models_short() -> str:
    """The README's table: a few kinds of other make, and what is left of sound photographs."""
    table = read("pictures")
    head = ["", *SHORT.values(), "sound photographs, worst"]
    lines = [["degraded", *(decibels(entered(table, name)) for name in SHORT), "-"]]
    worst = [figure(table, model, "clean photographs", "worst") for model in MODELS]
    labels = [f"`{model}`, {way}" for way in ("by itself", "told what is wrong") for model in MODELS]
    for place, label in enumerate(labels):
        harm = decibels(worst[place]) if place < len(worst) else "-"
        lines.append([label, *(decibels(four(table, name)[place]) for name in SHORT), harm])
    return rows(head, lines)


def sets(head: str, names: Sequence[tuple[str, str]], restored: bool = True, file: str = "pictures") -> str:
    """Write a table of sets of benchmarks/pictures.py for both restorers, a line for each.

    Args:
        head: of the first column.
        names: of the sets, there and in the document.
        restored: whether the sets are degraded pictures that are restored, or sound ones of which something is left.
        file: of the figures.
    """
    table = read(file)
    if restored:
        heads = ["degraded", *TOLD_HEADS]
    else:
        heads = [
            f"`{model}`: median" if key == "median" else "worst" for model in MODELS for key in ("median", "worst")
        ]
    lines = []
    for name, label in names:
        count = max(table[model].get(name, {}).get("images", 0) for model in MODELS)
        left = [figure(table, model, name, key) for model in MODELS for key in ("median", "worst")]
        values = [entered(table, name), *four(table, name)] if restored else left
        lines.append([label, f"{count:.0f}", *map(decibels, values)])
    return rows([head, "pictures", *heads], lines)


def foreign() -> str:
    """Pictures of other make and real pairs, for both restorers."""
    return sets("set", FOREIGN)


def framed() -> str:
    """Some of these with a border around each picture, compared within it."""
    return sets("set", FRAMED, file="framed")


def harm() -> str:
    """What is left of sound pictures: median and worst PSNR against the untouched input."""
    return sets("sound pictures", SOUND, restored=False)


def own() -> str:
    """Degradations as `rebridge degrade` makes them, on photographs of CBSD68."""
    return sets("degradation", [(f"own {kind}", kind) for kind in OWN])


def others() -> str:
    """The models for one task, and what stands beside them, on the whole of CBSD68, by `rebridge evaluate`."""
    head = ["model", "degradation", "pictures", "degraded", "restored", "median", "SSIM"]
    lines = []
    for name in ("hi-diff-blur-tiny", "enlarge-small", "inpaint-small"):
        for task in read(name)["tasks"]:
            if task["task"] != "clean":
                method = f"`{name}`" if task.get("method", "model") == "model" else task["method"]
                cells = [f"{task[key]:.2f}" for key in ("input_psnr", "psnr", "median_psnr")]
                lines.append([method, task["task"], str(task["images"]), *cells, f"{task['ssim']:.3f}"])
    return rows(head, lines)


def gains() -> str:
    """Gains over the degraded picture by kind: ours, and the best peers on pictures of the same kind."""
    table = read("pictures")
    head = ["kind", *TOLD_HEADS, "peers, and the first `rdbm-tiny` on the same pictures"]
    lines = []
    for part in read("peers")["kinds"]:
        ours: list[str] = ["-"] * 4
        if names := KINDS.get(part["kind"]):
            for place in range(4):
                pairs = [(four(table, name)[place], entered(table, name)) for name in names]
                known = [after - before for after, before in pairs if after is not None and before is not None]
                ours[place] = decibels(fmean(known), signed=True) if known else "-"
        told = [described(found) for found in part["sets"] if found["peers"] and found["input"] is not None]
        lines.append([part["kind"], *ours, "; ".join(told)])
    return rows(head, lines)


def described(found: dict[str, Any]) -> str:
    """Write the gains of peers on one set."""
    before = found["input"]
    peers = [f"{name} {value - before:+.1f}" for name, value in found["peers"].items()]
    return f"{found['set']}: {', '.join(peers)}, the first `rdbm-tiny` {found['first rdbm-tiny'] - before:+.1f}"


def peers() -> str:
    """PSNR of others on the pictures kept aside."""
    lines = []
    for part in read("peers")["kinds"]:
        for found in part["sets"]:
            values = ", ".join(f"{name} {value:.1f}" for name, value in found["peers"].items()) or "-"
            lines.append(
                [part["kind"], found["set"], decibels(found["input"]), decibels(found["first rdbm-tiny"]), values]
            )
    return rows(["kind", "pictures kept aside", "degraded", "the first `rdbm-tiny`", "others"], lines)


def costs() -> str:
    """Seconds and memory of ours, then of others."""
    lines = []
    for row in sorted(read("cost")["rows"], key=lambda row: row["seconds per megapixel"]):
        size, memory = f"{row['megabytes']:.1f} MB", f"{row['peak megabytes']} MB"
        lines.append(
            [f"`{row['model']}`", thousands(row["parameters"]), size, str(row["seconds per megapixel"]), memory]
        )
    for row in read("peers")["costs"]:
        memory = "-" if row["peak megabytes"] is None else f"{row['peak megabytes']} MB"
        lines.append([row["name"], thousands(row["parameters"]), "-", row["seconds per megapixel"], memory])
    return rows(["", "parameters", "file", "seconds per megapixel", "memory"], lines)


def layers() -> str:
    """Where the time of each network goes, beside the machine's convolutions."""
    table = read("layers")
    kinds = list(table["rows"][0]["kinds"])
    lines = []
    for row in table["rows"]:
        floor = f"{row['GFLOP/s']:.0f} GFLOP/s, {row['share of the floor']:.0%}"
        shares = [f"{row['kinds'].get(kind, 0):.0%}" for kind in kinds]
        lines.append([f"`{row['model']}`", f"{row['milliseconds']:.0f}", floor, *shares])
    found = ", ".join(f"{key} {value}" for key, value in table["machine"].items())
    return (
        rows(["", "ms", "speed, share of the floor", *kinds], lines)
        + f"\nMachine: {found}; {table['side']} pixels a side.\n"
    )


def thousands(count: int | None) -> str:
    """Write a number of parameters."""
    return "-" if count is None else f"{count:,}"


def published() -> str:
    """What papers report of their own models."""
    lines = []
    for row in read("peers")["published"]:
        size = "-" if row["parameters"] is None else f"{row['parameters']:g}"
        lines.append([row["set"], row["name"], size, f"{row['psnr']:.2f}", row["source"]])
    return rows(["set", "model", "million parameters", "PSNR", "from"], sorted(lines, key=lambda line: line[0]))


def citations() -> str:
    """The papers of the ten systems, from their files."""
    lines = []
    for path in sorted(CITATIONS.glob("*.cff")):
        paper = yaml.safe_load(path.read_text(encoding="utf-8"))["preferred-citation"]
        authors = ", ".join(f"{one['given-names']} {one['family-names']}" for one in paper["authors"])
        pages = f", pp. {paper['start']}-{paper['end']}" if "start" in paper else ""
        place = f"{paper.get('collection-title') or paper['journal']} {paper['year']}{pages}"
        address = f"[{paper['identifiers'][0]['value']}]({paper['url']})"
        lines.append([f"`{path.name}`", f"{authors}: {paper['title']}. {place}, {address}"])
    return rows(["file", "paper"], lines)


def texture() -> str:
    """What the steps of a bridge buy, by kind: PSNR and Frechet distance, and how errors and the samples' deviation go along."""
    head = [
        "kind",
        "degraded",
        "one step",
        "distance",
        "{} steps",
        "distance",
        "of one step's",
        "correlation",
        "by pixel",
    ]
    lines = []
    for part in read("texture")["kinds"]:
        found = part["rows"]
        steps = max(int(key) for key in found if key.isdigit())
        one, many, seen = found["1"], found[str(steps)], part["samples"]
        cells = [found["degraded"]["psnr"], one["psnr"], one["distance"], many["psnr"], many["distance"]]
        ratios = [many["distance"] / one["distance"], seen["correlation"], seen["by pixel"]]
        lines.append([part["task"], *(f"{value:.2f}" for value in (*cells, *ratios))])
    return rows([cell.format(steps) for cell in head], lines)


def deviations() -> str:
    """Deviation of the samples and error of their mean, in 8-bit levels, by fifths of the pixels."""
    kinds = read("texture")["kinds"]
    head = ["kind", *(f"fifth {place + 1}" for place in range(len(kinds[0]["samples"]["fifths"])))]
    lines = []
    for part in kinds:
        found = part["samples"]["fifths"]
        lines.append([part["task"], *(f"{255 * row['deviation']:.1f} / {255 * row['error']:.1f}" for row in found)])
    return rows(head, lines)


def solvers(name: str = "solvers") -> str:
    """Zero-shot methods on operators, beside what needs no model; the best without one in italics, the best of all bold.

    name: of the file.
    """
    kept = read(name)
    known = {operator: cells for operator, cells in kept["operators"].items() if "baselines" in cells}
    found = {operator: [row for part in cells.values() for row in part] for operator, cells in known.items()}
    simple = {row["method"] for cells in known.values() for row in cells["baselines"]}
    by_way = [{row["method"].partition(":")[0]: row for row in column} for column in found.values()]
    ways = sorted(dict.fromkeys(way for column in by_way for way in column), key=lambda way: way not in simple)

    def shown(way: str, column: dict[str, dict[str, Any]]) -> str:
        row = column.get(way, {"psnr": None})
        if row["psnr"] is None:
            return f"> {kept['settings']['seconds']:g} s" if row.get("late") else "-"
        figures = {name: other["psnr"] for name, other in column.items() if other["psnr"] is not None}
        best = max(number for name, number in figures.items() if name in simple)
        mark = "**" if row["psnr"] == max(figures.values()) else "*" if way in simple and row["psnr"] == best else ""
        return f"{mark}{row['psnr']:.2f}{mark}"

    return rows(
        ["way", *(f"`{operator}`" for operator in found)], [[way, *(shown(way, one) for one in by_way)] for way in ways]
    )


def solvers_default() -> str:
    """The default method of every operator beside the best way without a model."""
    kept = read("solvers-default")
    lines = []
    for operator, cells in kept["operators"].items():
        simple = max(cells["baselines"], key=lambda row: float(row["psnr"] or 0))
        (chosen,) = cells["default"]
        if chosen["psnr"] is None:
            late = f"> {kept['settings']['seconds']:g} s"
            lines.append([f"`{operator}`", simple["method"], f"{simple['psnr']:.2f}", late, "-", "-"])
            continue
        method, gain = chosen["method"].partition(": ")[2], chosen["psnr"] - simple["psnr"]
        lines.append(
            [
                f"`{operator}`",
                simple["method"],
                f"{simple['psnr']:.2f}",
                f"`{method}`",
                f"{chosen['psnr']:.2f}",
                f"{gain:+.2f}",
            ]
        )
    return rows(["operator", "best without a model", "PSNR", "default", "PSNR", "gain"], lines)


def quality_cost() -> str:
    """Quality and cost of methods and models on the same pictures, of benchmarks/peers.py."""
    found = read("quality-cost")
    lines = []
    for row in found["rows"]:
        cost = (
            "-" if row["seconds"] == 0 else f"{row['seconds']:.3f}" if row["seconds"] < 0.1 else f"{row['seconds']:.2f}"
        )
        share = "-" if row["share"] is None else f"{row['share']:.0%}"
        name = f"`{row['method'].split(',')[0]}`" + row["method"].partition(",")[2] if row["ours"] else row["method"]
        lines.append([row["task"], name, f"{row['psnr']:.2f}", cost, share])
    text = f"\n{found['pictures']} pictures of {found['side']} pixels a side. Machine: {found['machine']}.\n"
    return rows(["task", "method", "PSNR, dB", "processor seconds per megapixel", "share of the floor"], lines) + text


def scale_files() -> str:
    """Cost of file formats on one core."""
    lines = [
        [one["name"], *(f"{one[key]:.3f}" for key in ("decode", "encode")), f"{one['megabytes']:.2f}"]
        for one in read("scale")["formats"]
    ]
    return rows(["format", "decoding, s", "encoding, s", "size, MB"], lines)


def scale() -> str:
    """Cost of a million pictures, of benchmarks/scale.py."""
    found = read("scale")
    head = ["model", "files", "decoding, s", "network, s", "encoding, s", "core hours", "GPU hours", "TB", "bound by"]
    lines = []
    for row in found["rows"]:
        seconds = [f"{row[key]:.3f}" for key in ("decode", "network", "encode")]
        hours = [f"{row['core_hours']:,.0f}", "-" if row["device_hours"] is None else f"{row['device_hours']:,.1f}"]
        end = [f"{row['terabytes']:.1f}", row["bound"], f"{row['workers']:,.0f}"]
        place = {"cpu": "one core", "cuda": "a GPU"}.get(row["device"], row["device"])
        lines.append([f"`{row['model']}` on {place}", row["format"], *seconds, *hours, *end])
    missing = "" if found["gpu"] else " No GPU was at hand: its rows are missing."
    about = f"\nPictures of {found['megapixels']:g} megapixels. Machine: {found['machine']}.{missing}\n"
    return rows([*head, f"workers that fill {found['link']:g} GB/s"], lines) + about


def machine_line(found: dict[str, Any]) -> str:
    """Name the machine of a table."""
    return ", ".join(f"{key} {value}" for key, value in found.items())


def speed() -> str:
    """Say what folders, training, short commands, large pictures and samplers take, beside the floor of the same run."""
    folder, training, start = (read(name) for name in ("throughput", "training-speed", "start"))
    lines = []
    for row in folder["rows"]:
        busy = f", the network busy {row['busy']:.0%}" if "busy" in row else ""
        figure = f"{row['seconds']:.1f} s, {row['processor seconds']:.2f} s of the processor{busy}"
        floor = f"the network alone {2 * folder['network alone']:.2f} s of the processor"
        lines.append(
            [f"{folder['pictures']} pictures, `{folder['model']}`: {row['way']}", figure, floor, "`throughput.py`"]
        )
    for row in training["rows"]:
        figure = f"{row['pictures a second']:.1f} pictures a second, waiting for data {row['waiting for data']:.0%}"
        lines.append(
            [
                f"training: {row['way']}",
                figure,
                f"{row['times the plain loop']:.2f} times",
                "`training_speed.py`",
            ]
        )
    for name, row in start["commands"].items():
        figure = f"{row['seconds']:.2f} s, {row['cpu_seconds']:.2f} s of the processor"
        lines.append(
            [name, figure, f"{row['ratio']:.2f} and {row['cpu_ratio']:.2f} times `import torch`", "`start.py`"]
        )
    for name, row in read("serving")["models"].items():
        more = row["answer_ms"] - row["network_ms"]
        figure = f"{row['answer_ms']:.0f} ms, {row['answer_processor_ms']:.0f} ms of the processor"
        lines.append([f"an answer of `rebridge serve`, `{name}`", figure, f"{more:.0f} ms more than the same restoration "
                      f"without a server", "`serving.py`"])  # fmt: skip
    table = read("large")
    for row in table["records"]:
        figure = (
            f"{row['beyond_torch_mib']} MiB beyond torch, {row['seconds_per_mpx']:.2f} s of the processor a megapixel"
        )
        floor = f"import torch takes {table['torch_mib']} MiB; {row['ratio']:.2f} of the time per pixel of the first"
        lines.append([f"{row['size']}, {row['file'].upper()}, `{table['model']}`", figure, floor, "`large.py`"])
    overhead = read("overhead")
    share = {row["sampler"]: row["time outside / in the network"] for row in overhead["rows"]}
    worst = max(share, key=lambda name: float(share[name].rstrip("%")))
    lines.append([f"samplers beside a network of {overhead['milliseconds']:g} ms", f"{share[worst]} at most (`{worst}`)",
                  f"no waits in {len(share)} of {len(share)}", "`overhead.py`"])  # fmt: skip
    about = f"\nMachine of samplers: {machine_line(overhead['machine'])}; of the rest: "
    return rows(["what", "figure", "beside", "command"], lines) + about + f"{machine_line(folder['machine'])}.\n"


def modes() -> str:
    """Say what each way of computing changes."""
    found = read("modes")
    lines = [
        [f"`{row['model']}`", row["way"], f"{row['levels']:.2f}", f"{row['psnr']:.2f}", f"{row['lost']:.3f}"]
        for row in found["rows"]
    ]
    about = f"\n{found['pictures']} pictures of {found['data']}. Machine: {machine_line(found['machine'])}.\n"
    return rows(["model", "way", "largest change, levels", "PSNR, dB", "dB lost"], lines) + about


def compiling() -> str:
    """Say what compiling gains for each model, and from when on a batch repays it."""
    found = read("compiling")
    lines = [
        [f"`{row['model']}`" if "," not in row["model"] else row["model"], f"{row['plain']:.2f} s",
         f"{row['compiled']:.2f} s", f"{100 * (1 - row['compiled'] / row['plain']):.0f} %", f"{row['levels']:.4f}",
         f"{row['loading']:.0f} s", row["repaid"]]
        for row in found["rows"]
    ]  # fmt: skip
    head = ["model", "plain, a megapixel", "compiled", "gain", "largest change, levels", "loading the code", "repaid"]
    return rows(head, lines) + f"\nMachine: {machine_line(found['machine'])}.\n"


def gpu() -> str:
    """Say what a GPU makes of models, training and samplers, or that there was none."""
    if not (TABLES / "gpu.json").is_file():
        return "A GPU was not at hand: its rows are missing.\n"
    found = read("gpu")
    side, batch = found["models"]["side"], found["models"]["batch"]
    lines = []
    for row in found["models"]["rows"]:
        name = f"`{row['model']}`{', ' + ' and '.join(row['kinds']) + ' named' if row['kinds'] else ''}"
        one, many = row.get("alone", {}), row.get("batch", {})
        restored = [f"{part['seconds a Mpixel']:.4f} s" if "seconds a Mpixel" in part else "-" for part in (one, many)]
        network = [
            f"{part['network ms']:.2f} ms, {part['share of the floor'] or 0:.0%}" if "network ms" in part else "-"
            for part in (one, many)
        ]
        levels = f"{row['levels from the processor']:.2f}" if "levels from the processor" in row else "-"
        memory = f"{many['peak MiB']} MiB" if "peak MiB" in many else "-"
        chosen = f"{row['precision']}{' (auto)' if row['auto'] else ''}"
        lines.append([name, chosen, *network, *restored, memory, levels])
    head = ["model", "precision", "network, one picture, and of the floor", f"{batch} pictures", "a megapixel, one picture",
            f"{batch} pictures", "memory", "levels from the processor"]  # fmt: skip
    about = f"\nPictures of {side}x{side}. Machine: {machine_line(found['machine'])}.\n"
    return rows(head, lines) + about + gpu_lines(found)


def gpu_lines(found: dict[str, Any]) -> str:
    """Say what large pictures, training and samplers take on a GPU, as far as they were measured."""
    text = ""
    for row in (row for row in found["models"]["rows"] if "large" in row):
        large = row["large"]
        text += f"- 3840x2160, `{row['model']}`, {row['precision']}: {large['seconds a Mpixel']:.4f} s a megapixel, "
        text += f"{large['peak MiB']} MiB.\n"
    for row in found.get("training", {}).get("rows", []):
        text += (
            f"- Training, {row['way']}: {row['pictures a second']:.0f} pictures a second, waiting for data "
            f"{row['waiting for data']:.0%}, {row['TFLOP/s']:.2f} TFLOP/s, {row['share of the peak'] or 0:.1%} of the "
            f"matrix product's, {row['times the plain loop']:.1f} times the plain loop.\n"
        )
    for row in found.get("samplers", {}).get("rows", []):
        text += (
            f"- Sampler `{row['sampler']}`: {row['time beside the network']:+.1%} beside {found['samplers']['model']}, "
        )
        text += f"{row['waits in the loop']} waits in the loop.\n"
    return f"\n{text}" if text else ""


TABLES_BY_NAME: dict[str, Callable[[], str]] = {
    "models-short": models_short, "foreign": foreign, "framed": framed, "harm": harm, "own": own, "others": others,
    "gains": gains, "peers": peers, "costs": costs, "layers": layers, "published": published, "citations": citations,
    "solvers": solvers, "solvers-radon": partial(solvers, "solvers-radon"),
    "solvers-default": solvers_default, "texture": texture, "deviations": deviations,
    "quality-cost": quality_cost, "scale": scale, "scale-files": scale_files,
    "speed": speed, "modes": modes, "compiling": compiling, "gpu": gpu,
}  # fmt: skip


def written(text: str) -> str:
    """Fill all marks of a document."""
    return MARKS.sub(lambda found: found[1] + TABLES_BY_NAME[found[2]]() + found[4], text)


def documents() -> list[Path]:
    """List the documents with marks."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path for path in paths if MARKS.search(path.read_text(encoding="utf-8"))]


def outdated() -> list[Path]:
    """List the documents whose tables are not those of the files."""
    texts = {path: path.read_text(encoding="utf-8") for path in documents()}
    return [path for path, text in texts.items() if written(text) != text]


def main() -> None:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a table is out of date")
    options = parser.parse_args()
    stale = outdated()
    for path in stale:
        if not options.check:
            path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
        print(f"{'out of date' if options.check else 'wrote'}: {path.relative_to(ROOT)}")
    if options.check and stale:
        sys.exit(1)


if __name__ == "__main__":
    main()
