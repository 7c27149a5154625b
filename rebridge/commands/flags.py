"""Options of all commands as they are written, as plain data.

Each one fills a field of `rebridge.commands.options`. The command line makes its parser of them, and `defaults` reads files of
them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rebridge.commands.words import choices, listed, numbers, pairs, size


class Flag(NamedTuple):
    """One option as it is written.

    Attributes:
        kind: type of what is written.
        help: a sentence.
        names: words such as "--out" and "-o"; by default the name of the field.
        read: turns what is written into the value of the field; None where it is that already.
        is_argument: whether it is written without a name.
        metavar: what stands for it in the help of an argument.
    """

    kind: Any
    help: str
    names: tuple[str, ...] = ()
    read: Callable[[Any], Any] | None = None
    is_argument: bool = False
    metavar: str | None = None


def option(kind: Any, help: str, *names: str, read: Callable[[Any], Any] | None = None) -> Flag:
    """Describe an option of some type, which `read` turns into the field's value."""
    return Flag(kind, help, names, read)


def argument(kind: Any, help: str, metavar: str | None = None, read: Callable[[Any], Any] | None = None) -> Flag:
    """Describe what is written without a name."""
    return Flag(kind, help, (), read, True, metavar)


def repeated(help: str, *names: str, read: Callable[[Any], Any] = listed) -> Flag:
    """Describe an option that can be repeated."""
    return option(list[str] | None, f"{help}; repeat it.", *names, read=read)


OUTPUT = ("--out", "--output", "-o")
TASK = ("--task", "-t")
MODEL = ("--model", "-m")
TEXT, NUMBER, PATH = str | None, int | None, Path | None

OPTIONS: dict[str, Flag] = {
    # files
    "inputs": argument(list[str], "Image files, folders, or patterns such as '*.png'; - reads one picture from stdin.", "INPUT"),
    "output": option(Path, "Folder for the results; for a single file also a file name, or - for stdout.", *OUTPUT),
    "overwrite": option(bool, "Replace results that exist.", "--overwrite"),
    "skip_existing": option(bool, "Leave out files whose result exists.", "--skip-existing"),
    "recursive": option(bool, "Search folders below folders; keep the tree.", "--recursive", "-r"),
    "suffix": option(str, "Text to put behind the name of each result, such as _restored."),
    "format": option(TEXT, "png, jpg, webp, tiff, avif, jxl, ...; by default that of the input."),
    "quality": option(NUMBER, "Of JPEG, WebP, AVIF, JPEG XL, 1 to 100; by default 95, or the input's where that is higher."),
    "max_pixels": option(NUMBER, "Refuse larger images; by default 67 million pixels."),
    "strict": option(bool, "Refuse damaged files, which else are restored as far as they can be read.", "--strict"),
    "upsample": option(bool, "Enlarge what sr2, sr4, sr8 give back to size.", "--upsample"),
    # models
    "method": option(Literal["bridge", "irbridge"], "bridge: any model on a bridge. irbridge: a generative one, by a preset."),
    "model": option(TEXT, "Name, folder, hub id; with irbridge also a diffusers pipeline. See `rebridge models`.", *MODEL),
    "preset": option(TEXT, "With irbridge: paper, sound, tuned (the model's own, its default), or a file of `rebridge tune`."),
    "task": option(TEXT, "What to remove, as rain or haze+noise, with rdbm-small; with irbridge, settings for it.", *TASK),
    "bridge": option(TEXT, "Bridge to restore along, as ir-sde or goub:lam=0.01; by default the model's or the preset's."),
    "schedule": option(TEXT, "With irbridge: the times at which the generative model is evaluated."),
    "controlnet": option(TEXT, "With a diffusers pipeline: folder or id of its condition."),
    "prior_options": repeated("How a generative model runs, as guidance=2, and with a diffusers pipeline tiling=true, "
        "attention_slicing=true, cpu_offload=model, variant=fp16", "--prior-option", read=pairs("--prior-option")),
    "conditions": repeated("What a model needs to be told besides, as depth=FOLDER or sigma=0.1 (see `rebridge info`)",
        "--condition", read=pairs("--condition")),
    "colour": option(Literal["adain", "wavelet"] | None, "With irbridge: take the colours of the input."),
    "resize": option(NUMBER, "With irbridge: scale the shorter side of images to so many pixels for the model, and back."),
    "detail": option(float, "With irbridge: 0 to 1, keep the input's details where nothing was restored."),
    "device": option(TEXT, "auto, cpu, cuda, cuda:1, mps; by default a GPU where there is one."),
    "dtype": option(TEXT, "float32, or bfloat16 or float16 for speed; auto: what a measurement of a second finds best here."),
    "compile": option(bool | None, "Compile the network first, or never; by default where a batch of restore or enlarge gains "
        "by it.", "--compile/--no-compile"),
    # sampling
    "sampler": option(TEXT, "See `rebridge samplers`; by default the model's."),
    "steps": option(NUMBER, "Steps of the sampler; by default what the model recommends."),
    "seed": option(NUMBER, "The same seed gives the same result."),
    "tile": option(NUMBER, "Side of the tiles in pixels, 0 for none; by default as memory needs."),
    "overlap": option(NUMBER, "Pixels that neighbouring tiles share; by default 64, or a quarter of smaller tiles."),
    "samples": option(int, "Restorations with different noise to average."),
    "strength": option(float, "Share of the change to make: 0 changes nothing, 1 is the model's result, more exaggerates it."),
    "steady": option(float, "Of animations and video: 0 to 1, how much still places are averaged over time."),
    "engine": option(Literal["local", "ray"], "local: one picture after the other. ray: on the workers of a Ray cluster."),
    "jobs": option(NUMBER, "Pictures at once; by default what a measurement of a second finds best here."),
    "workers": option(NUMBER, "With --engine ray: how many; by default one a core."),
    # to look at what was made
    "before_after": option(bool, "Beside each result also NAME_compare.html, a slider, and NAME_compare.png.", "--before-after"),
    "uncertainty": option(bool, "With --samples, beside each result NAME_std.png: how far they differ; white is 32 levels.",
        "--uncertainty"),
    "contact_sheet": option(PATH, "Also write all pictures before and after into this one."),
    "check": option(bool, "Read the folder again and compare; without --out, only say what FILE is.", "--check"),
    "dry_run": option(bool, "Say what would be done, and write nothing.", "--dry-run"),
    "open": option(bool, "Show the results when all is done.", "--open"),
    "by": option(int, "How many times as wide and high: 2, 3 or 4."),
    # known operators
    "operator": option(str, "What was measured: sr4, blur:length=20, noise@25 (@: noise in 8-bit levels), ..."),
    "solver": option(TEXT, "red-diff, deqir:sweeps=10, ... (see `rebridge solvers`); by default what suits the operator."),
    "prior": option(str, "Name, folder or id of a generative model in pixels.", "--prior", "--model", "-p", "-m"),
    "simulate": option(bool, "INPUT is clean: measure it first, then solve.", "--simulate"),
    "mask": option(PATH, "For known-mask: a picture, white where a pixel is known."),
    "kernel": option(PATH, "For blur: a picture of the kernel."),
    "size": option(TEXT, "WIDTHxHEIGHT of the image in pixels, where INPUT does not tell.", read=size),
    # images whose clean version is known
    "clean": option(PATH, "Folder of clean images, degraded by --task."),
    "tasks": repeated("A degradation, or clean for none at all", *TASK),
    "pairs": option(PATH, "Folder with clean/ and degraded/, or such."),
    "layout": option(TEXT, "Of --pairs: a standard data set, such as rain100h or gopro."),
    "limit": option(NUMBER, "Only so many images per task."),
    "channel": option(Literal["rgb", "y", "y-matlab"], "What to compare: colours, luma, or luma in whole levels."),
    "border": option(int, "Pixels to cut off at each side before comparing."),
    "window": option(Literal["gaussian", "uniform"], "Of SSIM: as published, or as scikit-image takes it."),
    "truncate": option(bool, "Cut 8-bit levels down instead of rounding them.", "--truncate"),
    "metrics": repeated("A further metric of pyiqa, as lpips or niqe", "--metric"),
    "results": option(PATH, "Folder of results made elsewhere, to be compared with --truth, or with --pairs."),
    "truth": option(PATH, "Folder of the true images of --results."),
    "harm": option(bool, "Restore the clean images too, and say what is left of them.", "--harm/--no-harm"),
    "baselines": option(bool, "Beside it, what needs no model: stretch, dark channel, median, ...", "--baselines"),
    # tune and compare
    "base": option(str, "Preset to begin from: paper, sound or a file."),
    "search": repeated("What to search, by default all: a setting, as schedule or lam=0.004,0.008", read=choices),
    "rounds": option(int, "How often to go through all settings."),
    "models": repeated("A model", *MODEL),
    "analytic": option(bool, "No model: exact denoisers of a Gaussian problem.", "--analytic"),
    "bridges": repeated("With --analytic: a bridge, as goub or goub:lam=0.2", "--bridge"),
    "samplers": repeated("A sampler, as dbim or dbim:eta=1,order=1", "--sampler"),
    "presets": repeated("With irbridge: paper, sound or tuned, by default as in restore", "--preset"),
    "operators": repeated("A known operator, as sr4 or noise@25 (see `rebridge solve`)", "--operator"),
    "solvers": repeated("With --operator: a zero-shot solver, irbridge, baselines, default, or all", "--solver"),
    "crop": option(NUMBER, "With --operator: only the middle square of so many pixels."),
    "seeds": option(str, "Seeds, separated by commas.", read=numbers("--seeds", 0)),
    "draws": option(int, "With --analytic: samples per run.", "--samples"),
    # train, serve and lists
    "host": option(str, "Address to listen at; others than the loopback ones are reached by other machines."),
    "port": option(int, "Port to listen at, 0 for any that is free."),
    "token": option(TEXT, "What visitors must know; by default a random one where other machines can reach the page."),
    "config": argument(Path, "What to train, and on what.", "CONFIG.yaml"),
    "overrides": argument(list[str] | None, "Settings to change: optimisation.lr=1e-3.", "KEY=VALUE", listed),
    "stage": option(TEXT, "Only this stage of CONFIG.yaml, by name or by number from 1."),
    "resume": option(bool, "Continue from the newest checkpoint.", "--resume"),
    "int8": option(bool, "Also a network in 8 bits, where it costs less than 0.1 dB.", "--int8/--no-int8"),
    "repository": argument(str, "OWNER/NAME on the Hub; made where it is missing.", "OWNER/NAME"),
    "private": option(bool, "Make the repository a private one.", "--private"),
    "revision": option(TEXT, "Branch to write to, made where it is missing; by default main."),
    "message": option(TEXT, "Of the commit."),
    "names": argument(list[str] | None, "Only these.", None, listed),
    "plot": option(PATH, "Also draw forward paths of one pixel into this PNG."),
}  # fmt: skip
"""Each field of an options dataclass as it is written, unless a command says otherwise."""

CHANGED: dict[str, dict[str, Flag]] = {
    "EvaluateOptions": {
        "tasks": repeated("A degradation, or clean for none at all, by default the model's", *TASK),
        "suffix": option(str, "With --results: text behind the name of each, such as _restored."),
    },
    "CompareOptions": {
        "output": option(PATH, "Folder for compare.csv and compare.png.", *OUTPUT),
        "prior": option(str, "With --operator: the generative model.", "--prior", "-p"),
        "steps": option(
            TEXT, "Numbers of steps, as 1,2,5,10; by default these, with irbridge 25.", read=numbers("--steps")
        ),
    },
    "TuneOptions": {
        "output": option(Path, "File for the settings, .json; tasks it has already stay.", *OUTPUT),
        "model": option(str, "The generative model: name, folder or Hugging Face id.", *MODEL),
        "limit": option(int, "Images per task; the paper took four."),
        "steps": option(int, "Calls of the network per image."),
    },
    "ConvertOptions": {
        "checkpoints": argument(list[Path], "The authors' file, or all of them.", "FILE..."),
        "output": option(PATH, "Folder for the model; leave out to look only.", *OUTPUT),
        "family": option(str, "Whose it is: diffuir, goub, i2sb:beta_max=1, ...; auto goes by the weights.", "--from"),
        "task": option(TEXT, "The task it was trained for, where the weights do not say."),
        "dtype": option(str, "Weights of the folder: float32, or bfloat16 for half the size."),
    },
    "ExportOptions": {
        "model": argument(str, "Name, folder or id of a model.", "NAME"),
        "output": option(Path, "Folder for the files.", *OUTPUT),
        "format": option(
            Literal["onnx", "torch"], "onnx, with a runner of numpy and onnxruntime; torch for torch.export.load."
        ),
        "clean": option(PATH, "Folder of clean pictures to try the export on; by default small ones that come along."),
    },
    "PushOptions": {
        "model": argument(str, "Name or folder of a model.", "NAME"),
    },
    "InfoOptions": {
        "model": argument(str, "Name, folder or id of a model.", "NAME"),
    },
    "ServeOptions": {
        "models": repeated("A model to offer besides the packaged ones", *MODEL),
    },
    "DoctorOptions": {
        "model": option(str, "Whose speed is measured; none measures nothing.", *MODEL),
    },
    "RestoreOptions": {
        "mask": option(
            PATH, "White where INPUT is filled, black where it stays bit for bit: a picture, or a folder of them."
        ),
    },
    "EnlargeOptions": {
        "model": option(
            TEXT, "A model that restores what was enlarged, or none for bicubic enlarging, made consistent.", *MODEL
        ),
    },
    "InspectOptions": {
        "inputs": OPTIONS["inputs"]._replace(help="Image files, folders, or patterns such as '*.png'."),
    },
    "DegradeOptions": {
        "task": option(
            str, "rain, haze, snow, raindrop, lowlight, blur, noise, jpeg, sr2, sr4, sr8 or inpaint.", *TASK
        ),
    },
    "SolveOptions": {
        "steps": option(NUMBER, "Steps of the solver; by default its own."),
    },
}
"""Fields that a command has written in another way, by the name of its options."""


def flag_of(field: str) -> str:
    """Give the word on the command line that fills a field, such as "--out"."""
    flag = OPTIONS.get(field)
    return flag.names[0] if flag is not None and flag.names else f"--{field.replace('_', '-')}"
