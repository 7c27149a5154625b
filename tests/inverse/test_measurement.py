"""Operators as text, and their measurements as pictures."""

import pytest
import torch

from rebridge.inverse import OperatorSpec
from tests.inverse.conftest import image


@pytest.mark.parametrize("text", ["noise@25", "mask", "box", "sr4", "average2", "blur:length=5", "colour", "jpeg"])
def test_measurements_are_shown_as_pictures_of_the_images_size(text: str) -> None:
    spec = OperatorSpec.parse(text)
    operator = spec.operator((3, 16, 24))
    shown = operator.to_picture(spec.measure(operator, image(), torch.randn(operator.A(image()).shape)))
    assert shown is not None
    assert shown.shape == (1, 3, 16, 24)
    assert 0 <= shown.min() <= shown.max() <= 1


def test_unknown_pixels_are_shown_grey() -> None:
    spec = OperatorSpec.parse("mask")
    operator = spec.operator((3, 16, 24))
    shown = operator.to_picture(spec.measure(operator, image(), torch.zeros(1, 3, 16, 24)))
    assert shown is not None
    unknown = (operator.A(torch.ones(1, 3, 16, 24)) == 0).expand(1, 3, 16, 24)
    assert unknown.any()
    assert (shown[unknown] == 0.5).all()
    assert torch.equal(shown[~unknown], image()[~unknown])


@pytest.mark.parametrize("text", ["noise@0", "mask", "sr4", "average2", "blur:length=5", "jpeg"])
def test_a_picture_of_a_measurement_is_read_as_that_measurement(text: str) -> None:
    operator = OperatorSpec.parse(text).operator((3, 16, 24))
    y = operator.A(image())
    small = operator.to_picture(y) if text in ("jpeg",) else y
    assert small is not None
    torch.testing.assert_close(operator.from_picture(small), y, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("text", ["cs", "radon"])
def test_what_is_no_picture_says_so(text: str) -> None:
    spec = OperatorSpec.parse(text)
    operator = spec.operator((3, 16, 24))
    assert not spec.pictured
    assert operator.to_picture(operator.A(image())) is None
    with pytest.raises(ValueError, match=f"measurements of {text} are no pictures"):
        operator.from_picture(image())


def test_noise_is_added_only_where_something_is_measured() -> None:
    spec = OperatorSpec.parse("box:side=0.5@25")
    operator = spec.operator((3, 16, 24))
    y = spec.measure(operator, image(), torch.ones(1, 3, 16, 24))
    known = operator.A(torch.ones(1, 3, 16, 24))
    torch.testing.assert_close(y, known * (image() + 25 / 255))


@pytest.mark.parametrize(("text", "message"), [("sr3", "unknown operator 'sr3'"), ("noise@loud", "got 'noise@loud'")])
def test_a_text_of_another_form_gets_one_sentence(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OperatorSpec.parse(text)


def test_noise_needs_a_level() -> None:
    with pytest.raises(ValueError, match="noise@25"):
        OperatorSpec.parse("noise")
