"""Prepared images: which calibrate, what is not there, what was replaced."""

import itertools

import pytest
from drawn_images import prepare, write_folder
from ml_collections import ConfigDict

from ipad_jax.input.images import images_dir, open_images, split_good


def test_held_out_images_are_spread_and_never_fitted():
    fitted, held = split_good(range(100), 0.2, 5)  # type: ignore[arg-type]
    assert len(held) == 20
    assert sorted([*fitted, *held]) == list(range(100))
    assert max(b - a for a, b in itertools.pairwise(held)) == 5


@pytest.mark.parametrize(("count", "expected"), [(4, 2), (10, 5), (26, 5), (50, 10)])
def test_at_least_five_are_held_out_but_never_more_than_half(count, expected):
    assert len(split_good(range(count), 0.2, 5)[1]) == expected  # type: ignore[arg-type]


def test_a_share_of_the_training_images_leaves_those_held_out_alone():
    everything, held = split_good(range(60), 0.2, 5)  # type: ignore[arg-type]
    few, same = split_good(range(60), 0.2, 5, 0.25)  # type: ignore[arg-type]
    assert same == held
    assert len(few) == 12
    assert set(few) <= set(everything)


def test_what_is_not_there_and_what_was_replaced_is_said(tmp_path):
    data = {"builder": "image_folder", "name": "bolt", "data_dir": str(tmp_path / "data")}
    config = ConfigDict({"data": data})
    prepare(write_folder(tmp_path / "a", good=0, spots=0), tmp_path / "data", "nut")
    with pytest.raises(
        FileNotFoundError, match=r"prepared there: nut.*ipad-jax prepare image_folder"
    ):
        open_images(config, "train")
    config.data.name = "nut"
    assert len(open_images(config, "test")) == 0
    config.data.fingerprint = "0123456789abcdef"
    with pytest.raises(ValueError, match="not the images"):
        open_images(config, "train")


def test_views_that_mad_stores_at_a_size_are_found_by_class(tmp_path):
    place = tmp_path / "mad" / "01Gorilla_400x400_q95" / "1.0.0"
    place.mkdir(parents=True)
    assert str(images_dir(tmp_path, "mad", "01Gorilla")) == str(place)
    (tmp_path / "mad" / "01Gorilla_200x200_q95").mkdir()
    with pytest.raises(ValueError, match="several sizes"):
        images_dir(tmp_path, "mad", "01Gorilla")
