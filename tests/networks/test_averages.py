"""Means over blocks and surroundings are those of torch's pooling."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from rebridge.networks.averages import block_means, surrounding_means


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("shape", "side"), [((2, 3, 32, 48), 16), ((1, 1, 37, 29), 4), ((1, 5, 8, 8), 8), ((2, 4, 9, 6), 2)]
)
def test_means_of_blocks(shape: tuple[int, ...], side: int, memory: torch.memory_format) -> None:
    image = torch.randn(shape).contiguous(memory_format=memory)
    torch.testing.assert_close(block_means(image, side), F.avg_pool2d(image, side))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(2, 3, 7, 9), (1, 1, 1, 6), (1, 2, 2, 2), (1, 1, 1, 1), (1, 3, 40, 1)])
def test_means_of_surroundings_count_what_is_there(shape: tuple[int, ...], memory: torch.memory_format) -> None:
    image = torch.randn(shape).contiguous(memory_format=memory)
    kept = image.clone()
    torch.testing.assert_close(surrounding_means(image), F.avg_pool2d(image, 3, 1, 1, count_include_pad=False))
    assert torch.equal(image, kept)


@pytest.mark.parametrize("means", [surrounding_means, lambda image: block_means(image, 2)])
def test_gradients_pass(means: object) -> None:
    image = torch.randn(1, 2, 6, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(means, (image,))  # type: ignore[arg-type]
