"""Operators are what they say: linear, with the right adjoint, pseudo-inverse and proximal step, on images of any size."""

import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from rebridge.degradations.optics import convolve, disc_kernel
from rebridge.degradations.resampling import shrink
from rebridge.inverse import operators
from rebridge.inverse.operators import Operator
from rebridge.inverse.operators.sensing import hadamard

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "noise": ("noise", {}),
    "mask": ("mask", {"missing": 0.6}),
    "box": ("box", {"side": 0.4}),
    "motion blur": ("blur", {"length": 5.0}),
    "periodic motion blur": ("blur", {"length": 5.0, "boundary": "periodic"}),
    "disc blur": ("blur", {"kind": "disc", "radius": 1.5}),
    "gaussian blur": ("blur", {"kind": "gaussian", "sigma": 1.5}),
    "periodic gaussian blur": ("separable-blur", {"sigma": 1.0, "boundary": "periodic"}),
    "sr2": ("sr2", {}),
    "sr4": ("sr4", {}),
    "sr8": ("sr8", {}),
    "average2": ("average2", {}),
    "average4": ("average4", {}),
    "average8": ("average8", {}),
    "colour": ("colour", {}),
    "luma": ("colour", {"weights": (0.299, 0.587, 0.114)}),
    "cs": ("cs", {"ratio": 0.3}),
    "radon": ("radon", {"angles": 7}),
}
SIZES = st.tuples(st.integers(2, 17), st.integers(2, 17))
PROPERTIES = settings(max_examples=6, deadline=None)


def build(kind: str, height: int, width: int) -> Operator:
    name, params = KINDS[kind]
    return operators.create(name, (3, height, width), **params)


def random_like(operator: Operator, seed: int, dtype: torch.dtype, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(2, batch, *operator.shape, generator=generator, dtype=torch.float64).to(dtype)
    y = torch.randn(batch, *operator.measurement_shape, generator=generator, dtype=torch.float64).to(dtype)
    return images[0], images[1], y


def relative(difference: Tensor, *scales: Tensor) -> float:
    return difference.norm().item() / max(scale.norm().item() for scale in scales)


@pytest.mark.parametrize("kind", KINDS)
@PROPERTIES
@given(size=SIZES, seed=st.integers(0, 1000), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_adjoint_pseudo_inverse_and_proximal_step_hold_for_any_size(
    kind: str, size: tuple[int, int], seed: int, dtype: torch.dtype
) -> None:
    operator = build(kind, *size)
    x, z, y = random_like(operator, seed, dtype)
    measured = operator.A(x)
    assert measured.shape == y.shape
    assert measured.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 5e-6
    adjoint = operator.A_adjoint(y)
    assert adjoint.shape == x.shape
    assert abs((measured * y).sum() - (x * adjoint).sum()) <= tolerance * measured.norm() * y.norm()
    assert relative(operator.A(operator.A_dagger(measured)) - measured, measured, x) <= tolerance
    for gamma in (0.05, 1.0, 30.0, torch.tensor([0.3, 20.0])):
        v = operator.prox_l2(z, y, gamma).double()  # the condition itself must not add rounding errors
        trust = torch.as_tensor(gamma, dtype=torch.float64).reshape(-1, 1, 1, 1)
        pull = trust * operator.A_adjoint(y.double() - operator.A(v))
        assert relative(v - z - pull, z, trust * adjoint) <= tolerance


@pytest.mark.parametrize("kind", KINDS)
def test_operators_are_linear(kind: str) -> None:
    operator = build(kind, 9, 12)
    x, z, _ = random_like(operator, 0, torch.float64)
    both = operator.A(2 * x - 3 * z)
    torch.testing.assert_close(both, 2 * operator.A(x) - 3 * operator.A(z))


@pytest.mark.parametrize("kind", KINDS)
def test_infinite_trust_fits_the_data_and_none_changes_nothing(kind: str) -> None:
    operator = build(kind, 12, 9)
    x, z, _ = random_like(operator, 1, torch.float64)
    y = operator.A(x)
    assert relative(operator.A(operator.prox_l2(z, y, math.inf)) - y, y) < 1e-5
    torch.testing.assert_close(operator.prox_l2(z, y, 0.0), z)
    # the part of z that is not seen stays: z - v lies in the range of A^T, on which A^+ A is the identity
    moved = operator.prox_l2(z, y, math.inf) - z
    assert relative(operator.A_dagger(operator.A(moved)) - moved, moved) < 1e-4


@pytest.mark.parametrize("kind", [kind for kind in KINDS if build(kind, 6, 7).has_spectrum])
@PROPERTIES
@given(size=SIZES)
def test_spectral_operators_are_what_their_decomposition_says(kind: str, size: tuple[int, int]) -> None:
    operator = build(kind, *size)
    assert isinstance(operator, operators.Spectral)
    x, _, _ = random_like(operator, 2, torch.float64)
    spectrum = operator.spectrum(x)
    torch.testing.assert_close(operator.image(spectrum), x)
    assert spectrum.abs().square().sum().item() == pytest.approx(x.square().sum().item())
    s = operator.singular_values(x)
    measured = torch.where(s > 0, operator.measurement_spectrum(operator.A(x)), 0.0)
    torch.testing.assert_close(measured, (s * spectrum).to(measured.dtype), atol=1e-9, rtol=1e-9)


def test_conjugate_gradients_agree_with_the_matrix_they_avoid() -> None:
    """The pseudo-inverse of a large image by conjugate gradients, of a small one from its matrix: the same for both."""
    operator = operators.create("blur", (1, 11, 13), kind="disc", radius=1.0)
    assert isinstance(operator, operators.Linear)
    operator.iterations = 5000
    x, _, _ = random_like(operator, 3, torch.float64)
    y = operator.A(x)
    dense = operator.A_dagger(y)
    operator.dense = 0
    assert relative(operator.A(operator.A_dagger(y)) - operator.A(dense), y) < 1e-5


def test_measurements_are_those_of_the_degradations() -> None:
    x = torch.rand(2, 3, 21, 30, dtype=torch.float64)
    small = operators.create("sr4", x.shape[1:]).A(x)
    torch.testing.assert_close(small, torch.stack([shrink(image, 4) for image in x]))
    kernel = disc_kernel(2.0).double()
    blurred = operators.create("blur", x.shape[1:], kind="disc", radius=2.0).A(x)
    torch.testing.assert_close(blurred, torch.stack([convolve(image, kernel) for image in x]), atol=1e-6, rtol=1e-6)
    grey = operators.create("colour", x.shape[1:], weights=(0.299, 0.587, 0.114)).A(x)
    expected = 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]
    torch.testing.assert_close(grey[:, 0], expected)
    blocks = operators.create("average2", (3, 20, 30)).A(x[:, :, :20])
    torch.testing.assert_close(blocks, x[:, :, :20].unfold(2, 2, 2).unfold(3, 2, 2).mean((-2, -1)))


def test_the_separable_blur_is_the_general_one_with_the_product_kernel() -> None:
    x = torch.rand(1, 3, 19, 14, dtype=torch.float64)
    taps = torch.tensor([0.1, 0.2, 0.3, 0.25, 0.15], dtype=torch.float64)
    for boundary in ("reflect", "periodic"):
        separable = operators.create("separable-blur", x.shape[1:], kernel=taps, boundary=boundary)
        general = operators.create("blur", x.shape[1:], kernel=torch.outer(taps, taps), boundary=boundary)
        torch.testing.assert_close(separable.A(x), general.A(x))


def test_a_larger_cutoff_keeps_the_noise_of_a_blurred_image_from_growing() -> None:
    x = torch.rand(1, 1, 32, 32, dtype=torch.float64)
    sharp, safe = (
        operators.create("blur", (1, 32, 32), kind="disc", boundary="periodic", cutoff=cutoff)
        for cutoff in (1e-6, 3e-2)
    )
    noisy = sharp.A(x) + 1e-3 * torch.randn_like(x)
    assert (safe.A_dagger(noisy) - safe.A_dagger(safe.A(x))).abs().max() < 0.1 < (sharp.A_dagger(noisy) - x).abs().max()
    assert "measurement_shape" not in operators.parameters("noise")


def test_hadamard_is_the_matrix_of_sylvester() -> None:
    matrix = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(4):
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    torch.testing.assert_close(hadamard(torch.eye(16, dtype=torch.float64)), matrix / 4)
    with pytest.raises(ValueError, match="power of two"):
        hadamard(torch.ones(3))


def test_projections_keep_the_mass_and_show_chords_of_a_disc() -> None:
    """Every projection of an image has its sum, and that of a disc of radius R is the chord 2 sqrt(R^2 - s^2)."""
    operator = operators.Radon((1, 65, 65), angles=12)
    # pixels on the rim count by the share of them that lies inside, from 9 x 9 points each
    fine = (torch.arange(65 * 9, dtype=torch.float64) - 4) / 9 - 32
    inside = (fine[:, None].square() + fine.square() <= 20.0**2).double()
    disc = inside.reshape(65, 9, 65, 9).mean((1, 3))[None, None]
    y = operator.A(disc)[0, 0]
    torch.testing.assert_close(y.sum(1), disc.sum().expand(12))
    bins = torch.arange(operator.bins, dtype=torch.float64) - (operator.bins - 1) / 2
    chords = 2 * (400 - bins.square()).clamp(min=0).sqrt()
    middle = bins.abs() < 17
    assert (y - chords)[:, middle].abs().max() < 0.4


def test_filtered_back_projection_recovers_a_smooth_image() -> None:
    operator = operators.Radon((1, 48, 40), angles=120)
    rows, columns = torch.meshgrid(torch.arange(48.0) - 22, torch.arange(40.0) - 19, indexing="ij")
    blob = torch.exp(-(rows.square() + 2 * columns.square() + rows * columns) / 120)[None, None].double()
    found = operator.fbp(operator.A(blob))
    assert (found - blob).abs().max() < 0.02
    smooth = operator.fbp(operator.A(blob), window="hann")
    assert (smooth - blob).abs().max() < 0.05


def test_jpeg_decodes_to_what_pillow_decodes() -> None:
    """The same tables and quality in another implementation: what remains is its rounding to whole levels."""
    rows, columns = np.mgrid[0:40, 0:56] / 9
    phases = np.array([0.0, 1.0, 2.5])[:, None, None]
    pixels = (127 + 90 * np.sin(rows + phases) * np.cos(columns - phases)).astype(np.uint8).transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=30, subsampling=0)
    theirs = np.asarray(Image.open(file)).astype(np.float64)
    operator = operators.JPEG((3, 40, 56), quality=30)
    x = torch.from_numpy(pixels.transpose(2, 0, 1)[None] / 255)
    ours = operator.A_dagger(operator.A(x))[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255
    assert np.median(np.abs(ours - theirs)) < 0.6
    assert np.abs(ours - theirs).mean() < np.abs(theirs - pixels).mean() / 3
    tables: Any = Image.open(file)
    luma, chroma = (tables.quantization[i] for i in (0, 1))
    assert sorted(luma) == sorted(operator.steps[0].flatten().int().tolist())
    assert sorted(chroma) == sorted(operator.steps[1].flatten().int().tolist())


@PROPERTIES
@given(blocks=st.tuples(st.integers(1, 3), st.integers(1, 3)), quality=st.integers(1, 95), seed=st.integers(0, 99))
def test_jpeg_measures_the_same_again_after_decoding_and_after_projection(
    blocks: tuple[int, int], quality: int, seed: int
) -> None:
    operator = operators.create("jpeg", (3, 8 * blocks[0], 8 * blocks[1]), quality=quality)
    x, z, _ = random_like(operator, seed, torch.float64)
    y = operator.A(x)
    torch.testing.assert_close(operator.A(operator.A_dagger(y)), y)
    torch.testing.assert_close(operator.A(operator.prox_l2(z, y, math.inf)), y)
    near = operator.prox_l2(z, y, 1.0)
    torch.testing.assert_close(near, (z + operator.prox_l2(z, y, math.inf)) / 2)


def test_jpeg_takes_any_size() -> None:
    x = torch.rand(2, 1, 13, 6)
    operator = operators.create("jpeg", (1, 13, 6), quality=90)
    assert operator.A_dagger(operator.A(x)).shape == x.shape


@pytest.mark.parametrize("name", [name for name in operators.names() if name not in ("separable", "known-mask")])
def test_every_operator_of_the_catalogue_says_what_does_not_fit(name: str) -> None:
    operator = operators.create(name, (3, 8, 8))
    with pytest.raises(ValueError, match=r"images of shape \(B, 3, 8, 8\), got \(1, 3, 8, 9\)"):
        operator.A(torch.zeros(1, 3, 8, 9))
    with pytest.raises(ValueError, match="measurements of shape"):
        operator.A_dagger(torch.zeros(1, 7))
    with pytest.raises(ValueError, match="measurements of shape"):
        operator.prox_l2(torch.zeros(1, 3, 8, 8), torch.zeros(1, 7), 1.0)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("sr3", {}, "unknown operator 'sr3'; known are"),
        ("sr4", {"scale": 3}, "operator 'sr4' has no parameter 'scale'; it takes none"),
        ("mask", {"missing": 1.0}, r"missing must lie in \[0, 1\)"),
        ("known-mask", {"mask": torch.full((8, 8), 0.5)}, "0 and 1 only"),
        ("known-mask", {"mask": torch.ones(7, 8)}, r"shape \(8, 8\)"),
        ("box", {"side": 0.5, "top": 6}, "does not fit into 8 x 8"),
        ("blur", {"boundary": "zero"}, "boundary must be reflect or periodic"),
        ("blur", {"kind": "shake"}, "kind must be motion, disc or gaussian"),
        ("blur", {"kernel": torch.ones(4, 4)}, "both odd"),
        ("cs", {"ratio": 0.0}, r"ratio must lie in \(0, 1\]"),
        ("radon", {"angles": 0}, "angles must be a whole number"),
        ("jpeg", {"quality": 0}, "quality must be a whole number"),
        ("colour", {"weights": (1.0,)}, "weights must be 3 numbers"),
    ],
)
def test_bad_parameters_get_one_sentence(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        operators.create(name, (3, 8, 8), **params)


def test_negative_trust_and_bad_shapes_are_refused() -> None:
    operator = operators.create("noise", (1, 4, 4))
    image = torch.zeros(2, 1, 4, 4)
    with pytest.raises(ValueError, match="gamma must be at least 0"):
        operator.prox_l2(image, image, -1.0)
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        operator.prox_l2(image, image, torch.ones(3))
    with pytest.raises(ValueError, match="shape must be"):
        operators.create("noise", (4, 4))
