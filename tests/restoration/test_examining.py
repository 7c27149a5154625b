"""What a model tells of an image that it examines."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rebridge import Restorer
from rebridge.models import ModelError
from rebridge.restoration.looking import look


@pytest.fixture(scope="module")
def small() -> Restorer:
    return Restorer.from_pretrained("rdbm-small", "cpu")


def test_findings_agree_with_the_network_and_come_the_most_probable_first(small: Restorer, picture: Tensor) -> None:
    noisy = (picture + 0.1 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    found = small.examine(noisy)
    network = small.model.network
    expected = network.examine(2 * noisy - 1)[0]  # type: ignore[operator,union-attr]
    by_kind = {one.kind: one.probability for one in found}
    assert list(by_kind) == sorted(by_kind, key=by_kind.__getitem__, reverse=True)
    assert set(by_kind) == set(small.model.tasks)
    torch.testing.assert_close(torch.tensor([by_kind[kind] for kind in small.model.tasks]), expected)
    assert found[0].kind == "noise"
    assert found[0].treated > 0


def test_what_the_caller_names_is_treated_whatever_is_found(small: Restorer, picture: Tensor) -> None:
    told = Restorer(small.model.treating(["haze", "rain"]))  # type: ignore[attr-defined]
    treated = {one.kind for one in told.examine(picture) if one.treated > 0}
    assert treated == {"haze", "rain"}


def test_other_models_say_that_they_do_not_tell(restore: Restorer, picture: Tensor) -> None:
    assert not restore.model.examines
    with pytest.raises(ModelError, match="without telling what it finds"):
        restore.examine(picture)


def test_one_image_is_examined_at_a_time(small: Restorer, picture: Tensor) -> None:
    with pytest.raises(ValueError, match="one image is examined at a time, got 2"):
        small.examine(torch.cat([picture, picture]))


@pytest.mark.parametrize("tile", [None, 128])
def test_a_restorer_that_has_looked_gives_the_same_bits_and_findings(small: Restorer, tile: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 9, 11, generator=generator), (144, 176), mode="bicubic")
    noisy = (smooth + 0.1 * torch.randn(smooth.shape, generator=generator)).clamp(0, 1)
    looked, findings = look(small, noisy)
    assert findings == [small.examine(noisy)]
    assert torch.equal(looked(noisy, tile=tile), small(noisy, tile=tile))
    assert not torch.equal(looked(noisy, tile=tile), noisy)


def test_whole_images_are_looked_at_once(small: Restorer, picture: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    network: Any = small.model.network
    looks = []
    joined = network.examiner.joined

    def watched(near: Tensor) -> Tensor:
        looks.append(len(near))
        found: Tensor = joined(near)
        return found

    monkeypatch.setattr(network.examiner, "joined", watched)
    monkeypatch.setattr(network, "trial", None)  # which looks at parts of a picture, treated
    batch = torch.cat([picture, picture.flip(-1)])
    looked, findings = look(small, batch)
    restored = looked(batch, steps=3, sampler="dbim")
    assert looks == [2]
    assert findings is not None
    alone = {one.kind: one.probability for one in small.examine(batch[1:])}
    assert {one.kind: one.probability for one in findings[1]} == pytest.approx(alone, abs=1e-4)
    torch.testing.assert_close(restored[1:], small(batch[1:], steps=3, sampler="dbim"))


def test_a_model_that_does_not_tell_is_not_looked_with(restore: Restorer, picture: Tensor) -> None:
    assert look(restore, picture) == (restore, None)
