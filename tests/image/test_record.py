"""Results of image files: what could not be judged has its line, and the others are judged."""

import argparse
import csv

import numpy as np
from drawn_images import stripes, write

from ipad_jax.commands.detect_images import status
from ipad_jax.data_builders.photos import read_photo
from ipad_jax.image.inspection import Inspection
from ipad_jax.image.record import images_in, inspect_files, summary


class OnlySquare:
    """Judges square images by their brightness and refuses others, as a learned object does."""

    threshold, heat = 1e9, None

    def read(self, path):
        return read_photo(path)

    def reference(self, image, found):
        return None

    def inspect(self, image):
        if image.shape[0] != image.shape[1]:
            raise ValueError("the image is of other proportions.")
        return Inspection(float(image.mean()), False, image.mean(axis=2).astype(np.float32))


def test_a_file_that_cannot_be_judged_is_named_and_the_others_are_judged(tmp_path):
    for name, size in (("a", (20, 20)), ("b", (20, 30)), ("d", (24, 24))):
        write(tmp_path / f"in/{name}.png", stripes(0, size))
    (tmp_path / "in/c.png").write_bytes((tmp_path / "in/a.png").read_bytes()[:60])
    files = images_in(tmp_path / "in")
    results = inspect_files(OnlySquare(), files, tmp_path / "out")
    with (tmp_path / "out/results.csv").open() as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert {name: bool(row["score"]) for name, row in rows.items()} == {
        "a.png": True, "b.png": False, "c.png": False, "d.png": True,
    }  # fmt: skip
    assert rows["b.png"]["problem"] == f"{files[1][1]}: the image is of other proportions."
    assert rows["c.png"]["problem"].startswith(f"{files[2][1]}: ")
    told = summary(results, tmp_path).splitlines()
    assert told[0] == "2 images judged, 0 with an alarm; 2 not judged"
    assert f"  not judged: {rows['b.png']['problem']}" in told
    assert status(argparse.Namespace(fail_on_alarm=False), results) == 1
    assert {p.name for p in (tmp_path / "out/overlays").iterdir()} == {"a.png.jpg", "d.png.jpg"}
