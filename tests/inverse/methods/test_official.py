"""The authors' own code of eight zero-shot methods, replayed through public names; see docs/truth.md.

A toy of 3 x 8 x 8 pixels with the denoiser tanh(0.9 x); the files name their sources and parameters. Index i is the time
(i + 1)/1000.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rebridge.inverse import Problem, create, operators
from rebridge.inverse.operators import Operator
from tests.inverse.conftest import VP, replayed
from tests.reference import FOLDER, double, load

FILES = {name: load(f"solvers/{name}") for name in ("ddnm", "ddrm", "deqir", "diffpir", "dps", "dps_reddiff", "pgdm")}
FILES |= {name: load(f"solvers/{name}") for name in ("reddiff", "scd")}


def denoiser(x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
    return torch.tanh(0.9 * x_t)


def operator_of(content: dict[str, Any], name: str) -> Operator:
    made: dict[str, Callable[[], Operator]] = {
        "mask": lambda: operators.create("known-mask", (3, 8, 8), mask=double(content["mask"])),
        "blur": lambda: operators.create(
            "separable", (3, 8, 8), rows=double(content["rows"]), columns=double(content["rows"])
        ),
        "colour": lambda: operators.create("colour", (3, 8, 8), weights=content["colour_weights"]),
        "average2": lambda: operators.create("average2", (3, 8, 8)),
    }
    return made[name]()


def times_of(indices: list[int]) -> list[float]:
    return [(index + 1) / 1000 for index in sorted(indices, reverse=True)] + [0.0]


def cases(name: str) -> list[Any]:
    """The cases of a file, each with the file, named by their settings."""
    plain = (str, int, float, bool)
    return [
        pytest.param(FILES[name], case, id="-".join(f"{key}={v}" for key, v in case.items() if isinstance(v, plain)))
        for case in FILES[name]["cases"]
    ]


def problem_of(content: dict[str, Any], case: dict[str, Any], denoise: Any = denoiser) -> Problem:
    operator = operator_of(content, case["operator"])
    return Problem(VP, denoise, operator, double(case["y"]), case.get("sigma_y", 0.0))


def agree(ours: Any, theirs: Any, tolerance: float) -> None:
    theirs = double(theirs)
    assert (double(ours) - theirs).norm() <= tolerance * theirs.norm()


class States:
    """A callback that keeps the states and the images."""

    def __init__(self) -> None:
        self.states: list[Tensor] = []
        self.images: list[Tensor] = []

    def __call__(self, step: int, t: float, x_t: Tensor, x0: Tensor) -> None:
        self.states.append(x_t.clone())
        self.images.append(x0.clone())


@pytest.mark.parametrize(("content", "case"), cases("ddnm"))
def test_ddnm_and_ddnm_plus(content: dict[str, Any], case: dict[str, Any]) -> None:
    noise = double(case["noise"])
    method = create("ddnm", eta=case["eta"])
    found = method(problem_of(content, case), times=times_of(case["indices"]), x=noise[0], noise=replayed(noise[1:]))
    agree(found, case["result"], 1e-7)


@pytest.mark.parametrize(("content", "case"), cases("ddrm"))
def test_ddrm(content: dict[str, Any], case: dict[str, Any]) -> None:
    """Their first state is divided by sigma_T instead of multiplied by alpha_T, 2e-5 of it, so it is handed over."""
    noise, seen = double(case["noise"]), States()
    method = create("ddrm", eta=case["eta"], eta_b=case["eta_b"], last="model")
    problem, times, start = problem_of(content, case), times_of(content["indices"]), double(case["states"][0])
    found = method(problem, times=times, x=start, noise=replayed(noise[1:]), callback=seen)
    agree(torch.stack([*seen.states, found]), case["states"], 1e-6)
    agree(seen.images[-1], case["last_x0_hat"], 1e-6)
    begun = States()
    create("ddrm")(problem, times=times, noise=replayed(noise), callback=begun)
    agree(begun.states[0], start, 3e-5)


@pytest.mark.parametrize(("content", "case"), cases("deqir"))
def test_deqir(content: dict[str, Any], case: dict[str, Any]) -> None:
    method = create("deqir", sweeps=10, etw=case["etw"], nw=case["nw"])
    problem, start = problem_of(content, case), double(case["start"])
    found = method(problem, times=times_of(content["indices"]), x=start, noise=replayed([double(case["z"])]))
    agree(found, case["fixed_point"], 1e-12)


@pytest.mark.parametrize(("content", "case"), cases("diffpir"))
def test_diffpir(content: dict[str, Any], case: dict[str, Any]) -> None:
    """Their images are in [0, 1] for the data and in [-1, 1] for the model."""
    operator = operators.create("blur", (3, 8, 8), kernel=double(case["kernel"]), boundary="periodic")
    problem = Problem(VP, denoiser, operator, 2 * double(case["y01"]) - 1, 2 * case["sigma_img"])
    settings = {"steps": 10, "grid": "quad", "lam": case["lambda"] / 4, "zeta": case["zeta"], "last": "state"}
    method, seen = create("diffpir", **settings), States()
    assert method.times(VP).tolist() == pytest.approx(times_of(case["indices"]))
    spare = torch.zeros(1, 3, 8, 8, dtype=torch.float64)
    noise = replayed([*double(case["noise"]), spare])
    agree(method(problem, x=double(case["start"]), noise=noise, callback=seen), case["result"], 1e-9)
    agree(torch.stack(seen.states), case["states"], 1e-9)


@pytest.mark.parametrize(("content", "case"), cases("dps"))
def test_dps_as_published(content: dict[str, Any], case: dict[str, Any]) -> None:
    noise, seen = double(case["noise"]), States()
    method = create("dps", scale=case["scale"], eta=1.0)
    found = method(
        problem_of(content, case),
        times=times_of(content["indices"]),
        x=noise[0],
        noise=replayed(noise[1:]),
        callback=seen,
    )
    agree(torch.stack([*seen.states, found]), case["states"], 1e-12)


@pytest.mark.parametrize(("content", "case"), cases("dps_reddiff"))
def test_dps_of_red_diffs_code(content: dict[str, Any], case: dict[str, Any]) -> None:
    """Their gradient is that of the squared misfit over the misfit, twice ours."""
    seen, start = States(), double(case["start"])
    method = create("dps", scale=2 * case["grad_term_weight"], eta=0.0)
    found = method(problem_of(content, case), times=times_of(content["indices"]), x=start, callback=seen)
    agree_with_states([*seen.states, found], start, case["states"], 1e-12)


@pytest.mark.parametrize(("content", "case"), cases("pgdm"))
def test_pigdm(content: dict[str, Any], case: dict[str, Any]) -> None:
    noise, start, seen = double(case["noise"]), double(case["start"]), States()
    method = create("pigdm", eta=case["eta"])
    problem, times = problem_of(content, case), times_of(content["indices"])
    found = method(problem, times=times, x=start, noise=replayed(noise[1:]), callback=seen)
    agree_with_states([*seen.states, found], start, case["states"], 1e-12)


def agree_with_states(ours: list[Tensor], start: Tensor, theirs: Any, tolerance: float) -> None:
    """Compare in the order in which the file has them, newest first or last."""
    forward = bool((double(theirs[0]) - start).norm() < (double(theirs[-1]) - start).norm())
    agree(torch.stack(ours if forward else ours[::-1]), theirs, tolerance)


@pytest.mark.filterwarnings("ignore:red-diff fits y")
@pytest.mark.parametrize(("content", "case"), cases("reddiff"))
def test_red_diff(content: dict[str, Any], case: dict[str, Any]) -> None:
    settings = {"weighting": case["weighting"], "lr": case["lr"], "weight": case["weight"]}
    problem, times = problem_of(content, case), times_of(content["indices"])
    for last, key in (("mu", "mu"), ("sample", "x0_pred")):
        found = create("red-diff", last=last, **settings)(problem, times=times, noise=replayed(double(case["noise"])))
        agree(found, case[key], 1e-12)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.b(nn.functional.silu(self.a(x)))
        return found


class Toy(nn.Module):
    """The network of the SCD file: two residual blocks and tanh, in float64."""

    def __init__(self, weights: dict[str, Any]) -> None:
        super().__init__()
        self.input_blocks, self.output_blocks = nn.ModuleList([Block()]), nn.ModuleList([Block()])
        self.double().load_state_dict({key: double(value) for key, value in weights.items()})
        self.requires_grad_(False)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        found: Tensor = torch.tanh(self.output_blocks[0](self.input_blocks[0](x_t)))
        return found


@pytest.fixture
def double_by_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("double_by_default")
@pytest.mark.parametrize(("content", "case"), cases("scd"))
def test_scd(content: dict[str, Any], case: dict[str, Any]) -> None:
    """Their run had double precision as the default of PyTorch, on which the first weights of the adapters depend."""
    network, noise = Toy(content["weights"]), double(case["noise"])
    operator = operator_of(content, case["operator"])
    problem = Problem(VP, network, operator, double(case["y"]), 0.0, network)
    settings = {
        "gamma": case["gamma"],
        "rank": case["rank"],
        "iterations": max(case["K"], 1),
        "lr": case["lr"],
        "every": case["skip"],
        "tv": case["tv"],
        "eta": case["eta"],
        "adapt": case["adapt"],
    }
    times = times_of(content["indices"])
    for last, key in (("data", "xhat"), ("model", "x0")):
        for conjugate in (None, case["cg_iterations"]):
            method = create("scd", last=last, conjugate=conjugate, **settings)
            found = method(problem, times=times, x=noise[0], noise=replayed(noise[1:]))
            agree(found, case[key], 1e-12)


def test_every_file_of_solvers_is_replayed() -> None:
    here = {path.stem for path in (FOLDER / "solvers").glob("*.json")}
    assert here == set(FILES)
