"""docs/extending.md runs as it stands, and its parts are there by name: in Python and on the command line."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import rebridge
from rebridge import bridges, degradations, inverse, networks, samplers
from rebridge.bridges.catalogue import BRIDGES
from rebridge.degradations.catalogue import DEGRADATIONS
from rebridge.inverse import operators
from rebridge.inverse.catalogue import SOLVERS
from rebridge.inverse.operators.catalogue import OPERATORS
from rebridge.models.formats import FORMATS
from rebridge.networks.catalogue import NETWORKS
from rebridge.samplers.catalogue import SAMPLERS
from rebridge.training import LOSSES, TrainConfig, train_file

DOCUMENT = Path(__file__).parent.parent / "docs" / "extending.md"
CODE = "\n".join(re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL))
CATALOGUES: tuple[Any, ...] = (BRIDGES, SAMPLERS, NETWORKS, DEGRADATIONS, OPERATORS, SOLVERS, FORMATS, LOSSES)


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The names that the page defines, after it has run in an empty folder; what it registered is taken out again."""
    monkeypatch.chdir(tmp_path)
    before = [set(catalogue.names()) for catalogue in CATALOGUES]
    names: dict[str, Any] = {"__name__": "example"}
    try:
        exec(compile(CODE, str(DOCUMENT), "exec"), names)
        yield names
    finally:
        for catalogue, known in zip(CATALOGUES, before, strict=True):
            for name in set(catalogue.names()) - known:
                catalogue.unregister(name)


def test_every_part_of_the_page_is_there_by_its_name(example: dict[str, Any]) -> None:
    assert bridges.create("sine", sigma=0.1).params["sigma"] == 0.1
    assert samplers.parse("restart:steps=4").steps == 4
    assert networks.create("shallow").config == {"name": "shallow", "width": 16}
    assert degradations.parameters("fog") == {"veil": (0.2, 0.6)}
    assert inverse.create("one-shot").calls == 1
    assert "halves" in operators.names()
    assert rebridge.models.formats.detect("weights.shallow") == "shallow"
    image = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(example["restore"](image, seed=1), example["restore"](image, seed=1))


def test_a_new_bridge_and_a_new_sampler_go_with_all_the_others(example: dict[str, Any]) -> None:
    y = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    x0 = torch.rand_like(y)
    sine = bridges.create("sine")
    for name in samplers.names():
        out = samplers.create(name, steps=8)(sine, lambda x_t, t, y: x0, y)
        assert torch.isfinite(out).all(), name
    out = samplers.create("restart", steps=4)(bridges.create("goub"), lambda x_t, t, y: x0, y)
    torch.testing.assert_close(out, x0)


def test_the_new_operator_satisfies_what_all_satisfy(example: dict[str, Any]) -> None:
    operator = operators.create("halves", (3, 8, 12))
    x, y = torch.rand(1, 3, 8, 12, dtype=torch.float64), torch.rand(1, 3, 8, 6, dtype=torch.float64)
    torch.testing.assert_close((operator.A(x) * y).sum(), (x * operator.A_adjoint(y)).sum())
    torch.testing.assert_close(operator.A(operator.A_dagger(y)), y, rtol=1e-5, atol=1e-5)
    v = operator.prox_l2(x, y, 3.0)
    torch.testing.assert_close(v - x, 3.0 * operator.A_adjoint(y - operator.A(v)), rtol=1e-4, atol=1e-5)


def test_the_new_method_fits_the_measurement(example: dict[str, Any]) -> None:
    found, measurement = example["found"], example["measurement"]
    assert (measurement.operator.A(found) - measurement.y).abs().mean() < 0.1


def test_a_format_of_a_user_is_loaded_by_the_restorer(example: dict[str, Any]) -> None:
    model = rebridge.Restorer.from_pretrained("weights.shallow").model
    assert model.network is not None
    for key, value in model.network.state_dict().items():
        assert torch.equal(value, example["network"].state_dict()[key])


def test_a_configuration_trains_on_the_new_loss(example: dict[str, Any], tmp_path: Path) -> None:
    examples = DOCUMENT.parent.parent / "examples" / "images"
    text = f"""
    output: {tmp_path / "run"}
    data: {{clean: {examples}, patch: 16, tasks: {{fog: 1.0}}}}
    network: {{name: shallow, width: 8}}
    prediction: residual
    bridge: {{name: sine}}
    loss: {{kind: edges}}
    optimisation: {{iterations: 2, batch: 2}}
    device: cpu
    """
    (tmp_path / "run.yaml").write_text(text)
    result = train_file(tmp_path / "run.yaml")
    assert result.model is not None
    assert rebridge.Restorer.from_pretrained(result.model).model.tasks == ["fog"]
    x0, x = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    assert LOSSES["edges"](x, x0) == 1
    with pytest.raises(ValueError, match="unknown loss 'edgse'"):
        TrainConfig.model_validate(
            {"output": "x", "data": {"clean": "x", "tasks": {"rain": 1}}, "loss": {"kind": "edgse"}}
        )
