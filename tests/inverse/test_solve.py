"""Solving images: the call, the command, the comparison, and what they say about what does not fit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from rebridge import bridges, hub, networks
from rebridge.cli import app
from rebridge.denoisers import MixtureDenoiser
from rebridge.inverse import Unconditional, create, names, operators, solve, unconditional
from rebridge.inverse.problem import in_range
from rebridge.inverse.measurement import Task, picture
from rebridge.irbridge import PixelPrior, load_prior
from tests.inverse.test_guidance import StandIn

SMALL = {"widths": [4, 8], "blocks": [1], "middle": 1, "embedding": 8}
QUICK = {"deqir": {"steps": 4, "sweeps": 2}, "scd": {"steps": 2, "iterations": 1, "rank": 2}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny untrained prior."""
    torch.manual_seed(0)
    network = networks.create("fast", optional_condition=True, **SMALL)
    torch.nn.init.normal_(network.tail.weight, std=0.1)
    place = tmp_path_factory.mktemp("priors") / "pixel"
    return hub.save_model(
        place, network, bridges.create("vp"), "preconditioned", {"name": "dbim", "steps": 4}, ["rain"]
    )


@pytest.fixture(scope="module")
def prior(folder):
    return unconditional(load_prior(folder))


def quick(name, **params):
    return create(name, **{**QUICK.get(name, {"steps": 3}), **params})


def image(height=16, width=24):
    rows, columns = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.stack([0.5 + 0.4 * torch.sin(rows / (4 + k)) * torch.cos(columns / 7 - k) for k in range(3)])[None]


def saved(path: Path, pixels) -> Path:
    Image.fromarray((pixels[0].permute(1, 2, 0) * 255).round().byte().numpy()).save(path)
    return path


def rebridge(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


class Smooth:
    """An exact prior of independent pixels, N(0.2, 0.3^2) in [-1, 1], as a denoiser."""

    bridge = bridges.create("vp")

    def __call__(self, x_t, t, y):
        c = self.bridge.coefficients(t).like(x_t)
        return 0.2 + c.alpha * 0.09 / (c.alpha**2 * 0.09 + c.gamma**2) * (x_t - c.alpha * 0.2)


@pytest.mark.parametrize("name", names())
def test_every_solver_takes_images_and_gives_images(name, prior):
    x = image()
    operator = operators.create("sr2", (3, 16, 24))
    told = []
    found = solve(operator.A(x), operator, prior, quick(name), sigma_y=0.02, progress=lambda *done: told.append(done))
    assert found.mean.shape == x.shape
    assert 0 <= found.mean.min() <= found.mean.max() <= 1
    assert found.calls == quick(name).calls
    assert told[-1] == (found.calls, found.calls)


def test_an_operator_with_deepinvs_methods_and_nothing_else_will_do(prior):
    """No shape, no name: the stand-in of test_guidance; deepinv's own classes are tried there where deepinv is installed."""
    y = 0.5 * image()
    for name in names():
        if name == "ddrm":
            with pytest.raises(ValueError, match="StandIn has none"):
                solve(y, StandIn(), prior, name)
            continue
        found = solve(y, StandIn(), prior, quick(name), sigma_y=0.01)
        assert found.mean.shape == image().shape
    assert (solve(y, StandIn(), prior, quick("ddnm")).mean - image()).abs().max() < 1e-5


def test_a_name_with_parameters_is_the_solver(prior):
    operator = operators.create("mask", (3, 16, 24))
    y = operator.A(image())
    by_name = solve(y, operator, prior, "ddnm", steps=3, eta=0.5, seed=4)
    by_solver = solve(y, operator, prior, create("ddnm", steps=3, eta=0.5), seed=4)
    torch.testing.assert_close(by_name.mean, by_solver.mean, rtol=0, atol=0)


@pytest.mark.parametrize("name", names())
def test_a_result_does_not_depend_on_its_batch(name, prior):
    operator = operators.create("sr2", (3, 16, 24))
    y = operator.A(torch.cat([image(), image().flip(-1)]))
    both = solve(y, operator, prior, quick(name), seed=1).mean
    alone = solve(y[1:], operator, prior, quick(name), seed=1).mean
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-4)


def test_samples_show_where_nothing_was_measured():
    """The standard deviation over samples is that of the prior in the hole of a mask, and nearly 0 beside it."""
    operator = operators.create("box", (1, 24, 24), side=0.5)
    x = torch.full((1, 1, 24, 24), 0.6, dtype=torch.float64)
    known = Unconditional(Smooth.bridge, Smooth(), None, 1, torch.device("cpu"))
    found = solve(operator.A(x), operator, known, "nrlg", sigma_y=0.01, samples=48, steps=100, grid="log-snr")
    assert found.samples.shape == (48, 1, 1, 24, 24)
    hole = operator.A(torch.ones_like(x)) == 0
    assert found.std[hole].mean().item() == pytest.approx(0.15, rel=0.1)  # 0.3 in a range twice as wide
    assert found.std[~hole].mean() < 0.02
    assert found.mean[hole].mean().item() == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize("name", [name for name in names() if name != "scd"])
def test_what_was_not_measured_follows_from_what_was(name):
    """A prior of two pictures, all bright or all dark: half of the pixels decide which one it is, exactly known."""
    d = 16
    means = torch.tensor([[0.5] * d + [0.0] * d, [-0.5] * d + [0.0] * d], dtype=torch.float64)
    spread = torch.block_diag(0.01 * torch.eye(d), torch.eye(d)).double().expand(2, -1, -1)
    bridge = bridges.create("vp")
    exact = MixtureDenoiser(bridge, torch.tensor([0.5, 0.5]), means, spread)
    known = Unconditional(bridge, exact, None, 1, torch.device("cpu"))
    operator = operators.create("mask", (1, 4, 4), missing=0.5)
    for bright in (0.75, 0.25):
        y = operator.A(torch.full((1, 1, 4, 4), bright, dtype=torch.float64))
        params = {"red-diff": {"lr": 0.05}, "deqir": {"steps": 30, "sweeps": 30}}.get(name, {"steps": 40})
        found = solve(y, operator, known, create(name, **params), sigma_y=0.01, samples=12)
        right = (found.samples.mean((1, 2, 3, 4)) - bright).abs() < 0.15
        assert right.double().mean() > 0.6


def test_any_object_with_a_priors_methods_will_do():
    class Plain:
        process, channels, device = Smooth.bridge, 1, torch.device("cpu")

        def given(self, images):
            assert not images.any()
            return Smooth()

    operator = operators.create("sr2", (1, 8, 8))
    y = operator.A(torch.full((1, 1, 8, 8), 0.6))
    assert (solve(y, operator, Plain(), "nrlg", steps=20).mean - 0.6).abs().mean() < 0.2


def test_the_range_of_the_prior_is_that_of_the_measurement():
    """A x in [-1, 1] from A x in [0, 1], for linear operators by shift and scale and for JPEG by the operator itself."""
    x = image().double()
    for name in ("sr4", "radon", "cs", "jpeg"):
        operator = operators.create(name, (3, 16, 24))
        fitted, y, sigma = in_range(operator, operator.A(x), 0.1, (-1.0, 1.0))
        torch.testing.assert_close(fitted.A(2 * x - 1), y)
        assert sigma == pytest.approx(0.1 if name == "jpeg" else 0.2)
    v = fitted.prox_l2(torch.zeros_like(x), y, float("inf"))
    torch.testing.assert_close(fitted.A(v), y)


@pytest.mark.parametrize("name", ["ddnm", "dds", "diffpir", "nrlg", "pigdm"])
def test_jpeg_is_restored_within_what_it_was_rounded_from(name):
    operator = operators.create("jpeg", (3, 16, 24), quality=30)
    known = Unconditional(Smooth.bridge, Smooth(), None, 3, torch.device("cpu"))
    y = operator.A(image())
    found = solve(y, operator, known, quick(name, steps=10))
    again = (operator.A(found.mean) - y).abs() / operator.steps.repeat(1, 2, 3)
    assert again.mean() < (
        0.1 if name in ("ddnm", "nrlg", "diffpir") else 0.3
    )  # clamping to [0, 1] leads out of cells too


def test_what_does_not_fit_gets_one_sentence(prior, folder):
    operator = operators.create("sr4", (3, 16, 24))
    y = operator.A(image())
    with pytest.raises(ValueError, match="the measurement holds NaN"):
        solve(y * float("nan"), operator, prior)
    with pytest.raises(ValueError, match=r"measurements of shape \(B, 3, 4, 6\), got \(1, 3, 4, 5\)"):
        solve(y[..., :5], operator, prior)
    with pytest.raises(ValueError, match="for images of 1 channels, the prior makes 3"):
        solve(y[:, :1], operators.create("sr4", (1, 16, 24)), prior)
    with pytest.raises(ValueError, match="must be of a floating-point type"):
        solve(y.long(), operator, prior)
    with pytest.raises(ValueError, match="dps needs a linear operator"):
        solve(image(), operators.create("jpeg", (3, 16, 24)), prior, "dps")
    radon = operators.create("radon", (3, 16, 24))
    with pytest.raises(ValueError, match="ddrm needs the singular value decomposition of the operator, and radon"):
        solve(radon.A(image()), radon, prior, "ddrm")
    with pytest.raises(ValueError, match="samples must be at least 1"):
        solve(y, operator, prior, samples=0)
    with pytest.raises(ValueError, match="sigma_y must be a number from 0 up"):
        solve(y, operator, prior, sigma_y=-1.0)
    with pytest.raises(ValueError, match="scd adapts a network"):
        solve(y, operator, Unconditional(prior.bridge, prior.denoiser, None, 3, prior.device), "scd", steps=2)
    with pytest.raises(ValueError, match="lives in the latents of an autoencoder"):
        unconditional(type("Latent", (), {"vae": object()})())


def test_a_prior_with_a_condition_is_used_without_it(folder):
    conditional = PixelPrior.from_pretrained(folder)
    x, t = torch.randn(1, 3, 16, 16), torch.full((1,), 0.5)
    free = unconditional(conditional).denoiser
    torch.testing.assert_close(free(x, t, torch.rand(1, 3, 16, 16)), free(x, t, torch.zeros(1, 3, 16, 16)))


def test_a_diffusers_pipeline_in_pixels_is_a_prior_too(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=16, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    diffusers.DDPMPipeline(unet, diffusers.DDPMScheduler()).save_pretrained(tmp_path / "ddpm")
    operator = operators.create("sr2", (3, 15, 18))
    y = operator.A(image(15, 18))
    for name in ("nrlg", "dps", "scd"):
        found = solve(y, operator, str(tmp_path / "ddpm"), quick(name), device="cpu")
        assert found.mean.shape == (1, 3, 15, 18)


@pytest.mark.parametrize("text", ["noise@25", "mask", "box", "sr4", "average2", "blur:length=5", "colour", "jpeg"])
def test_measurements_are_shown_as_pictures_of_the_images_size(text):
    task = Task.parse(text)
    operator = task.operator((3, 16, 24))
    shown = picture(operator, task.measure(operator, image(), torch.randn(operator.A(image()).shape)), task.scale)
    assert shown.shape == (1, 3, 16, 24)
    assert 0 <= shown.min() <= shown.max() <= 1


def test_unknown_pixels_are_shown_grey():
    task = Task.parse("mask")
    operator = task.operator((3, 16, 24))
    shown = picture(operator, task.measure(operator, image(), torch.zeros(1, 3, 16, 24)), task.scale)
    unknown = (operator.mask == 0).expand(1, 3, 16, 24)
    assert unknown.any()
    assert (shown[unknown] == 0.5).all()
    assert torch.equal(shown[~unknown], image()[~unknown])


def test_the_command_enlarges_a_picture_and_shows_the_uncertainty(folder, tmp_path):
    small = saved(tmp_path / "small.png", image(6, 8))
    words = ("solve", small, "-o", tmp_path / "out", "--operator", "sr4", "--solver", "nrlg", "--prior", folder)
    result = rebridge(*words, "--steps", 3, "--samples", 3, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["calls"] == 9
    assert [Path(path).name for path in figures["files"]] == ["small.png", "small_std.png", "small_samples.npz"]
    assert Image.open(tmp_path / "out" / "small.png").size == (32, 24)
    spread = np.asarray(Image.open(tmp_path / "out" / "small_std.png"))
    assert spread.shape == (24, 32)
    assert spread.max() == 255
    arrays = np.load(tmp_path / "out" / "small_samples.npz")
    assert arrays["samples"].shape == (3, 3, 24, 32)
    np.testing.assert_allclose(arrays["samples"].std(0, ddof=1), arrays["std"], atol=1e-6)
    again = rebridge(*words, "--steps", 3)
    assert again.exit_code == 2
    assert "exists already" in again.output


def test_the_command_measures_a_clean_picture_first(folder, tmp_path):
    clean = saved(tmp_path / "clean.png", image())
    for operator in ("noise@25", "radon:angles=8", "jpeg:quality=30"):
        out = tmp_path / f"{operator[:3]}.png"
        result = rebridge(
            "solve", clean, "-o", out, "--operator", operator, "--solver", "diffpir:steps=3", "-p", folder, "--simulate"
        )
        assert result.exit_code == 0, result.output
        assert "PSNR" in result.output
        assert out.is_file()
        assert out.with_name(f"{operator[:3]}_measured.png").is_file() == (operator != "radon:angles=8")


def test_the_command_reads_masks_kernels_and_arrays(folder, tmp_path):
    photo = saved(tmp_path / "photo.png", image())
    Image.fromarray(np.full((16, 24), 255, np.uint8)).save(tmp_path / "mask.png")
    Image.fromarray(np.full((3, 3), 80, np.uint8)).save(tmp_path / "kernel.png")
    operator = operators.create("radon", (3, 16, 24), angles=4)
    np.savez(tmp_path / "y.npz", y=operator.A(image())[0].numpy())
    for words in (
        (photo, "--operator", "known-mask", "--mask", tmp_path / "mask.png"),
        (photo, "--operator", "blur", "--kernel", tmp_path / "kernel.png"),
        (tmp_path / "y.npz", "--operator", "radon:angles=4", "--size", "16x24"),
    ):
        result = rebridge(
            "solve", *words, "-o", tmp_path / "out", "--solver", "nrlg:steps=2", "-p", folder, "--overwrite"
        )
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--operator", "sr3"), "unknown operator 'sr3'"),
        (("--operator", "noise@loud"), "in 8-bit levels, got 'noise@loud'"),
        (("--solver", "magic"), "unknown solver 'magic'"),
        (("--operator", "radon"), "give a .npy file, or --simulate"),
        (("--operator", "known-mask"), "needs --mask FILE"),
        (("--mask", "m.png"), "--mask goes with the operator known-mask"),
        (("--size", "big"), "--size takes HEIGHTxWIDTH"),
        (("--size", "99x99"), "sr4 of 99 x 99 pixels measures 25 x 25, and the picture has 16 x 24"),
        (("--prior", "nowhere"), "unknown model 'nowhere'"),
    ],
)
def test_the_command_answers_bad_input_with_one_sentence(words, message, folder, tmp_path):
    photo = saved(tmp_path / "photo.png", image())
    result = rebridge("solve", photo, "-o", tmp_path / "out", "-p", folder, *words)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_solvers_irbridge_and_a_trained_bridge_share_one_table(folder, tmp_path):
    torch.manual_seed(0)
    network = networks.create("fast", **SMALL)
    model = hub.save_model(
        tmp_path / "bridge", network, bridges.create("rdbm"), "residual", {"name": "dbim", "steps": 2}, ["rain"]
    )
    saved(tmp_path / "photos.png", image()).rename(tmp_path / "one.png")
    (tmp_path / "photos").mkdir()
    saved(tmp_path / "photos" / "a.png", image(20, 30))
    words = ["compare", "--clean", tmp_path / "photos", "--operator", "noise@25", "--operator", "radon:angles=5"]
    words += ["--solver", "ddrm:steps=2", "--solver", "irbridge", "--model", model, "--prior", folder, "--crop", 16]
    result = rebridge(*words, "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["method"] for row in rows] == ["measured", "ddrm:steps=2", "irbridge", str(model), "ddrm:steps=2"]
    assert rows[0]["psnr"] == pytest.approx(20.2, abs=1.0)  # noise of 25/255
    assert rows[1]["calls"] == 2
    assert rows[3]["calls"] == 2
    assert rows[-1]["psnr"] is None  # no decomposition of the Radon transform


def test_the_command_lists_solvers_and_operators():
    result = rebridge("solvers", "--json")
    assert result.exit_code == 0
    listed = json.loads(result.stdout)
    assert [row["name"] for row in listed["solvers"]] == names()
    assert [row["name"] for row in listed["operators"]] == operators.names()
