"""Zero-shot methods, bridges and the measurement itself in one table."""

import pytest
import torch

from rebridge import Restorer, bridges, networks
from rebridge.evaluation.solvers import SolverResult, centre_square, compare_solvers
from rebridge.inverse import OperatorSpec, create
from rebridge.models import DenoiserModel, TrainedModel
from tests.inverse.conftest import image


def compared(report: list[tuple[int, int, str]]) -> list[SolverResult]:
    torch.manual_seed(0)
    network = networks.create("fast", widths=[4, 8], blocks=[1], middle=1, embedding=8)
    trained = Restorer(TrainedModel.of(network, bridges.create("rdbm"), "residual"), sampler="dbim:steps=2")
    prior = DenoiserModel(lambda x_t, t, y: x_t / 2, bridges.create("vp"), channels=3)
    specs = [OperatorSpec.parse(text) for text in ("noise@25", "radon:angles=5")]
    images = [centre_square(image(20, 30)[0], 16), centre_square(image(18, 18)[0], 16)]
    methods = {"ddrm": create("ddrm", steps=2), "dds": create("dds", steps=2)}
    return compare_solvers(
        images, specs, methods, prior, {"bridge": trained}, progress=lambda *done: report.append(done)
    )


def test_all_ways_share_one_table() -> None:
    report: list[tuple[int, int, str]] = []
    rows = compared(report)
    found = [(row.task, row.method, row.calls) for row in rows]
    assert found == [
        ("noise@25", "measured", None),
        ("noise@25", "ddrm", 2),
        ("noise@25", "dds", 2),
        ("noise@25", "bridge", 2),
        ("radon:angles=5", "ddrm", None),  # no decomposition of the Radon transform
        ("radon:angles=5", "dds", 2),
    ]
    assert rows[0].psnr == pytest.approx(20.2, abs=1.0)  # noise of 25/255
    assert rows[4].psnr is None
    assert [done for done, _, _ in report][-1] == report[-1][1] == 12


def test_a_crop_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="16 x 24 pixels has no crop of 20 x 20"):
        centre_square(image()[0], 20)
