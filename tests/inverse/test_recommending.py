"""The default method: one rule, the same in Python and on the command line."""

import pytest
import torch

from rebridge import Restorer, bridges
from rebridge.commands.options import SolveOptions
from rebridge.inverse import Measurement, operators, recommended, recommended_text
from rebridge.models import DenoiserModel


@pytest.mark.parametrize(
    ("name", "sigma_y", "method"),
    [
        ("sr4", 0.0, "ddnm"),
        ("noise", 0.1, "ddnm"),
        ("blur", 0.01, "diffpir:zeta=0.8"),
        ("cs", 0.01, "ddnm"),
        ("mask", 0.0, "ddnm"),
        ("jpeg", 0.0, "diffpir:zeta=0.8"),
    ],
)
def test_the_rule_is_that_of_the_document(name: str, sigma_y: float, method: str) -> None:
    operator = operators.create(name, (3, 16, 16))
    assert recommended_text(operator, sigma_y) == method
    chosen = recommended(operator, sigma_y, steps=3)
    assert chosen.steps == 3
    assert chosen.fits(operator)
    assert sigma_y == 0 or not chosen.reproduces_noise(operator)


def test_python_and_the_command_line_choose_alike() -> None:
    model = DenoiserModel(lambda x_t, t, y: x_t / 2, bridges.create("vp"), channels=3)
    operator = operators.create("noise", (3, 8, 8))
    measured = Measurement(torch.rand(1, 3, 8, 8), operator, 0.1)
    assert Restorer(model).method(of=measured) == recommended(operator, 0.1)
    assert SolveOptions(inputs=["a.png"]).solver is None
