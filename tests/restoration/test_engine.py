"""One engine for every model and every way to restore: other bridges, measurements, tiles in any space."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import rebridge
from rebridge import Measurement, Restorer, bridges, inverse
from rebridge.denoisers import Counted, Denoiser, GaussianDenoiser
from rebridge.models import DenoiserModel, Model, ModelError, TrainedModel, as_model, load_model
from rebridge.restoration.engine import Tiles

SHAPE = (1, 2, 3)


def gaussian(bridge: bridges.Bridge) -> GaussianDenoiser:
    """The exact denoiser of pairs (x0, y) with x0 ~ N(0.1, 0.3^2 I) and y = 0.8 x0 + noise of 0.1."""
    size = SHAPE[0] * SHAPE[1] * SHAPE[2]
    identity = torch.eye(size, dtype=torch.float64)
    clean, cross, degraded = 0.09 * identity, 0.072 * identity, (0.0576 + 0.01) * identity
    covariance = torch.cat([torch.cat([clean, cross], 1), torch.cat([cross, degraded], 1)])
    mean = torch.cat([torch.full((size,), 0.1), torch.full((size,), 0.08)]).double()
    return GaussianDenoiser(bridge, mean, covariance)


@pytest.mark.parametrize("process", ["goub", "ir-sde", "vp", "ve", "ddbm-vp"])
@pytest.mark.parametrize("walked", ["goub", "brownian", "ddbm-ve"])
def test_a_model_walked_along_another_bridge_gives_that_bridges_own_result(process: str, walked: str) -> None:
    trained, other = bridges.create(process), bridges.create(walked)
    if trained.value_range != other.value_range and process not in ("vp", "ve"):
        other = bridges.create(walked)
    y = 0.2 + 0.4 * torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    low, high = trained.value_range
    sampler = {"name": "dbim", "steps": 5, "start": "mean"}
    carried = Restorer(DenoiserModel(gaussian(trained), trained, channels=1), other, sampler)
    states = low + (high - low) * y
    own = rebridge.samplers.create("dbim", steps=5, start="mean")(other, gaussian(other), states)
    expected = ((own - low) / (high - low)).clamp(0, 1)
    # the exact posterior depends on the noise level alone, up to where the process has no such level
    torch.testing.assert_close(carried(y), expected, rtol=0, atol=2e-3)


def test_a_bridge_of_another_kind_of_noise_is_refused(model_folder: Path) -> None:
    with pytest.raises(ValueError, match="multiplies its noise by the residual"):
        Restorer.from_pretrained(model_folder, bridge="goub")


@pytest.mark.parametrize("sampler", ["dbim", "irbridge", "exponential"])
def test_a_trained_bridge_restores_along_another_one(sampler: str, picture: Tensor) -> None:
    torch.manual_seed(0)
    network = rebridge.networks.create("fast", widths=[4, 8], blocks=[1], middle=1)
    model = TrainedModel.of(network, bridges.create("goub"), "x0")
    restore = Restorer(model, "rdbm:modulation=one,lam=0.01", sampler)
    restored = restore(picture, steps=4, seed=1)
    assert restored.shape == picture.shape
    assert torch.equal(restored, restore(picture, steps=4, seed=1))


def test_objects_in_hand_are_taken_as_they_are(picture: Tensor, model_folder: Path) -> None:
    class Halving(nn.Module):
        channels = 3

        def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
            return y / 2

    bridge = bridges.create("indi")
    expected = (0.5 + (picture - 0.5) / 2).clamp(0, 1)
    for source in (Halving(), rebridge.denoisers.NetworkDenoiser(Halving(), bridge).eval(), lambda x, t, y: y / 2):
        restore = Restorer(source, bridge, {"name": "dbim", "steps": 2})
        torch.testing.assert_close(restore(picture), expected)
    loaded = load_model(model_folder)
    assert as_model(loaded) is loaded
    assert isinstance(Restorer(model_folder).model, TrainedModel)
    with pytest.raises(ModelError, match="needs the bridge that it was trained on"):
        Restorer(Halving())
    with pytest.raises(ModelError, match="int is no model"):
        Restorer(3)


def test_a_model_moves_and_its_restorer_with_it(model_folder: Path) -> None:
    model = load_model(model_folder)
    assert model.to("cpu") is model
    assert Restorer(model).device == torch.device("cpu")


# -- measurements --------------------------------------------------------------------------------------------------------


@pytest.fixture
def prior(pixel_folder: Path) -> Model:
    return load_model(pixel_folder)


def measured(picture: Tensor) -> Measurement:
    operator = inverse.operators.create("mask", picture.shape[1:], missing=0.5)
    return Measurement(operator.A(picture), operator)


def test_the_restorer_and_solve_are_one_engine(prior: Model, picture: Tensor) -> None:
    given = measured(picture)
    found = rebridge.solve(given.y, given.operator, prior, "ddnm", steps=3, seed=5, samples=3)
    restore = Restorer(prior)
    again = restore.sample(given, 3, method="ddnm", steps=3, seed=5)
    assert torch.equal(found.mean, again.mean)
    assert torch.equal(found.samples, again.samples)
    assert torch.equal(restore(given, method="ddnm", steps=3, seed=5), found.all[0])
    torch.testing.assert_close(found.mean, found.samples.mean(0))
    torch.testing.assert_close(found.std, found.samples.std(0), rtol=1e-4, atol=1e-6)
    assert found.calls == again.calls == 9


def test_a_measurement_is_solved_in_tiles_like_a_whole_one(prior: Model) -> None:
    image = torch.rand(1, 3, 96, 192, generator=torch.Generator().manual_seed(0))
    seen: list[tuple[int, ...]] = []

    def spy(denoiser: Denoiser) -> Denoiser:
        def call(x_t: Tensor, t: Tensor, y: Tensor) -> Any:
            seen.append(tuple(x_t.shape[-2:]))
            return denoiser(x_t, t, y)

        return call

    restore = Restorer(prior).wrapped(spy)
    whole = restore(measured(image), method="ddnm", steps=2, tile=0)
    assert set(seen) == {(96, 192)}
    seen.clear()
    tiled = restore(measured(image), method="ddnm", steps=2, tile=128, overlap=64)
    assert len(seen) > 2
    assert all(max(shape) < 192 for shape in seen)
    assert (whole - tiled).abs().max() < 1e-3


def test_a_measurement_is_solved_in_lower_precision(pixel_folder: Path, picture: Tensor) -> None:
    exact, low = (Restorer.from_pretrained(pixel_folder, dtype=dtype) for dtype in (None, "bf16"))
    a, b = (restore(measured(picture), method="ddnm", steps=2) for restore in (exact, low))
    assert b.dtype == torch.float32
    assert 0 < (a - b).abs().max() < 0.2


def test_progress_reaches_its_total(prior: Model, picture: Tensor) -> None:
    for call in (
        lambda report: Restorer(prior)(picture, steps=4, samples=2, progress=report),
        lambda report: Restorer(prior)(measured(picture), method="ddnm", steps=4, samples=2, progress=report),
    ):
        seen: list[tuple[int, int]] = []
        call(lambda done, total, seen=seen: seen.append((done, total)))
        assert seen[-1] == (8, 8)
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_model_that_needs_y_cannot_solve(model_folder: Path, picture: Tensor) -> None:
    with pytest.raises(ModelError, match="restores along the bridge rdbm"):
        Restorer.from_pretrained(model_folder)(measured(picture), method="ddnm")


def test_counting_wrappers_see_every_evaluation(prior: Model, picture: Tensor) -> None:
    counters: list[Counted] = []

    def count(denoiser: Denoiser) -> Denoiser:
        counters.append(Counted(denoiser))
        return counters[-1]

    found = Restorer(prior).wrapped(count).sample(picture, 2, steps=3)
    assert sum(counter.calls for counter in counters) == found.calls == 6


# -- latents -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def latent(tmp_path_factory: pytest.TempPathFactory) -> Model:
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    from tests.models import tiny_pipelines as tiny

    root = tmp_path_factory.mktemp("pipelines")
    folder = tiny.save_stable_diffusion(root / "sd")
    return load_model(folder, controlnet=tiny.save_controlnet(folder, root / "control"))


def test_latents_are_taken_in_blended_tiles_whose_condition_lies_where_they_lie(latent: Model) -> None:
    image = torch.rand(1, 3, 128, 192, generator=torch.Generator().manual_seed(0))
    shapes: list[tuple[int, ...]] = []

    def spy(denoiser: Denoiser) -> Denoiser:
        def call(x_t: Tensor, t: Tensor, y: Tensor) -> Any:
            shapes.append(tuple(x_t.shape[-2:]))
            return denoiser(x_t, t, y)

        return call

    restore = Restorer.from_preset(latent, steps=3).wrapped(spy)
    whole = restore(image, tile=0)
    assert set(shapes) == {(64, 96)}
    shapes.clear()
    tiled = restore(image, tile=96, overlap=48)
    assert len(set(shapes)) == 1
    assert max(shapes[0]) <= 48
    assert len(shapes) >= 3 * 4
    assert (whole - tiled).abs().mean() < 0.02
    # another image in the lower right corner changes that corner's tiles alone
    other = image.clone()
    other[..., 100:, 170:] = 1 - other[..., 100:, 170:]
    change = (restore(other, tile=64, overlap=16) - restore(image, tile=64, overlap=16)).abs()
    assert change[..., 100:, 170:].mean() > 4 * change[..., :40, :60].mean()


def test_latents_cannot_be_measured(latent: Model, picture: Tensor) -> None:
    with pytest.raises(ModelError, match="zero-shot solvers work on pixels"):
        Restorer(latent)(measured(picture), method="ddnm")


@given(
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.sampled_from([None, 64, 256]),
    st.sampled_from([None, 0, 64, 500]),
    st.sampled_from([None, 16, 100, 900]),
)
def test_tiles_are_windows_of_which_the_middle_counts_or_as_large_as_asked(
    height: int, width: int, window: int | None, side: int | None, overlap: int | None
) -> None:
    found = Tiles(side, overlap).chosen(height, width, window)
    if window is not None and (side is not None or max(height, width) > window):
        assert found == (window, min(window // 2, window if overlap is None else overlap))
    elif side is None:
        assert found == (1408 if height * width > 1024**2 else None, overlap)
    else:
        assert found == (side or None, overlap)
