"""Single images and label files: whole ones are read, all others are said to be wrong."""

import cv2
import numpy as np
import pytest

from ipad_jax.data_builders.files import read_image, read_labels


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_images_that_are_not_whole(tmp_path, suffix):
    rng = np.random.default_rng(0)
    path = tmp_path / f"0{suffix}"
    cv2.imwrite(str(path), rng.integers(0, 255, (40, 40, 3), np.uint8))
    data = path.read_bytes()
    assert read_image(path).shape == (40, 40, 3)
    for share in (0.2, 0.5, 0.9, 0.99):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ValueError, match=rf"0{suffix}: (truncated|not an image)"):
            read_image(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is empty"):
        read_image(path)
    path.write_bytes(b"#!/bin/sh\necho no image\n")
    with pytest.raises(ValueError, match="not an image"):
        read_image(path)
    with pytest.raises(ValueError, match="cannot be read"):
        read_image(tmp_path / "absent.jpg")


@pytest.mark.parametrize(
    "labels", [[0, 1, 2], [[0, 1], [1, 0]], [0.5, 1], ["a", "b"], [np.nan, 0.0]]
)
def test_labels_must_be_zeros_and_ones(tmp_path, labels):
    np.save(tmp_path / "001.npy", np.asarray(labels))
    with pytest.raises(ValueError, match="expected"):
        read_labels(tmp_path / "001.npy")


@pytest.mark.parametrize("kind", ["bool", "uint8", "float64"])
def test_labels_of_any_numeric_type(tmp_path, kind):
    np.save(tmp_path / "001.npy", np.array([[0, 1, 1]], kind))
    np.testing.assert_array_equal(read_labels(tmp_path / "001.npy"), [0, 1, 1])
