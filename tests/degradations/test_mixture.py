"""Mixtures: what was applied is what is said, and clean patches have no blocks of JPEG."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from rebridge.data.mixtures import HELD_OUT, MixedPatches, Photographs, RealPairs, held_out
from rebridge.degradations.base import Draw
from rebridge.degradations.compression import through_jpeg
from rebridge.degradations.mixture import LABELS, OPEN, PHYSICAL, RENDERERS, Mixture, label, pick, render
from rebridge.degradations.preparation import Preparation, muted
from rebridge.networks import careful


def picture(size: int = 64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 9, 9, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")[0]
    return (smooth + 0.05 * torch.randn(3, size, size, generator=generator)).clamp(0, 1)


def test_every_kind_has_renderers_and_a_place_in_the_physical_order() -> None:
    assert set(RENDERERS) == set(LABELS) == set(PHYSICAL)
    assert all(sum(share for share, _ in renderers) == pytest.approx(1) for renderers in RENDERERS.values())


def test_a_mixture_is_a_function_of_its_seed() -> None:
    first, second = (Mixture()(picture(), Draw(5)) for _ in range(2))
    assert torch.equal(first.degraded, second.degraded)
    assert first.stages == second.stages


def test_the_stages_make_the_degraded_picture() -> None:
    for seed in range(12):
        mixed = Mixture(counts=(0, 1, 1, 1))(picture(), Draw(seed))
        assert torch.equal(render(picture(), mixed.stages), mixed.degraded)


def test_only_what_was_applied_is_labelled() -> None:
    for seed in range(60):
        mixed = Mixture()(picture(), Draw(seed))
        applied = {stage.kind for stage in mixed.stages}
        assert len(applied) == len(mixed.stages)
        said = {kind for kind, value in zip(LABELS, mixed.labels.tolist(), strict=True) if value == 1}
        assert said <= applied
        if not applied:
            assert torch.equal(mixed.degraded, picture())
            assert not mixed.labels.any()


def test_counts_and_weights_are_the_shares() -> None:
    stages = [Mixture(counts=(1, 2, 1), weights={"rain": 3.0, "jpeg": 0.0}).stages(Draw(seed)) for seed in range(600)]
    counts = np.bincount([len(found) for found in stages], minlength=3) / 600
    np.testing.assert_allclose(counts, [0.25, 0.5, 0.25], atol=0.06)
    kinds = [stage.kind for found in stages for stage in found]
    assert "jpeg" not in kinds
    assert kinds.count("rain") > 1.5 * kinds.count("snow")


def test_the_physical_order_can_be_asked_for() -> None:
    for seed in range(40):
        kinds = [stage.kind for stage in Mixture(counts=(0, 0, 1, 1), ordered=1.0).stages(Draw(seed))]
        assert kinds == sorted(kinds, key=PHYSICAL.index)


def test_a_label_follows_the_size_of_the_change() -> None:
    errors = torch.tensor([10 ** (-psnr / 10) for psnr in (30.0, 43.0, 50.0)] + [0.0])
    assert label("noise", errors).tolist() == [1.0, OPEN, 0.0, 0.0]


def test_places_are_labelled_where_the_picture_changed() -> None:
    picture = torch.full((3, 96, 96), 0.5)
    mixed = Mixture(counts=(0, 1), weights={"raindrop": 1.0} | dict.fromkeys(set(LABELS) - {"raindrop"}, 0.0))(
        picture, Draw(3)
    )
    drops = mixed.places[LABELS.index("raindrop")]
    assert mixed.places.shape == (len(LABELS), 6, 6)
    assert (mixed.places.sum((1, 2)) != 0).tolist() == [kind == "raindrop" for kind in LABELS]
    unchanged = (mixed.degraded == picture).unfold(1, 16, 16).unfold(2, 16, 16).flatten(3).all(3).all(0)
    assert bool((drops[unchanged] == 0).all())
    assert bool((drops == 1).any())


def test_picking_never_takes_a_share_of_nothing() -> None:
    assert {pick([0.0, 1.0, 0.0], Draw(seed)) for seed in range(20)} == {1}


def test_an_unknown_kind_gives_one_sentence() -> None:
    with pytest.raises(ValueError, match="unknown kind 'fog'; known are rain, haze"):
        Mixture(weights={"fog": 1.0})


def blockiness(image: Tensor) -> float:
    """Mean step across the borders of 8x8 blocks relative to that elsewhere."""
    steps = image.diff(dim=-1).abs().mean((0, 1))
    border = torch.arange(len(steps)) % 8 == 7
    return float(steps[border].mean() / steps[~border].mean())


def test_a_reduced_picture_has_no_blocks() -> None:
    stored = through_jpeg(picture(400), 15)
    assert blockiness(stored) > 1.3
    for seed in range(4):
        patch = Preparation(sharpened=0.0, tone=0.0).patch(stored, 96, Draw(seed))
        assert patch.shape == (3, 96, 96)
        assert 0.8 < blockiness(patch) < 1.2


def test_a_small_picture_is_mirrored() -> None:
    patch = Preparation(sharpened=0.0, tone=0.0).patch(picture(20), 50, Draw(1))
    assert torch.equal(patch[:, :, 20:39], patch[:, :, :19].flip(-1))


def test_muted_pictures_have_less_colour_and_are_as_bright() -> None:
    image, greys = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0)), 0

    def colour(of: torch.Tensor) -> float:
        return float((of.amax(0) - of.amin(0)).mean())

    for seed in range(40):
        found = muted(image, Draw(seed))
        assert found.shape == image.shape
        assert 0 <= found.min() <= found.max() <= 1
        assert colour(found) < 0.85 * colour(image)
        assert abs(float(found.mean() - image.mean())) < 0.12
        assert np.corrcoef(found.mean(0).flatten(), image.mean(0).flatten())[0, 1] > 0.8
        greys += colour(found) == 0
    assert 4 <= greys <= 16


def test_only_pictures_that_are_asked_for_are_muted() -> None:
    stored = picture(120)
    usual, never, always = (
        Preparation(**given).patch(stored, 96, Draw(3)) for given in ({}, {"muted": 0.0}, {"muted": 1.0})
    )
    assert torch.equal(usual, never)
    assert not torch.equal(usual, always)


@pytest.mark.parametrize("reduction", [0.0, (0.9, 0.5), 1.5])
def test_an_impossible_reduction_gives_one_sentence(reduction: float | tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"reduction must lie in \(0, 1\]"):
        Preparation(reduction=reduction)


def write(path: Path, image: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((image * 255).byte().permute(1, 2, 0).numpy()).save(path)


def source(folder: Path, **options: float) -> MixedPatches:
    names = [name for name in (f"scene{i}" for i in range(30)) if not held_out(Path(name))][:2]
    for index, name in enumerate(names):
        write(folder / f"{name}.png", picture(90, index))
    return MixedPatches(Photographs([(folder, 1.0)]), Mixture(), Preparation(), **options)  # type: ignore[arg-type]


def test_patches_are_a_function_of_the_seed_and_sound_ones_are_their_own_target(tmp_path: Path) -> None:
    stream = source(tmp_path, wrong=0.0, alarm=0.0)
    batch = stream.batch(40, 48, 7)
    assert all(torch.equal(a, b) for a, b in zip(batch, stream.batch(40, 48, 7), strict=True))
    assert batch.degraded.shape == batch.target.shape == (40, 3, 48, 48)
    sound = (batch.labels == 0).all(1)
    assert sound.any()
    assert torch.equal(batch.degraded[sound][0], batch.target[sound][0])
    torch.testing.assert_close(batch.degraded * 255, (batch.degraded * 255).round(), rtol=0, atol=1e-4)


def test_what_is_not_treated_stays_in_the_target(tmp_path: Path) -> None:
    def left_of(partial: float) -> int:
        batch = source(tmp_path, partial=partial, wrong=0.0, alarm=0.0).batch(60, 32, 3)
        return int(((batch.labels == 1) & (batch.treat == 0)).any(1).sum())

    assert left_of(0.0) == 0
    assert left_of(1.0) > 0


def test_a_share_of_pictures_is_held_out_with_all_their_crops() -> None:
    names = [f"{i:04d}" for i in range(2400)]
    kept = sum(held_out(Path(f"{name}.jpg")) for name in names)
    assert kept == pytest.approx(2400 / HELD_OUT, rel=0.25)
    assert all(held_out(Path(name + ".jpg")) == held_out(Path(name + "_crop.png")) for name in names[:100])


def test_a_real_pair_is_cut_at_the_same_place(tmp_path: Path) -> None:
    for index in range(3):
        clean = picture(70, index)
        write(tmp_path / "gt" / f"{index}.png", clean * 0.5)
        write(tmp_path / "lq" / f"{index}.png", clean * 0.5 + 0.25)
    drawn = RealPairs(tmp_path, "noise").draw(40, Draw(2))
    assert math.isclose(float((drawn.degraded - drawn.target).mean()), 0.25, abs_tol=0.01)
    assert float((drawn.degraded - drawn.target).std()) < 0.01
    assert drawn.labels.tolist() == [float(kind == "noise") for kind in LABELS]


def test_sound_pictures_can_all_be_treated_and_are_still_their_own_target(tmp_path: Path) -> None:
    batch = source(tmp_path, alarm=1.0).batch(40, 32, 9)
    sound = (batch.labels == 0).all(1) & (batch.degraded == batch.target).flatten(1).all(1)
    assert sound.any()
    assert (batch.treat[sound].sum(1) > 0).all()


def test_the_labels_are_the_kinds_of_the_network_that_is_taught() -> None:
    assert LABELS == careful.KINDS
