"""Evaluation of restored images: metrics, scores per image and task, tables."""

from rebridge.evaluation.cases import Case, degrade_case, paired_cases, synthetic_cases
from rebridge.evaluation.evaluate import Evaluation, Score, TaskScores, evaluate, evaluate_tasks
from rebridge.evaluation.metrics import psnr, ssim

__all__ = [
    "Case",
    "Evaluation",
    "Score",
    "TaskScores",
    "degrade_case",
    "evaluate",
    "evaluate_tasks",
    "paired_cases",
    "psnr",
    "ssim",
    "synthetic_cases",
]
