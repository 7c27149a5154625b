"""The default method: one rule, the same in Python and on the command line."""

import pytest
import torch

from rebridge import Restorer, bridges
from rebridge.commands.options import SolveOptions
from rebridge.inverse import Measurement, create, operators, recommended, recommended_text
from rebridge.models import DenoiserModel, load_prior
from rebridge.restoration import solve

MEAN = "diffpir:begin=0.17,steps=20,zeta=1.0,lam=1.0,average=4"


@pytest.mark.parametrize(
    ("name", "samples", "method"),
    [
        ("sr4", 1, MEAN),
        ("noise", 1, MEAN),
        ("blur", 1, MEAN),
        ("jpeg", 1, MEAN),
        ("colour", 1, MEAN),
        ("sr4", 2, "diffpir:zeta=1.0,lam=1.0"),
        ("jpeg", 4, "diffpir:zeta=1.0,lam=1.0"),
    ],
)
def test_the_rule_is_that_of_the_document(name: str, samples: int, method: str) -> None:
    operator = operators.create(name, (3, 16, 16))
    for sigma_y in (0.0, 0.1):
        assert recommended_text(operator, sigma_y, samples) == method
        chosen = recommended(operator, sigma_y, samples, steps=3)
        assert chosen.steps == 3
        assert chosen.fits(operator)
        assert not chosen.reproduces_noise(operator)


def test_python_and_the_command_line_choose_alike() -> None:
    model = DenoiserModel(lambda x_t, t, y: x_t / 2, bridges.create("vp"), channels=3)
    operator = operators.create("noise", (3, 8, 8))
    measured = Measurement(torch.rand(1, 3, 8, 8), operator, 0.1)
    assert Restorer(model).method(of=measured) == recommended(operator, 0.1)
    assert Restorer(model).method(of=measured, samples=2) == recommended(operator, 0.1, 2)
    assert SolveOptions(inputs=["a.png"]).solver is None


def test_one_result_is_nearer_to_the_truth_than_a_draw_and_several_results_are_draws() -> None:
    clean = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)).cumsum(-1).cumsum(-2)
    clean = clean / clean.max()
    operator = operators.create("mask", (3, 32, 32), missing=0.5)
    y = operator.A(clean)
    prior = load_prior("pixel-prior-small")
    by_default, draw = (
        solve(y, operator, prior, method) for method in (None, create("diffpir", zeta=1.0, lam=1.0, steps=20))
    )
    assert by_default.calls == recommended(operator).calls
    assert (by_default.mean - clean).norm() < (draw.mean - clean).norm()
    several = solve(y, operator, prior, samples=2, steps=3)
    assert several.calls == 6
    assert several.std.max() > 0
