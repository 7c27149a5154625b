"""Trains `careful` networks: the examiner and the tone on large patches, the trunk and the trust on small ones, in turn.

    REBRIDGE_DATA=data python tools/train_careful.py --minutes 12 --only-judge --output runs/small-1
    python tools/train_careful.py --minutes 70 --start runs/small-1/last.pt --output runs/small-2
    python tools/train_careful.py --minutes 9 --judge-every 0 --device cuda --workers 14 --batch 128 --start ...
    torchrun --nproc_per_node 2 tools/train_careful.py --minutes 60 --judge-every 0 --start thin.pt --teacher whole.pt ...

Both losses are shares: the logarithm of each picture's error, so that a hardly visible fault counts as a grave one does.
"""

import argparse
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from patch_stream import streamed
from torch import Tensor, distributed, nn

from rebridge import networks
from rebridge.data.crops import dihedral
from rebridge.data.mixtures import Labelled, MixedPatches, Photographs, RealPairs
from rebridge.degradations.base import Degradation, Draw
from rebridge.degradations.mixture import LABEL_SIDE, LABELS, RENDERERS, Mixture
from rebridge.degradations.preparation import Preparation
from rebridge.degradations.weather import Air, scatter
from rebridge.models import load_prior
from rebridge.networks.careful import Careful
from rebridge.networks.classifier import block_statistics
from rebridge.networks.impressions import impression
from rebridge.networks.kinds import HAZE, LOWLIGHT
from rebridge.networks.trust import feature_blocks
from rebridge.training.muon import Muon
from rebridge.training.timesteps import times_of_noise

DATA = Path(os.environ.get("REBRIDGE_DATA", "data"))
FOLDERS = {
    "bsd432": 2.0,
    "clean/wallpapers": 1.6,
    "clean/imagenet": 1.6,
    "clean/urban100": 1.0,
    "clean/sunhays80": 0.8,
    "clean/t91": 0.8,
    "clean/camvid": 0.15,
    "clean/celebahq": 0.25,
    "clean/receipts": 0.3,
    "clean/screenshots": 0.5,
    "clean/rendered": 0.7,
}
TAUGHT_FLOOR = 1e-4
"""Mean square distance to a teacher below which it need not be followed."""
WEIGHTS = {
    "rain": 1.6,
    "haze": 1.2,
    "snow": 1.2,
    "raindrop": 1.0,
    "lowlight": 1.1,
    "noise": 1.1,
    "blur": 1.6,
    "jpeg": 1.2,
}


def log_error(a: Tensor, b: Tensor, floor: float = 1e-4) -> Tensor:
    """Logarithm of each picture's mean square error, (B,), of pictures (B, 3, H, W) in [-1, 1]."""
    return torch.log((a.float() - b.float()).square().flatten(1).mean(1) + floor)


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the kinds that are not left open."""
    known = (labels >= 0).float()
    losses = F.binary_cross_entropy_with_logits(logits, labels.clamp_min(0), reduction="none")
    return (known * losses).sum() / known.sum()


def judge_loss(model: Careful, where: nn.Module, batch: Labelled) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of examiner and tone on a batch in [-1, 1].

    `where` says of the features what is at each place: a hundred labels for a patch instead of one. It is not kept.
    """
    features = model.examiner(batch.degraded)
    seen = impression(batch.degraded, features)
    logits = model.examiner.logits(seen)
    toned = model.tone(batch.degraded, features, seen, batch.treat[:, HAZE], batch.treat[:, LOWLIGHT])
    rows = (batch.treat[:, HAZE] > 0) | (batch.treat[:, LOWLIGHT] > 0)
    kinds, places = label_loss(logits, batch.labels), label_loss(where(features).float(), batch.places)
    loss = kinds + 0.7 * places
    if not rows.any():
        return loss, {"kinds": kinds.detach(), "places": places.detach()}
    errors = log_error(F.avg_pool2d(toned[rows], 2), F.avg_pool2d(batch.target[rows], 2), 1e-3)
    tone = errors.mean()
    return loss + 0.4 * tone, {"kinds": kinds.detach(), "places": places.detach(), "tone": tone.detach()}


def mend_loss(model: Careful, batch: Labelled, teacher: Careful | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of trunk and trust on a batch in [-1, 1]; the examiner and the tone are as they are.

    Trust is taught as a share of the whole change, tone and all, which teaches it caution; a network that restores applies it to
    what follows the tone. A teacher with the same examiner and tone says what can be known of the truth: what nobody could guess
    does not disturb the learning.
    """
    y, target, treat = batch.degraded, batch.target, batch.treat
    with torch.no_grad():
        features = model.examiner(y)
        seen = impression(y, features)
        logits = model.examiner.logits(seen)
        toned = model.tone(y, features, seen, treat[:, HAZE], treat[:, LOWLIGHT])
        sharper = model.sharper(toned, treat)
    residual, deep = model.trunk(toned, y, sharper, treat)
    whole = toned + residual.float() + sharper
    restored = log_error(whole, target, 3e-4)
    trust = model.trust(features, deep, feature_blocks(whole - y), treat, logits)
    change = whole.detach() - y
    blend = y + F.interpolate(trust, scale_factor=16.0, mode="bilinear") * change
    before = log_error(y, target)
    trusted = log_error(blend, target)
    harm = (trusted - before).clamp_min(0)
    loss = restored.mean() + trusted.mean() + harm.mean()
    told: dict[str, Tensor] = {}
    if teacher is not None:
        with torch.no_grad():
            sharpened = teacher.sharper(toned, treat)
            guess = toned + teacher.trunk(toned, y, sharpened, treat)[0].float() + sharpened
        unlike = log_error(whole, guess, TAUGHT_FLOOR).mean()
        loss = loss + unlike
        told = {"teacher": log_error(guess, target, 3e-4).mean(), "unlike": unlike.detach()}
    return loss, {
        "before": before.mean(),
        "restored": restored.mean().detach(),
        "trusted": trusted.mean().detach(),
        "harm": harm.mean().detach(),
        **told,
    }


@torch.no_grad()
def whiten(model: Careful, stream: MixedPatches) -> None:
    """Begin with statistics that are uncorrelated and of unit deviation: most of them rise and fall together."""
    seen = block_statistics(in_range(stream.batch(160, 128, 123)).degraded).permute(0, 2, 3, 1).flatten(0, 2).double()
    mean = seen.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov((seen - mean).T))
    matrix = vectors.T / (values[:, None] + 1e-3).sqrt()
    layer = model.examiner.measured
    layer.weight.mul_(0.1)
    layer.weight[: len(matrix), :, 0, 0] = matrix.float()
    layer.bias.zero_()
    layer.bias[: len(matrix)] = -(matrix @ mean).float()


class RainLayers(Degradation):
    """Adds layers of rain that another generator drew, enlarged, turned and repeated."""

    def __init__(self, folder: Path) -> None:
        layers = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in sorted(folder.glob("rain100l_*.png"))]
        object.__setattr__(self, "layers", [layer.astype(np.float32) / 255 for layer in layers])

    def degrade(self, image: Tensor, draw: Draw) -> Tensor:
        """Degrade one image (C, H, W) with the random numbers of `draw`."""
        layer = self.layers[draw.integer(0, len(self.layers) - 1)]  # type: ignore[attr-defined]
        layer = cv2.resize(layer, None, fx=(scale := draw.uniform((0.8, 1.8))), fy=scale * draw.uniform((0.9, 1.6)))
        layer = layer[:, ::-1] if draw.uniform((0, 1)) < 0.5 else layer
        height, width = image.shape[-2:]
        tiled = np.tile(layer, (-(-height // layer.shape[0]), -(-width // layer.shape[1])))
        shift = (draw.integer(0, height - 1), draw.integer(0, width - 1))
        rain = np.roll(tiled[:height, :width], shift, (0, 1))
        return image + draw.uniform((0.5, 1.3)) * torch.from_numpy(np.ascontiguousarray(rain))


class DepthPairs:
    """Haze of measured depth, where a picture has a disparity: (3, H, W) of one kind, for the tone."""

    def __init__(self, folder: Path) -> None:
        self.scenes = []
        for path in sorted((folder / "rgb").glob("*.png")):
            disparity = cv2.imread(str(folder / "disparity" / path.name), cv2.IMREAD_GRAYSCALE)
            near = cv2.inpaint(disparity, (disparity == 0).astype(np.uint8), 5, cv2.INPAINT_NS).astype(np.float32)
            depth = cv2.GaussianBlur(1 / np.maximum(near, np.quantile(near, 0.02)).clip(8), (0, 0), 1.0)
            self.scenes.append((cv2.imread(str(path))[..., ::-1].astype(np.float32) / 255, depth / depth.mean()))

    def draw(self, size: int, draw: Draw) -> Labelled:
        """Draw a reduced crop, (3, size, size), in one of the eight orientations."""
        image, depth = self.scenes[draw.integer(0, len(self.scenes) - 1)]
        side = round(min(*image.shape[:2], size * draw.uniform((1.0, 2.2))))
        top, left = (draw.integer(0, length - side) for length in image.shape[:2])
        window = np.dstack([image, depth])[top : top + side, left : left + side]
        shrunk = cv2.resize(window, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)
        turned = dihedral(torch.from_numpy(shrunk).permute(2, 0, 1), draw.integer(0, 7)).contiguous()
        clean, far = turned[:3].clamp(0, 1), turned[3]
        air = (draw.uniform((0.6, 1.0)) + draw.uniform((0.0, 0.04)) * draw.randn(3, 1, 1)).clamp(0, 1)
        hazy = scatter(clean, Air(far, draw.log_uniform((0.4, 3.0)), air)).clamp(0, 1)
        labels = torch.zeros(len(LABELS))
        labels[HAZE] = 1.0
        places = labels[:, None, None].expand(-1, size // LABEL_SIDE, size // LABEL_SIDE)
        return Labelled((hazy * 255).round() / 255, clean, labels, labels, places)


def patches(
    photographs: Photographs, clean: float, tones: float = 1.0, alarm: float = 0.12, single: bool = False
) -> MixedPatches:
    """Make the stream of training patches.

    Args:
        photographs: what they are cut from.
        clean: share of sound pictures.
        tones: factor on the share of haze and low light.
        alarm: share of sound pictures that are to be treated nonetheless, and come out as they are.
        single: one kind at most, and not faded: what is learned first.
    """
    rest = 1 - clean
    weights = WEIGHTS | {kind: tones * WEIGHTS[kind] for kind in ("haze", "lowlight")}
    counts = (clean, rest) if single else (clean, 0.66 * rest, 0.24 * rest, 0.1 * rest)
    mixture = Mixture(counts=counts, weights=weights, faded=0.0 if single else 0.2)
    real = [
        (RealPairs(DATA / "train/pairs/noise", "noise"), 0.035),
        (RealPairs(DATA / "train/pairs/lowlight", "lowlight"), 0.015),
    ]
    return MixedPatches(photographs, mixture, Preparation(), real, alarm=alarm)


def in_range(batch: Labelled) -> Labelled:
    """Pictures in [-1, 1], channels last."""
    degraded, target = ((2 * image - 1).contiguous(memory_format=torch.channels_last) for image in batch[:2])
    return batch._replace(degraded=degraded, target=target)


def network_of(state: Mapping[str, Tensor], verdict: bool, air_map: bool = False, light_map: bool = False) -> Careful:
    """Make a network of the sizes that its weights have; those of a verdict, or of what it sees in a map, may be missing."""
    mapped, lit = "verdict.maps.0.mean" in state, "verdict.lights.0.mean" in state
    levels = [key for key in state if key.startswith("trunk.down.") and key.endswith(".weight")]

    def blocks(level: str) -> int:
        return len({key.split(".blocks.")[1].split(".")[0] for key in state if key.startswith(f"{level}.blocks.")})

    widths = [
        len(state["trunk.head.weight"]),
        *(len(state[f"trunk.down.{index}.weight"]) for index in range(len(levels))),
    ]
    counts = [blocks(f"trunk.before.{index}") for index in range(len(levels))]
    told = {
        "trial": "trial.mean" in state,
        "haze_trial": "haze_trial.mean" in state,
        "drop_trial": "drop_trial.mean" in state,
        "verdict": verdict,
        "air_map": mapped or air_map,
        "light_map": lit or light_map,
    }
    model = networks.create("careful", widths=widths, blocks=counts, middle=blocks("trunk.middle"), **told)
    assert isinstance(model, Careful)
    model.load_state_dict(
        state,
        strict=mapped >= air_map and lit >= light_map and ("verdict.mean" in state or not verdict),
    )
    return model


@torch.no_grad()
def begin_with_prior(model: Careful, name: str, level: float = 8.0) -> None:
    """Begin the trunk as a packaged or trained prior, fixed to noise of `level` of 255: a denoiser for every kind.

    What the prior's preconditioning does around its network is folded into the first and the last convolution.
    """
    prior = load_prior(name)
    source, trunk, ends = prior.network, model.trunk, prior.process.coefficients
    time = times_of_noise(prior.process, torch.tensor([level], dtype=torch.float64))
    alpha, gamma = (float(value) for value in (ends(time).alpha, ends(time).gamma))
    scale = float(prior.denoiser.scale)  # type: ignore[attr-defined]
    size = math.hypot(alpha * scale, gamma)
    waves = F.silu(source.time(time.float()))
    levels = [
        (trunk.middle, source.middle),
        *zip(trunk.before, source.before, strict=True),
        *zip(trunk.after, source.after, strict=True),
    ]
    for new, old in levels:
        new.kind.bias.copy_(old.time(waves)[0])
        new.kind.weight.zero_()
        for block, other in zip(new.blocks, old.blocks, strict=False):
            block.load_state_dict(other.state_dict())
    for key in ("down", "up"):
        getattr(trunk, key).load_state_dict(getattr(source, key).state_dict())
    trunk.head.weight.zero_()
    trunk.head.weight[:, :12] = source.head.weight[:, :12] * alpha / size
    trunk.head.bias.copy_(source.head.bias)
    trunk.tail.weight.copy_(source.tail.weight * scale * gamma / size)
    trunk.tail.bias.copy_(source.tail.bias * scale * gamma / size)


def beginning(options: argparse.Namespace, judged: MixedPatches) -> Careful:
    """Make the network, with the weights of an earlier run or of a prior as far as they fit."""
    sizes = {key: getattr(options, key) for key in ("widths", "blocks", "middle") if getattr(options, key)}
    if options.start and not options.prior:
        kept = {key: value for key, value in torch.load(options.start).items() if not key.startswith("verdict.")}
        return network_of(kept, verdict=False).to(memory_format=torch.channels_last).train()
    model = networks.create("careful", **sizes)
    assert isinstance(model, Careful)
    if options.start:
        left = ("verdict.", "trunk.", "trust.")
        kept = {key: value for key, value in torch.load(options.start).items() if not key.startswith(left)}
        model.load_state_dict(kept, strict=False)
    else:
        whiten(model, judged)
        if options.examiner:
            kept = {key: value for key, value in torch.load(options.examiner).items() if key.startswith("examiner.")}
            model.load_state_dict(kept, strict=False)
    if options.prior:
        begin_with_prior(model, options.prior)
    return model.to(memory_format=torch.channels_last).train()


def optimisers_of(model: Careful, where: nn.Module, options: argparse.Namespace) -> list[Muon]:
    """Make an optimiser for each part of the network, whose groups keep their own learning rate as `peak`."""
    told = [parameter for name, parameter in model.trunk.named_parameters() if ".kind." in name]
    mend = [p for name, p in model.trunk.named_parameters() if ".kind." not in name] + [*model.trust.parameters()]
    parts = [
        ([*model.examiner.parameters(), *where.parameters()], options.judge_lr),
        (list(model.tone.parameters()), options.tone_lr),
        (mend, options.lr),
        (told, 2 * options.lr),
    ]
    made = [Muon(parameters, lr=peak, weight_decay=1e-4) for parameters, peak in parts]
    for optimiser, (_, peak) in zip(made, parts, strict=True):
        for group in optimiser.param_groups:
            group["peak"] = peak
    return made


def place() -> tuple[int, int]:
    """Which process this is, from 0, and how many there are."""
    return (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)


def shared(value: float) -> float:
    """Tell all processes the greatest of their values."""
    if not distributed.is_initialized():
        return value
    told = torch.tensor(value, dtype=torch.float64)
    distributed.all_reduce(told, distributed.ReduceOp.MAX)
    return float(told)


def average_gradients(optimisers: list[Muon]) -> None:
    """Replace gradients by their means over all processes, where there are several."""
    if not distributed.is_initialized():
        return
    found = [p.grad for one in optimisers for group in one.param_groups for p in group["params"] if p.grad is not None]
    joint = torch.cat([gradient.flatten() for gradient in found])
    distributed.all_reduce(joint)
    joint /= distributed.get_world_size()
    for gradient, mean in zip(found, joint.split([gradient.numel() for gradient in found]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def stepped(optimisers: list[Muon], loss: Tensor, rate: float) -> None:
    """Make one step at a share of the peak learning rates; gradients that are no numbers count as none."""
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    loss.backward()
    average_gradients(optimisers)
    for optimiser in optimisers:
        parameters = [p for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
        if not parameters:
            continue
        for parameter in parameters:
            torch.nan_to_num_(parameter.grad, 0.0, 0.0, 0.0)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for group in optimiser.param_groups:
            group["lr"] = rate * group["peak"]
        optimiser.step()


def first_seed(options: argparse.Namespace) -> int:
    """Seed of the first batch; each process has seeds of its own."""
    return options.seed * 10_000_000 + 1_000_000 * place()[0]


class Batches:
    """What each step learns from, and how.

    Args:
        options: of the command line.
        photographs: what patches are cut from.
    """

    def __init__(self, options: argparse.Namespace, photographs: Photographs) -> None:
        self.options = options
        self.judged, self.simple = (patches(photographs, options.clean, 1.5, single=one) for one in (False, True))
        self.mended = patches(photographs, options.clean / 3, alarm=1.0)
        self.stream: Iterator[Labelled] | None = None
        if options.workers:
            seed = first_seed(options)
            self.stream = streamed(self.mended, options.batch, options.patch, seed, options.device, options.workers)

    def judging(self, step: int) -> bool:
        """Test if a step is the examiner's."""
        every = self.options.judge_every
        return self.options.only_judge or (every > 0 and step % every == 0)

    def at(self, step: int, share: float) -> Labelled:
        """Make the batch of a step, after a share of the time."""
        options = self.options
        seed = first_seed(options) + step
        if self.judging(step):
            source = self.simple if share < options.single else self.judged
            batch = source.batch(options.judge_batch, options.judge_patch, seed)
        elif self.stream is not None:
            return next(self.stream)
        else:
            batch = self.mended.batch(options.batch, options.patch, seed)
        return in_range(Labelled(*(value.to(options.device) for value in batch)))


def fit(options: argparse.Namespace) -> None:
    """Train for a fixed time and keep the averaged weights in `last.pt`."""
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = options.device != "cpu"  # all batches have one shape
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    RENDERERS["rain"] = (*RENDERERS["rain"], (options.layers, RainLayers(DATA / "train/pairs/rain_layers")))
    batches = Batches(options, Photographs([(DATA / "train" / name, weight) for name, weight in FOLDERS.items()]))
    model = beginning(options, batches.judged).to(options.device)
    average = {key: value.clone() for key, value in model.state_dict().items()}
    where = nn.Conv2d(model.examiner.place.in_channels, len(LABELS), 1).to(options.device)
    if options.start and (beside := Path(options.start).with_name("where.pt")).exists():
        where.load_state_dict(torch.load(beside))
    optimisers = optimisers_of(model, where, options)
    teacher = None
    if options.teacher:
        teacher = network_of(torch.load(options.teacher), verdict=True).eval().requires_grad_(False)
        teacher = teacher.to(options.device, memory_format=torch.channels_last)
    clock = time.process_time if options.device == "cpu" and not options.workers else time.monotonic
    begin, seconds, step = clock(), 60 * options.minutes, 0
    sums: dict[str, tuple[Tensor | float, int]] = {}
    print(f"loaded; {sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    while (share := shared((clock() - begin) / seconds)) < 1:
        rate = min(1.0, step / 100) * (options.floor + (1 - options.floor) * 0.5 * (1 + math.cos(math.pi * share)))
        batch = batches.at(step, share)
        with torch.autocast(options.device, torch.bfloat16, enabled=options.precision == "bfloat16"):
            judging = batches.judging(step)
            loss, figures = judge_loss(model, where, batch) if judging else mend_loss(model, batch, teacher)
        stepped(optimisers, loss, rate)
        step += 1
        averaged(average, model, min(options.ema, (1 + step) / (10 + step)))
        for key, value in figures.items():
            total, times = sums.get(key, (0.0, 0))
            sums[key] = (total + value, times + 1)
        if step % options.report == 0 and place()[0] == 0:
            text = " ".join(f"{key} {float(total) / times:.3f}" for key, (total, times) in sums.items())
            print(
                f"{step} {(clock() - begin) / 60:.1f} min  {text}  {step * options.batch * place()[1]:,} patches",
                flush=True,
            )
            sums = {}
            keep(average, where, output)
    if place()[0] == 0:
        keep(average, where, output)
        print("done", flush=True)


@torch.no_grad()
def averaged(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    """Bring averaged weights nearer to those of a network."""
    state = model.state_dict()
    smooth = [key for key, value in state.items() if value.is_floating_point()]
    torch._foreach_lerp_([average[key] for key in smooth], [state[key] for key in smooth], 1 - decay)
    for key in state.keys() - smooth:
        average[key].copy_(state[key])


def keep(average: dict[str, Tensor], where: nn.Module, output: Path) -> None:
    """Write the weights; a stop at any time leaves those before or these."""
    for name, state in (("where", where.state_dict()), ("last", average)):
        torch.save({key: value.cpu() for key, value in state.items()}, output / f"{name}.tmp")
        os.replace(output / f"{name}.tmp", output / f"{name}.pt")


def main() -> None:
    """Read the options and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True)
    parser.add_argument("--start")
    parser.add_argument("--examiner")
    parser.add_argument("--teacher", help="weights of a larger network that knows the same kinds by the same examiner")
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--prior", help="begin the trunk with this prior; its widths, blocks and middle")
    parser.add_argument("--widths", type=int, nargs="*")
    parser.add_argument("--blocks", type=int, nargs="*")
    parser.add_argument("--middle", type=int)
    parser.add_argument(
        "--minutes", type=float, required=True, help="of the processor; with --workers or a GPU, of the clock"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that render; 0: between the steps")
    parser.add_argument("--single", type=float, default=0.0, help="share of the time with one strong fault at most")
    parser.add_argument("--only-judge", action="store_true")
    parser.add_argument("--judge-every", type=int, default=5, help="0: never")
    parser.add_argument("--judge-patch", type=int, default=192)
    parser.add_argument("--judge-batch", type=int, default=12)
    parser.add_argument("--judge-lr", type=float, default=1e-3)
    parser.add_argument("--tone-lr", type=float, default=6e-4)
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--floor", type=float, default=0.02)
    parser.add_argument("--clean", type=float, default=0.22)
    parser.add_argument("--ema", type=float, default=0.998)
    parser.add_argument(
        "--layers", type=float, default=0.2, help="share of foreign rain layers beside our own rain, which is 1"
    )
    parser.add_argument("--weight", nargs="*", default=[], help="KIND=SHARE, other than usual")
    parser.add_argument("--report", type=int, default=200, help="steps between lines of the log, and kept weights")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if "RANK" in os.environ:
        distributed.init_process_group("gloo")
    WEIGHTS.update({kind: float(weight) for kind, _, weight in (given.partition("=") for given in options.weight)})
    fit(options)


if __name__ == "__main__":
    main()
