"""Metrics of pyiqa: where it is missing one sentence says so, where it is there the right images reach it."""

import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor

from rebridge.evaluation.perceptual import available, perceptual_metric


class Metric:
    """Stands in for a metric of pyiqa: says how many images it was given, plus their mean."""

    def __init__(self, mode: str) -> None:
        self.metric_mode = mode

    def __call__(self, *images: Tensor) -> Tensor:
        return len(images) + images[0].mean(dim=(1, 2, 3))


@pytest.fixture
def pyiqa(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("pyiqa")
    module.list_models = lambda: ["lpips", "niqe"]  # type: ignore[attr-defined]
    module.create_metric = lambda name: Metric("NR" if name == "niqe" else "FR")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyiqa", module)


def test_without_pyiqa_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    assert not available()
    with pytest.raises(ValueError, match=r"rebridge\[metrics\]"):
        perceptual_metric("lpips")


@pytest.mark.usefixtures("pyiqa")
def test_metrics_without_reference_get_the_restored_images_alone() -> None:
    restored, clean = torch.full((2, 3, 8, 8), 0.2), torch.ones(2, 3, 8, 8)
    assert available()
    assert perceptual_metric("niqe")(restored, clean) == pytest.approx(1.2)
    assert perceptual_metric("lpips")(restored, clean) == pytest.approx(2.2)


@pytest.mark.usefixtures("pyiqa")
def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(ValueError, match="no metric 'beauty'"):
        perceptual_metric("beauty")
