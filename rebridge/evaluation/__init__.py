"""How well images are restored: metrics, scores per image and task, tables."""

from rebridge.evaluation.cases import Case, degrade, paired_cases, synthetic_cases
from rebridge.evaluation.evaluate import Evaluation, Score, Summary, evaluate
from rebridge.evaluation.metrics import psnr, ssim

__all__ = [
    "Case",
    "Evaluation",
    "Score",
    "Summary",
    "degrade",
    "evaluate",
    "paired_cases",
    "psnr",
    "ssim",
    "synthetic_cases",
]
