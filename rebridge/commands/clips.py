"""Animations and films in `restore`: one noise field and one decision."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from rebridge.commands.conditions import conditions_of_file
from rebridge.commands.findings import finding_records, found_words, treated_words
from rebridge.commands.opening import Opened
from rebridge.commands.options import RestoreOptions
from rebridge.commands.progress import Reporter
from rebridge.images import Image, result_suffix
from rebridge.images.clips import Clip, clip_suffix, is_clip, open_clip, read_frames, write_frames
from rebridge.models import Finding, TrainedModel
from rebridge.restoration import Restorer
from rebridge.restoration.files import Job
from rebridge.restoration.moving import Flicker, restore_frames

EXAMINED = 8
"""Frames from which it is decided what ails a clip."""


def moving_suffix(path: Path) -> str:
    """Return the suffix of a result: clips stay clips."""
    return clip_suffix(path) if is_clip(path) else result_suffix(path.suffix)


def restore_clip(job: Job, opened: Opened, options: RestoreOptions, report: Reporter) -> Mapping[str, Any]:
    """Restore an animation or a film.

    Args:
        job: the file.
        opened: the restorer.
        options: of the command.
        report: called with the frames that are done.

    Returns:
        Details of the result: what was found and done, and the flicker before and after.

    Raises:
        ValueError: a clip that cannot be read or written, or options for still pictures.
    """
    if options.before_after or options.contact_sheet is not None:
        raise ValueError(f"{job.path}: --before-after and --contact-sheet take still pictures")
    clip = open_clip(job.path, options.pixel_limit)
    (restorer, findings), told = _decided(opened.restorer, clip), _told(job, opened, options)
    flickers = Flicker(), Flicker(), Flicker()
    number = 0

    def restored(frame: Image) -> Image:
        nonlocal number
        found: Image = frame
        if restorer is not None:
            found = restorer(
                frame,
                steps=options.steps,
                seed=options.noise_seed,
                tile=options.tile,
                overlap=options.overlap,
                samples=options.samples,
                strength=options.strength,
                sampler=options.sampler,
                **told,
            )
        number += 1
        flickers[1].add(found.pixels)
        report(number, max(clip.frames or number + 1, number), f"{job.path.name}, frame {number}")
        return found

    def frames() -> Any:
        steady = 0.0 if restorer is None else options.steady
        for before, after in restore_frames(read_frames(clip), restored, steady):
            flickers[0].add(before.pixels)
            flickers[2].add(after.pixels)
            yield after

    count = write_frames(job.output, frames(), clip, options.quality or 90, options.overwrite)
    was, alone, now = (round(flicker.mean, 3) for flicker in flickers)
    words = f"{count} frames; mean difference of neighbours {was:.2f} of 255 levels before, {now:.2f} after"
    words += f" ({alone:.2f} frame by frame)" if restorer is not None and options.steady else ""
    details: dict[str, Any] = {"frames": count, "flicker": {"before": was, "frame_by_frame": alone, "after": now}}
    if findings is None:
        return details | {"done_words": f"restored by {opened.name}: {words}"}
    treated = treated_words(findings)
    done = f"restored: {treated}" if treated else "left as it is"
    found = {"found": finding_records(findings), "found_words": f"found {found_words(findings)}"}
    return details | found | {"done_words": f"{done}; {words}"}


def _told(job: Job, opened: Opened, options: RestoreOptions) -> dict[str, Any]:
    """The extra conditions of a clip, the same for all of its frames."""
    return conditions_of_file(job.path, opened.restorer.model, options.conditions)


def _decided(restorer: Restorer, clip: Clip) -> tuple[Restorer | None, list[Finding] | None]:
    """Decide once for all frames what is treated; None for a clip that is left as it is."""
    model = restorer.model
    if not model.examines or not isinstance(model, TrainedModel):
        return restorer, None
    looked = [restorer.examine(frame) for frame in islice(read_frames(clip), EXAMINED)]
    means = {
        one.kind: [
            sum(getattr(other, key) for found in looked for other in found if other.kind == one.kind) / len(looked)
            for key in ("probability", "treated")
        ]
        for one in looked[0]
    }
    kinds = [kind for kind, (_, treated) in means.items() if treated >= 0.5]
    findings = [Finding(kind, likely, float(kind in kinds)) for kind, (likely, _) in means.items()]
    findings.sort(key=lambda one: -one.probability)
    if not kinds:
        return None, findings
    return Restorer(model.treating(kinds), sampler=restorer.sampler_config), findings
