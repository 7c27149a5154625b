"""TIFF pictures larger than memory, restored from file to file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rebridge.commands.findings import told_words
from rebridge.commands.opening import Opened
from rebridge.commands.options import RestoreOptions
from rebridge.commands.progress import Reporter
from rebridge.images.tiff_parts import opened_in_parts
from rebridge.restoration.choices import Asked
from rebridge.restoration.engine import Tiles
from rebridge.restoration.files import Job

PART_TILE = 1280
"""Side of tiles in pixels: a row of them is in memory at once."""
LEAST = 2**26
"""Pictures of more pixels are not taken into memory where they can be restored in parts."""
UNCHANGED_BELOW = 1e-6
"""Largest change of a pixel in [0, 1] that comes from nothing but the range of the process."""


def restore_large(job: Job, opened: Opened, options: RestoreOptions, report: Reporter) -> Mapping[str, Any] | None:
    """Restore a large TIFF picture in parts; None where it must be taken whole.

    Args:
        job: of one file.
        opened: the restorer.
        options: of the command.
        report: progress of this file.

    Raises:
        ValueError: a file that is damaged somewhere.
        OSError: the disk refuses.
    """
    shown = options.before_after or options.contact_sheet is not None
    if shown or job.output.suffix.lower() not in (".tif", ".tiff") or options.pixel_limit <= LEAST:
        return None
    with opened_in_parts(job.path, LEAST + 1) as parts:
        if parts is None or parts.shape[0] * parts.shape[1] > options.pixel_limit:
            return None
        from rebridge.restoration import streaming

        restorer = opened.restorer
        walk = restorer.sampler(options.sampler, options.steps)
        asked = Asked(
            options.steps,
            options.noise_seed,
            Tiles(options.tile or PART_TILE, options.overlap),
            options.samples,
            options.strength,
            None,
            None,
            False,
            dict(options.conditions or {}),
        )
        if not streaming.streams(restorer, walk, parts, asked):
            return None
        findings = streaming.findings(restorer, parts)
        change = streaming.restore_in_parts(
            restorer,
            walk,
            parts,
            job.output,
            asked,
            lambda done, total: report(done, total, ""),
            options.overwrite,
            job.path.stat().st_mtime,
        )
    unchanged = change.largest < UNCHANGED_BELOW
    return {
        "unchanged": unchanged,
        "unsure": unchanged and findings is not None and options.task is None and options.strength > 0,
        "identical": False,
        **told_words(opened.name, findings, change.figures),
        "views": [],
    }
