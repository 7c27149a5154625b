"""Options as they are written on the command line, by the field of `rebridge.commands.options` that each one fills.

`command` makes a command out of an options dataclass, which has the defaults, and a function that shows the result. A function
in an annotation turns the words of the command line into the field's value.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from rebridge.catalogue import load_extension, value_of

Show = Callable[..., None]


def numbers(option: str, smallest: int = 1) -> Callable[[str | None], list[int] | None]:
    """Make a reader of whole numbers separated by commas; ValueError for anything else."""

    def read(text: str | None) -> list[int] | None:
        if text is None:
            return None
        try:
            found = [int(part) for part in text.split(",")]
        except ValueError:
            raise ValueError(f"{option} takes whole numbers separated by commas, got {text!r}") from None
        if min(found) < smallest:
            raise ValueError(f"{option} must be at least {smallest}, got {min(found)}")
        return found

    return read


def pairs(words: Sequence[str] | None) -> dict[str, Any] | None:
    """Read KEY=VALUE words; a value may have commas in it, as a prompt has."""
    found: dict[str, Any] = {}
    for text in words or []:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise ValueError(f"--prior-option takes KEY=VALUE, got {text!r}")
        found[key.strip()] = value_of(value.strip())
    return found or None


def choices(words: Sequence[str] | None) -> dict[str, tuple[Any, ...]] | None:
    """Read what to search: a setting alone, or as KEY=VALUE,VALUE."""
    split = [text.partition("=") for text in words or []]
    return {key: tuple(value_of(part) for part in rest.split(",")) if rest else () for key, _, rest in split} or None


def size(text: str | None) -> tuple[int, int] | None:
    """Read HEIGHTxWIDTH."""
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise ValueError(f"--size takes HEIGHTxWIDTH, as 256x384, got {text!r}")
    return int(parts[0]), int(parts[1])


def listed(words: Sequence[str] | None) -> tuple[str, ...]:
    """Read an option that can be repeated."""
    return tuple(words or ())


def load_extensions(sources: list[str] | None) -> None:
    """Import Python files or modules that register parts of their own."""
    for source in sources or ():
        load_extension(source)


def repeated(*flags: str, text: str) -> Any:
    """Describe an option that can be repeated."""
    return Annotated[list[str] | None, typer.Option(*flags, help=text), listed]


def text(*flags: str, help: str) -> Any:
    """Describe an option that takes a word."""
    return Annotated[str | None, typer.Option(*flags, help=help)]


def number(help: str) -> Any:
    """Describe an option that takes a whole number or nothing."""
    return Annotated[int | None, typer.Option(help=help)]


def path(*flags: str, help: str) -> Any:
    """Describe an option that takes a file or folder."""
    return Annotated[Path | None, typer.Option(*flags, help=help)]


def flag(name: str, help: str, short: Sequence[str] = ()) -> Any:
    """Describe an option that is given or not."""
    return Annotated[bool, typer.Option(f"--{name}", *short, help=help)]


OUTPUT = ("--out", "--output", "-o")
TASK = ("--task", "-t")
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]
Json = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]
Extensions = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        metavar="FILE",
        callback=load_extensions,
        help="Python file or module that registers bridges, networks, ... of your own; repeat it.",
    ),
]

OPTIONS: dict[str, Any] = {
    "inputs": Annotated[
        list[str], typer.Argument(metavar="INPUT", help="Image files, folders, or patterns such as '*.png'.")
    ],
    "output": Annotated[
        Path, typer.Option(*OUTPUT, help="Folder for the results; for a single file also a file name.")
    ],
    "overwrite": flag("overwrite", "Replace results that exist."),
    "skip_existing": flag("skip-existing", "Leave out files whose result exists."),
    "recursive": flag("recursive", "Search folders below folders; keep the tree.", ["-r"]),
    "suffix": Annotated[str, typer.Option(help="Text to put behind the name of each result, such as _restored.")],
    "format": text(help="png, jpg, webp or tiff; by default that of the input."),
    "quality": Annotated[int, typer.Option(help="Of JPEG and WebP, 1 to 100.")],
    "method": Annotated[
        Literal["bridge", "irbridge"],
        typer.Option(help="bridge: a model along a bridge. irbridge: a generative model inside a bridge, by a preset."),
    ],
    "model": text(
        "--model", "-m",
        help="Name, folder or Hugging Face id; with irbridge also a diffusers pipeline. See `rebridge models`.",
    ),
    "preset": text(help="With irbridge: paper, sound, tuned (the model's own, the default where it has one), or a file of "
        "`rebridge tune`."),
    "task": text(*TASK, help="With irbridge: rain, haze, ...: settings for it."),
    "tasks": repeated(*TASK, text="A degradation, or clean for none at all; repeat it."),
    "bridge": text(help="Bridge to restore along, as ir-sde or goub:lam=0.01; by default the model's or the preset's."),
    "schedule": text(help="With irbridge: the times at which the generative model is evaluated."),
    "controlnet": text(help="With a diffusers pipeline: folder or id of its condition."),
    "prior_options": Annotated[
        list[str] | None,
        typer.Option("--prior-option", help="How a generative model runs, as guidance=2, and with a diffusers pipeline "
            "tiling=true, attention_slicing=true, cpu_offload=model, variant=fp16; repeat it."),
        pairs,
    ],
    "detail": Annotated[
        float, typer.Option(help="With irbridge: 0 to 1, keep the input's details where nothing was restored.")
    ],
    "steps": number("Steps of the sampler; by default what the model recommends."),
    "seed": Seed,
    "tile": number("Side of the tiles in pixels, 0 for none; by default as memory needs."),
    "overlap": number("Pixels that neighbouring tiles share; by default 64, or a quarter of smaller tiles."),
    "samples": Annotated[int, typer.Option(help="Restorations with different noise to average.")],
    "sampler": text(help="See `rebridge samplers`; by default the model's."),
    "device": text(help="cpu, cuda, cuda:1, mps; by default a GPU where there is one."),
    "dtype": text(help="float32, or bfloat16 or float16 for speed."),
    "compile": flag("compile", "Compile the network first: 20 to 60 s for each size of image, then faster."),
    "clean": path(help="Folder of clean images, degraded by --task."),
    "pairs": path(help="Folder with clean/ and degraded/, or such."),
    "layout": text(help="Of --pairs: a standard data set, such as rain100h or gopro."),
    "limit": number("Only so many images per task."),
    "channel": Annotated[Literal["rgb", "y"], typer.Option(help="What to compare: colours, or luma only.")],
    "operator": Annotated[
        str, typer.Option(help="What was measured: sr4, blur:length=20, noise@25 (@: noise in 8-bit levels), ...")
    ],
    "solver": Annotated[str, typer.Option(help="red-diff, deqir:sweeps=10, ...; see `rebridge solvers`.")],
    "prior": Annotated[
        str,
        typer.Option("--prior", "--model", "-p", "-m", help="Name, folder or id of a generative model in pixels."),
    ],
    "simulate": flag("simulate", "INPUT is clean: measure it first, then solve."),
    "mask": path(help="For known-mask: a picture, white where a pixel is known."),
    "kernel": path(help="For blur: a picture of the kernel."),
    "size": Annotated[str | None, typer.Option(help="HEIGHTxWIDTH of the image, where INPUT does not tell."), size],
    "upsample": flag("upsample", "Enlarge what sr2, sr4, sr8 give back to size."),
    "base": Annotated[str, typer.Option(help="Preset to begin from: paper, sound or a file.")],
    "search": Annotated[
        list[str] | None,
        typer.Option(help="What to search, as schedule or lam=0.004,0.008; repeat it. By default all."),
        choices,
    ],
    "rounds": Annotated[int, typer.Option(help="How often to go through all settings.")],
    "models": repeated("--model", "-m", text="A model; repeat it."),
    "analytic": flag("analytic", "No model: exact denoisers of a Gaussian problem."),
    "bridges": repeated("--bridge", text="With --analytic: a bridge, as goub or goub:lam=0.2; repeat it."),
    "samplers": repeated("--sampler", text="A sampler, as dbim or dbim:eta=1,order=1; repeat it."),
    "presets": repeated("--preset", text="With irbridge: paper, sound or tuned; repeat it. By default as in restore."),
    "operators": repeated("--operator", text="A known operator, as sr4 or noise@25 (see `rebridge solve`); repeat it."),
    "solvers": repeated("--solver", text="With --operator: a zero-shot solver, irbridge, or all; repeat it."),
    "crop": number("With --operator: only the middle square of so many pixels."),
    "seeds": Annotated[str, typer.Option(help="Seeds, separated by commas."), numbers("--seeds", 0)],
    "draws": Annotated[int, typer.Option("--samples", help="With --analytic: samples per run.")],
    "config": Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="What to train, and on what.")],
    "overrides": Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings to change: optimisation.lr=1e-3."),
        listed,
    ],
    "resume": flag("resume", "Continue from the newest checkpoint."),
    "names": Annotated[list[str] | None, typer.Argument(help="Only these."), listed],
    "plot": path(help="Also draw forward paths of one pixel into this PNG."),
}  # fmt: skip
"""How each field of an options dataclass is written, unless a command says otherwise."""


def command(options: Callable[..., Any] | None = None, **changes: Any) -> Callable[[Show], Show]:
    """Turn show(options, ...) into a function that Typer reads as a command, with --import.

    Args:
        options: a dataclass; each field becomes a parameter with the field's default. None for show(...) without options.
        changes: annotations that differ from `OPTIONS`, by field.
    """
    known = {} if options is None else {field.name: field for field in fields(options)}  # type: ignore[arg-type]
    taken = {name: changes.get(name, OPTIONS.get(name)) for name in known}

    def decorate(show: Show) -> Show:
        own = list(inspect.signature(show, eval_str=True).parameters.values())[0 if options is None else 1 :]

        def run(**values: Any) -> None:
            given = {name: _reader(annotation)(values[name]) for name, annotation in taken.items()}
            front = () if options is None else (options(**given),)
            show(*front, **{parameter.name: values[parameter.name] for parameter in own})

        default = {name: _written(field) for name, field in known.items()} | {p.name: p.default for p in own}
        default["extensions"] = None
        kinds = taken | {p.name: p.annotation for p in own} | {"extensions": Extensions}
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters = [inspect.Parameter(key, kind, default=default[key], annotation=kinds[key]) for key in kinds]
        run.__name__, run.__doc__, run.__annotations__ = show.__name__, show.__doc__, kinds
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return run

    return decorate


def _reader(annotation: Any) -> Callable[[Any], Any]:
    """The function that turns words into the field's value."""
    return next((part for part in get_args(annotation)[1:] if inspect.isfunction(part)), lambda value: value)


def _written(field: Field[Any]) -> Any:
    """A field's default as it would be written."""
    if field.default is MISSING:
        return inspect.Parameter.empty if field.default_factory is MISSING else None
    if isinstance(field.default, tuple):
        return ",".join(str(part) for part in field.default) or None
    return field.default
