"""The writer of `.webm` files on its own: what it refuses, what a remote folder gets."""

import av
import numpy as np
import pytest

from ipad_jax.evaluation.report.webm import WebmWriter


def pictures(count, size=(48, 32)):
    """A bright bar on its way across, uint8 [h, w, 3]."""
    for number in range(count):
        picture = np.full((size[1], size[0], 3), 40, np.uint8)
        picture[:, 4 * number : 4 * number + 8] = (200, 60, 30)
        yield picture


def test_pictures_come_back_in_order_and_colour(tmp_path):
    with WebmWriter(tmp_path / "a.webm", (48, 32), 12.5) as file:
        for picture in pictures(10):
            file.write(picture)
    with av.open(str(tmp_path / "a.webm")) as video:
        assert video.streams.video[0].codec_context.name.startswith("vp9")
        assert float(video.streams.video[0].average_rate) == 12.5
        found = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(found) == 10
    for picture, back in zip(pictures(10), found):
        # half the colours' resolution, at the bar's edges: on average a few grey levels
        assert np.abs(picture.astype(int) - back).mean() < 8
    assert [path.name for path in tmp_path.iterdir()] == ["a.webm"]


def test_no_picture_makes_no_file(tmp_path):
    with WebmWriter(tmp_path / "a.webm", (48, 32), 10.0):
        pass
    assert not list(tmp_path.iterdir())


def test_odd_sides_are_refused(tmp_path):
    with pytest.raises(ValueError, match="pictures of 47x32: VP9 takes even sides only"):
        WebmWriter(tmp_path / "a.webm", (47, 32), 10.0)
