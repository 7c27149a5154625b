"""Evaluation of restored images: metrics, scores per image and task, tables."""

from rebridge.evaluation.cases import Case, degrade_case, paired_cases, synthetic_cases, with_conditions
from rebridge.evaluation.evaluate import Evaluation, Score, TaskScores, evaluate, evaluate_results, evaluate_tasks
from rebridge.evaluation.metrics import psnr, ssim
from rebridge.evaluation.results import result_cases
from rebridge.evaluation.scoring import Scoring

__all__ = [
    "Case",
    "Evaluation",
    "Score",
    "Scoring",
    "TaskScores",
    "degrade_case",
    "evaluate",
    "evaluate_results",
    "evaluate_tasks",
    "paired_cases",
    "psnr",
    "result_cases",
    "ssim",
    "synthetic_cases",
    "with_conditions",
]
