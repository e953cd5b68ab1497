"""Single images: whole ones are read, all others are said to be wrong."""

import cv2
import numpy as np
import pytest

from ipad_jax.data_builders.files import read_image


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
