"""Is a folder of photos of an object usable? Poses, silhouettes, hull, and every image and mask opened."""

from __future__ import annotations

import collections
from pathlib import Path

from ipad_jax.data_builders.files import DataError, Problem
from ipad_jax.data_builders.image_folder.layout import GOOD
from ipad_jax.data_builders.objects import read_object
from ipad_jax.prepare.check_images import ImageFindings, open_all
from ipad_jax.run.progress import Bars

ENOUGH = 50  # training views; with fewer, sides are seen from few directions


def check_object(folder: Path, bars: Bars) -> ImageFindings:
    """Checks a folder as `prepare object_folder` reads it.

    Raises: FileNotFoundError where there is no such folder, or no poses in it.
    """
    findings = ImageFindings(folder.name)
    try:
        images, metadata = read_object(folder, 0)
    except DataError as error:
        findings.problems += error.problems
        return findings
    findings.train = len(images.train)
    findings.good = sum(photo.kind == GOOD for photo in images.test)
    for kind in images.kinds[1:]:
        of_kind = [photo for photo in images.test if photo.kind == kind]
        findings.defects[kind] = (len(of_kind), sum(photo.mask is not None for photo in of_kind))
    opened = open_all((*images.train, *images.test), None, bars, folder.name)
    findings.opened = len(opened)
    findings.problems += [found.problem for found in opened if found.problem]
    sizes = collections.Counter(f"{f.size[0]}x{f.size[1]}" for f in opened if f.size)
    findings.sizes = dict(sizes.most_common())
    notes = list(metadata["notes"])
    x, y, z, radius = metadata["ball"]
    notes.append(
        f"the object lies in a ball of radius {radius:.4g} about ({x:.4g}, {y:.4g}, {z:.4g}), in the units "
        "of its poses"
    )
    if findings.train < ENOUGH:
        notes.append(f"{findings.train} training views; {ENOUGH} to 200 from all around are better")
    if not images.test:
        notes.append("no test images: a detector can be learned, but not judged")
    findings.notes += [Problem(folder, note) for note in notes]
    return findings
