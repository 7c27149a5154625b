"""What every network promises, and what the paper says about the sizes of its own."""

import json

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rebridge import networks
from rebridge.networks.classifier import DegradationClassifier
from rebridge.networks.layers import Network, TimeEmbedding, pad_to_multiple, replicate_border

SMALL = ["rdbm-t", "fast"]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def awake(name: str, **params: object) -> Network:
    """A network without the zeros that it begins with, in float64 and eval mode."""
    network = networks.create(name, **params)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.where(parameter == 0, 0.1 * torch.randn_like(parameter), 0.0))
    return network.double().eval()


def images(batch: int, height: int, width: int, channels: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    shape = (batch, channels, height, width)
    return torch.rand(shape, dtype=torch.float64), torch.rand(batch), torch.rand(shape, dtype=torch.float64)


AWAKE = {name: awake(name) for name in SMALL}


@pytest.mark.parametrize("name", SMALL)
@settings(deadline=None, max_examples=12)
@given(height=st.integers(1, 50), width=st.integers(1, 50), batch=st.integers(1, 2))
def test_any_image_size_is_kept(name: str, height: int, width: int, batch: int) -> None:
    x, t, y = images(batch, height, width)
    with torch.no_grad():
        out = AWAKE[name](x, t, y)
    assert out.shape == x.shape
    assert out.isfinite().all()


@pytest.mark.parametrize("name", networks.names())
def test_a_single_pixel_and_a_single_row_are_images(name: str) -> None:
    network = networks.create(name)
    for height, width in [(1, 1), (1, 37)]:
        image = torch.rand(1, 3, height, width)
        assert network(image, torch.ones(1), image).shape == image.shape


@pytest.mark.parametrize("name", SMALL)
def test_other_images_of_the_batch_do_not_matter(name: str) -> None:
    x, t, y = images(3, 24, 33)
    with torch.no_grad():
        together = AWAKE[name](x, t, y)
        alone = torch.cat([AWAKE[name](x[i : i + 1], t[i : i + 1], y[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("which", ["x", "t", "y"])
def test_the_output_depends_on_every_input(name: str, which: str) -> None:
    inputs = dict(zip("xty", images(1, 16, 16), strict=True))
    with torch.no_grad():
        before = AWAKE[name](**inputs)
        after = AWAKE[name](**(inputs | {which: inputs[which] * 0.5}))
    added = 0.5 * inputs["y"] if which == "y" and name != "fast" else 0.0
    assert (before - after - added).abs().max() > 1e-4


@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_all_parameters(name: str) -> None:
    network = awake(name)
    x, t, y = images(2, 32, 32)
    network(x, t, y).square().mean().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", ["rdbm-t", "rdbm-s"])
def test_an_untrained_rdbm_network_returns_y(name: str) -> None:
    x, y = torch.rand(2, 2, 3, 20, 28)
    assert torch.equal(networks.create(name)(x, torch.rand(2), y), y)


def test_without_add_input_an_untrained_rdbm_network_returns_zero() -> None:
    x, y = torch.rand(2, 2, 3, 20, 28)
    assert not networks.create("rdbm-t", add_input=False)(x, torch.rand(2), y).any()


@pytest.mark.parametrize("kinds", [0, 3])
def test_the_fast_network_sees_a_window_of_the_image_and_nothing_else(kinds: int) -> None:
    network = awake("fast", kinds=kinds).float()
    start, crop, reach = 96, 576, 276  # the crop starts at a multiple of 16, as the levels of the network do
    window, inside = slice(start, start + crop), slice(reach, crop - reach)
    x, y = torch.rand(2, 1, 3, 736, 736)
    x[..., :start, :] += 1  # other statistics outside the crop, which no pixel of its inside may notice
    y[..., start + crop :] -= 1
    with torch.no_grad():
        whole = network(x, torch.ones(1), y)[..., window, window]
        part = network(x[..., window, window], torch.ones(1), y[..., window, window])
    torch.testing.assert_close(whole[..., inside, inside], part[..., inside, inside], rtol=0, atol=1e-5)
    assert (whole - part).abs().max() > 0.1


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 5), (8, 8)])
def test_replicated_border_is_that_of_torch(height: int, width: int) -> None:
    h = torch.rand(2, 3, height, width).contiguous(memory_format=torch.channels_last)
    assert torch.equal(replicate_border(h, 3), F.pad(h, (3, 3, 3, 3), mode="replicate"))


def test_the_fast_network_sees_further_than_150_pixels() -> None:
    network = awake("fast").float()
    y = torch.rand(1, 3, 384, 384, requires_grad=True)
    network(y.detach(), torch.ones(1), y)[..., 192, 192].sum().backward()
    assert y.grad is not None
    seen = y.grad.abs().amax(dim=(0, 1))
    assert seen[:32, 192].max() > 0
    assert seen[-32:, 192].max() > 0
    assert seen[192, :32].max() > 0
    assert seen[192, -32:].max() > 0


def test_an_untrained_fast_network_says_nothing_and_a_trained_one_begins_with_y() -> None:
    network = networks.create("fast")
    x, t, y = (value.float() for value in images(2, 24, 24))
    assert not network(x, t, y).any()
    nn.init.normal_(network.tail.weight)  # type: ignore[union-attr, arg-type]
    assert torch.equal(network(x, t, y), network(1 - x, t / 2, y))


def test_the_guide_is_taught_by_what_it_tells_and_not_by_the_restoration() -> None:
    network = networks.create("fast", kinds=4)
    x, t, y = (value.float() for value in images(2, 40, 33))
    nn.init.normal_(network.tail.weight)  # type: ignore[union-attr, arg-type]
    network(x, t, y).square().mean().backward()
    assert all(parameter.grad is None for parameter in network.guide.parameters())  # type: ignore[union-attr]
    said = network.classify(y)  # type: ignore[operator]
    assert said.shape == (2, 4, 3, 3)
    said.logsumexp(1).mean().backward()
    assert all(parameter.grad is not None for parameter in network.guide.parameters())  # type: ignore[union-attr]


def test_what_the_guide_says_changes_the_restoration() -> None:
    network = awake("fast", kinds=3)
    x, t, y = images(1, 32, 32)
    with torch.no_grad():
        before = network(x, t, y)
        network.guide.leave.bias.copy_(torch.tensor([5.0, 0.0, -5.0]))  # type: ignore[union-attr, operator]
        after = network(x, t, y)
    assert (before - after).abs().max() > 1e-4


def test_the_guide_tells_noise_from_blur_within_a_hundred_steps() -> None:
    guide = DegradationClassifier(2)
    optimizer = torch.optim.Adam(guide.parameters(), lr=3e-3)
    clean = F.avg_pool2d(torch.rand(9, 3, 192, 192) * 2 - 1, 3, stride=1, padding=1)
    kinds = [clean + 0.2 * torch.randn_like(clean), F.avg_pool2d(clean, 5, stride=1, padding=2)]
    for _ in range(60):
        logits = guide(torch.cat([kind[:8, :, :64, :64] for kind in kinds]))
        truth = torch.tensor([0] * 8 + [1] * 8).view(-1, 1, 1).expand(-1, *logits.shape[2:])
        optimizer.zero_grad()
        F.cross_entropy(logits, truth).backward()
        optimizer.step()
    with torch.no_grad():
        for kind, image in enumerate(kinds):  # an image not seen, and larger than those of the training
            assert (guide(image[8:]).argmax(1) == kind).double().mean() > 0.95


def test_a_network_without_a_classifier_cannot_classify() -> None:
    _, _, y = images(1, 16, 16)
    with pytest.raises(ValueError, match="this network has no degradation classifier; create it with kinds"):
        AWAKE["fast"].classify(y)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "millions", "giga_macs"),
    [("rdbm-t", 0.45, None), ("rdbm-b", 3.65, 23.97), ("rdbm-l", 7.73, 32.93)],
)
def test_rdbm_sizes_are_those_of_the_paper(name: str, millions: float, giga_macs: float | None) -> None:
    cost = networks.cost(networks.create(name), height=256, width=256)
    assert cost.parameters == pytest.approx(1e6 * millions, rel=0.1)
    if giga_macs is not None:
        assert cost.macs == pytest.approx(1e9 * giga_macs, rel=0.1)


def test_cost_counts_a_convolution_as_arithmetic_does() -> None:
    class Lonely(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 5, 3, padding=1)

        def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
            return self.conv(x)

    cost = networks.cost(Lonely(), height=6, width=7)
    assert cost.parameters == 3 * 5 * 9 + 5
    assert cost.macs == 3 * 5 * 9 * 6 * 7
    assert cost.flops == 2 * cost.macs


def test_cost_leaves_the_network_as_it_was() -> None:
    network = networks.create("rdbm-t").train()
    networks.cost(network, height=17, width=40)
    assert network.training
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}
    with pytest.raises(ValueError, match="height and width must be at least 1, got 0 and 5"):
        networks.cost(network, height=0, width=5)


@pytest.mark.parametrize("name", networks.names())
def test_config_survives_json_and_rebuilds_the_network(name: str) -> None:
    network = networks.create(name, channels=1)
    again = networks.create(**json.loads(json.dumps(network.config)))
    assert again.config == network.config
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in network.state_dict().items()}


def test_an_unknown_name_is_answered_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match=r"unknown network 'swin'; known are rdbm-t, .*, fast"):
        networks.create("swin")


def test_an_unknown_parameter_is_answered_with_the_parameters_there_are() -> None:
    with pytest.raises(ValueError, match=r"network 'fast' has no parameter 'depth'; it takes channels, widths, blocks"):
        networks.create("fast", depth=3)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("fast", {"widths": True}, "widths must be a list of positive integers, got True"),
        ("fast", {"widths": [32, 0]}, r"widths must be a list of positive integers, got \[32, 0\]"),
        ("fast", {"widths": [8, 8], "blocks": [1, 1]}, "blocks must have one entry less than widths, got 2 and 2"),
        ("fast", {"kinds": 1}, "kinds must be 0, or at least 2 with 3 channels, got 1 with 3 channels"),
        ("fast", {"middle": 1.5}, "network 'fast' takes a whole number as middle, got 1.5"),
        ("rdbm-s", {"width": 12}, "width must be a multiple of 8, got 12"),
        ("rdbm-s", {"multipliers": []}, r"multipliers must be a list of positive integers, got \[\]"),
        ("rdbm-s", {"channels": "3"}, "network 'rdbm-s' takes a whole number as channels, got '3'"),
    ],
)
def test_impossible_parameters_are_named(name: str, params: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        networks.create(name, **params)


@pytest.mark.parametrize(
    ("x", "t", "y", "message"),
    [
        ((1, 4, 8, 8), (1,), (1, 4, 8, 8), r"x must be \(B, 3, H, W\) with at least one pixel, got \(1, 4, 8, 8\)"),
        ((1, 3, 0, 8), (1,), (1, 3, 0, 8), r"x must be \(B, 3, H, W\) with at least one pixel, got \(1, 3, 0, 8\)"),
        ((1, 3, 8, 8), (1,), (1, 3, 8, 9), r"x and y must have the same shape"),
        ((2, 3, 8, 8), (1,), (2, 3, 8, 8), r"t must be \(2,\), one time per image, got \(1,\)"),
    ],
)
def test_wrong_shapes_are_named(x: tuple[int, ...], t: tuple[int, ...], y: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        networks.create("fast")(torch.rand(x), torch.rand(t), torch.rand(y))


@given(side=st.integers(1, 40), multiple=st.sampled_from([2, 8, 16]))
@settings(deadline=None, max_examples=40)
def test_padding_reflects_and_keeps_the_image(side: int, multiple: int) -> None:
    image = torch.rand(1, 2, 3, side)
    padded = pad_to_multiple(image, multiple)
    assert padded.shape[3] % multiple == 0
    assert padded.shape[3] - side < multiple
    assert torch.equal(padded[..., :3, :side], image)
    missing = padded.shape[3] - side
    mirror = image[..., -1 - missing : -1].flip(3) if missing < side else image[..., -1:].expand(1, 2, 3, missing)
    assert torch.equal(padded[..., :3, side:], mirror)


def test_times_one_training_step_apart_are_embedded_apart_and_alike() -> None:
    embed = TimeEmbedding(16).double()
    with torch.no_grad():
        steps = embed(torch.arange(0, 101) / 100).diff(dim=0).norm(dim=1)
    assert steps.min() > 1e-4
    assert steps.max() < 10 * steps.mean()


def test_a_part_of_a_classified_image_takes_the_classes_of_its_place() -> None:
    """The middle of a part is that of the whole, though a classifier that sees the part alone would say something else."""
    torch.manual_seed(3)
    network = awake("fast", widths=[4, 8], blocks=[1], middle=1, kinds=3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2.0)
    x, t, y = images(1, 64, 320)
    y[..., :160] = 0.5
    rows, columns = slice(0, 64), slice(160, 320)
    inside = slice(network.context + 16, 160 - network.context - 16)
    with torch.no_grad():
        seen = network.seeing(y)
        whole = seen(x, t, y)[..., rows, columns][..., inside]
        part = seen.part(rows, columns)(x[..., rows, columns], t, y[..., rows, columns])[..., inside]
        left = seen.part(rows, slice(0, 160))(x[..., rows, columns], t, y[..., rows, columns])[..., inside]
    assert inside.stop - inside.start > 16
    torch.testing.assert_close(part, whole, rtol=1e-9, atol=1e-9)
    assert (left - whole).abs().max() > 1e-6


def test_classes_are_the_same_where_blocks_are_classified_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    network = networks.create("fast", kinds=3, widths=[8, 8, 8], blocks=[1, 1], middle=1).eval()
    y = 2 * torch.rand(1, 3, 640, 96) - 1
    whole = network.seeing(y)
    monkeypatch.setattr("rebridge.networks.fast.BLOCKS_AT_ONCE", 60)
    bands = network.seeing(y)
    torch.testing.assert_close(bands.likely, whole.likely, rtol=0, atol=1e-6)
