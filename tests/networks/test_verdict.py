"""The verdict hears what is measured of a whole picture, and the network decides by it."""

import pytest
import torch

from rebridge import networks
from rebridge.networks.careful import KINDS, Careful
from rebridge.networks.verdict import Verdict, gathered


def test_numbers_far_from_those_of_training_are_cut_off() -> None:
    torch.manual_seed(0)
    judge = Verdict(5, 2).eval()
    far = torch.full((1, 5), 7.0)
    assert torch.equal(judge(far), judge(1000 * far))


def test_the_network_decides_by_its_verdict() -> None:
    torch.manual_seed(0)
    sizes = {"widths": [8, 12, 16], "blocks": [1, 1], "middle": 1, "features": 16}
    network = networks.create("careful", verdict=True, **sizes).eval()
    assert isinstance(network, Careful)
    assert network.verdict is not None
    y = 2 * torch.rand(1, 3, 64, 64) - 1
    with torch.no_grad():
        network.verdict.layers[-1].bias.copy_(torch.tensor([9.0 if kind == "rain" else -9.0 for kind in KINDS]))  # type: ignore[operator]
        found, treated = network.diagnose(y)
        assert [
            kind for kind, share in zip(KINDS, treated[0].tolist(), strict=True) if share > 0 and kind != "noise"
        ] == ["rain"]
        assert torch.equal(found, network.examine(y))
        seen = network.look(y)
        own = network.examiner.logits(seen)
        judged = network.verdict(gathered(seen, own))
        noise, blur = KINDS.index("noise"), KINDS.index("blur")
        judged[:, noise] = torch.maximum(judged[:, noise], own[:, noise])
        judged[:, blur] = torch.minimum(judged[:, blur], own[:, blur])
        assert torch.equal(network.judge(seen), judged)
    with pytest.raises(ValueError, match="without statistics"):
        network.judge(seen._replace(measured=None))
