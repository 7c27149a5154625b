"""The command `solve`: zero-shot restoration with a known operator."""

from pathlib import Path
from typing import Annotated

import typer

from rebridge.cli.console import print_json, progress, say
from rebridge.cli.files import Device, Json, Overwrite, Seed


def solve(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The measurement; with --simulate the clean image.")],
    output: Annotated[
        Path, typer.Option("--out", "--output", "-o", help="File of the result, or a folder for it.")
    ] = Path("solved"),
    operator: Annotated[
        str, typer.Option(help="What was measured: sr4, blur:length=20, noise@25 (@: noise in 8-bit levels), ...")
    ] = "sr4",
    solver: Annotated[str, typer.Option(help="red-diff, deqir:sweeps=10, ...; see `rebridge solvers`.")] = "diffpir",
    prior: Annotated[
        str, typer.Option("--prior", "-p", help="Name, folder or Hugging Face id of a prior in pixels.")
    ] = "pixel-prior-tiny",
    steps: Annotated[int | None, typer.Option(help="Steps of the solver; by default its own.")] = None,
    samples: Annotated[
        int, typer.Option(help="Results with different noise; more than one give a map of uncertainty.")
    ] = 1,
    simulate: Annotated[bool, typer.Option("--simulate", help="IMAGE is clean: measure it first, then solve.")] = False,
    mask: Annotated[Path | None, typer.Option(help="For known-mask: a picture, white where a pixel is known.")] = None,
    kernel: Annotated[Path | None, typer.Option(help="For blur: a picture of the kernel.")] = None,
    size: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH of the image, where IMAGE does not tell.")] = None,
    seed: Seed = 0,
    device: Device = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Solve y = A x + noise with a pretrained prior: `rebridge solve small.png --operator sr4 --solver red-diff -o big.png`.

    Nothing is trained. With --samples 8 it also writes how far the samples differ, as PNG and NPZ.
    """
    import time

    from rebridge.evaluation.compare import Spec
    from rebridge.evaluation.metrics import psnr
    from rebridge.inverse import solve as solving
    from rebridge.restoration.measurements import check_output, read_measured, write_solution
    from rebridge.restoration.solve import solver_of
    from rebridge.inverse.measurement import Task
    from rebridge.restoration.unconditional import unconditional
    from rebridge.irbridge import load_prior

    task, chosen = Task.parse(operator), Spec.parse(solver)
    way = solver_of(chosen.name, steps, chosen.params)
    check_output(output, image.stem, overwrite)
    known = unconditional(load_prior(prior, device=device))
    measured = read_measured(
        image, task, known.channels, simulate=simulate, seed=seed, mask=mask, kernel=kernel, size=_size(size)
    )
    began = time.perf_counter()
    with progress("solving") as bar:
        solution = solving(
            measured.y,
            measured.operator,
            known,
            way,
            sigma_y=task.sigma_y,
            seed=seed,
            samples=samples,
            progress=lambda done, total: bar(done, total, chosen.name),
        )
    seconds = time.perf_counter() - began
    files = write_solution(measured, solution, output, image.stem, overwrite)
    quality = None if measured.clean is None else float(psnr(solution.mean.to(measured.clean), measured.clean))
    _report(files, solution.calls, seconds, quality, solution.std[0].mean(0).max().item(), samples > 1, as_json)


def _report(
    files: list[Path], calls: int, seconds: float, quality: float | None, largest: float, mapped: bool, as_json: bool
) -> None:
    """Say what was written; largest: what white means in the map of uncertainty, where there is one."""
    if as_json:
        figures = {"calls": calls, "seconds": round(seconds, 3), "psnr": quality, "largest_std": largest}
        print_json({"files": [str(path) for path in files], **figures})
        return
    text = f"wrote {', '.join(str(path) for path in files)}: {calls} network calls, {seconds:.1f} s"
    text += "" if quality is None else f", PSNR {quality:.2f} dB"
    say(text + (f"; white in the map is a standard deviation of {largest:.4f}" if mapped else ""))


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ValueError(f"--size takes HEIGHTxWIDTH, as 256x384, got {text!r}")
    return int(parts[0]), int(parts[1])


def list_solvers(as_json: Json = False) -> None:
    """List the zero-shot solvers and the operators that they can invert, with their parameters."""
    from rebridge.cli.catalogues import first_sentence, parameters_of
    from rebridge.cli.console import out
    from rebridge.evaluation.tables import Column, table
    from rebridge.inverse import operators
    from rebridge.inverse.catalogue import SOLVERS

    solvers = [
        {
            "name": name,
            "what": first_sentence(kind),
            "calls": kind().calls,
            "parameters": parameters_of(kind, as_json),
        }
        for name, kind in SOLVERS.items()
    ]
    known = [{"name": name, "parameters": operators.parameters(name)} for name in operators.names()]
    if as_json:
        print_json({"solvers": solvers, "operators": known})
        return
    columns = [Column("name", "solver"), Column("what", "what it is"), Column("calls", "calls", "d")]
    out().print(table(solvers, [*columns, Column("parameters", "parameters")]))
    out().print(table(known, [Column("name", "operator"), Column("parameters", "parameters")]))
