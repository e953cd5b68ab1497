"""The builders of images: what a file of any kind becomes, layouts, and rendered parts."""

import shutil

import cv2
import numpy as np
import pytest
from drawn_images import deepen, prepare, spot, stripes, write, write_folder
from PIL import Image, ImageOps

from ipad_jax.commands import prepare as command
from ipad_jax.data_builders.image_folder.layout import scan
from ipad_jax.data_builders.parts import render
from ipad_jax.data_builders.parts.parts_dataset_builder import Builder as PartsBuilder
from ipad_jax.data_builders.parts.parts_dataset_builder import PartsConfig
from ipad_jax.data_builders.photos import read_mask, read_photo, stored_bytes, upright
from ipad_jax.input.images import open_source
from ipad_jax.prepare import build


def test_every_image_comes_back_pixel_for_pixel_with_its_kind_and_mask(tmp_path):
    folder = write_folder(tmp_path / "source")
    prepared = prepare(folder, tmp_path / "data")
    train, test = (open_source(prepared.data_dir, split) for split in ("train", "test"))
    assert len(train) == 10
    for i in range(10):
        np.testing.assert_array_equal(train.image(i), stripes(i))
        assert train.mask(i) is None
    assert test.kinds == ("good", "spot")
    assert [kind for _, kind in test.rows] == ["good"] * 3 + ["spot"] * 3
    for i in range(3):
        image, mask = spot(200 + i)
        np.testing.assert_array_equal(test.image(3 + i), image)
        np.testing.assert_array_equal(test.mask(3 + i), mask > 0)


@pytest.mark.parametrize("name", ["a.JPG", "a.png", "a.bmp", "a.tif", "a.webp"])
def test_what_is_stored_reads_as_the_file_does(tmp_path, name):
    path = write(tmp_path / name, stripes(1, (17, 23)))
    data, size = stored_bytes(path, None)
    again = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert size == (17, 23)
    np.testing.assert_array_equal(again, read_photo(path))


def test_grey_alpha_and_16_bits(tmp_path):
    grey = stripes(1)[..., 0]
    read = read_photo(write(tmp_path / "grey.png", grey))
    assert all((read[..., c] == grey).all() for c in range(3))
    clear = np.dstack([stripes(1), np.zeros(stripes(1).shape[:2], np.uint8)])
    assert (read_photo(write(tmp_path / "clear.png", clear)) == 255).all()
    twelve = grey.astype(np.uint16) << 4
    cv2.imwrite(str(tmp_path / "deep.png"), twelve)
    np.testing.assert_array_equal(read_photo(tmp_path / "deep.png", 12)[..., 0], grey)
    with pytest.raises(ValueError, match="16-bit image among 8-bit"):
        read_photo(tmp_path / "deep.png")


# What else Pillow is told; and the largest difference of its decoder from OpenCV's.
FORMATS = {
    "a.png": ({}, 0),
    "a.JPG": ({"quality": 95, "subsampling": 0, "format": "JPEG"}, 2),
    "a.webp": ({"lossless": True}, 0),
    "a.tif": ({}, 0),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_held_otherwise_gives_the_same_view(tmp_path, orientation, name):
    """Pillow's own reading of the tag is the reference."""
    options, largest = FORMATS[name]
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(stripes(1)).save(tmp_path / name, exif=exif, **options)
    with Image.open(tmp_path / name) as stored:
        wanted = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    found = read_photo(tmp_path / name)
    assert found.shape == wanted.shape
    assert np.abs(found.astype(int) - wanted).max() <= largest
    data, size = stored_bytes(tmp_path / name, None)
    again = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert size == found.shape[:2]
    np.testing.assert_array_equal(again, found)
    assert upright(np.zeros((2, 3, 3), np.uint8), orientation).shape[:2] == (
        (2, 3) if orientation < 5 else (3, 2)
    )


@pytest.mark.parametrize("high", [1, 255])
def test_masks_of_ones_and_of_255_mean_the_same(tmp_path, high):
    mask = spot(1)[1] // 255
    np.testing.assert_array_equal(read_mask(write(tmp_path / "m.png", mask * high)), mask > 0)


def test_masks_are_found_under_either_name(tmp_path):
    image, mask = spot(1)
    write(tmp_path / "train/good/0.png", stripes(0))
    for name in ("1", "2"):
        write(tmp_path / f"test/dent/{name}.jpg", image)
    write(tmp_path / "ground_truth/dent/1_mask.png", mask)
    write(tmp_path / "ground_truth/dent/2.png", mask)
    layout, problems = scan(tmp_path)
    assert not problems
    assert all(photo.mask is not None for photo in layout.test)
    assert not layout.unpaired


def test_a_folder_of_images_alone_is_good_images_to_train_on(tmp_path):
    for number in (10, 9):
        write(tmp_path / f"part {number}.jpg", stripes(number))
    layout, problems = scan(tmp_path)
    assert not problems
    assert [photo.path.name for photo in layout.train] == ["part 9.jpg", "part 10.jpg"]
    assert layout.test == ()


def test_a_mask_of_another_size_is_refused_by_name(tmp_path):
    folder = write_folder(tmp_path / "source")
    mask = write(folder / "ground_truth/spot/001_mask.png", np.zeros((5, 5), np.uint8))
    with pytest.raises(ValueError, match=rf"{mask}: is 5x5, its image 40x32"):
        prepare(folder, tmp_path / "data")
    assert not (tmp_path / "data" / "image_folder").exists()


@pytest.mark.parametrize(
    ("deep", "odd", "words"),
    [
        (["002"], "002", "16-bit image among 8-bit"),
        (["000", "001"], "002", "8-bit picture among 16"),
    ],
)
def test_images_of_8_and_of_16_bits_are_not_mixed(tmp_path, deep, odd, words):
    """Whichever comes first: 8 bits of one are not the upper 8 of the other."""
    folder = write_folder(tmp_path / "source", 3, 0, 0)
    for name in deep:
        deepen(folder / f"train/good/{name}.png")
    with pytest.raises(ValueError, match=rf"train/good/{odd}\.png: is an? {words}"):
        prepare(folder, tmp_path / "data")
    assert not (tmp_path / "data" / "image_folder").exists()


@pytest.mark.parametrize("name", ["cloth", pytest.param("plate", marks=pytest.mark.slow)])
def test_rendered_defects_lie_where_their_masks_say(tmp_path, name, monkeypatch):
    """Each mask is where the image differs from its own good twin, but for specks of up to three pixels."""
    module, drawn = render.SETS[name], []
    draw, counts = module.draw, (2, 1, 1)

    def kept(rng, defects, size):
        made = draw(rng, defects, size)
        drawn.extend(zip(defects, *made))
        return made

    monkeypatch.setattr(module, "draw", kept)
    monkeypatch.setattr(render, "NOISE", 0.0)
    for folder in ("a", "b"):
        render.write_set(tmp_path / folder, name, counts=counts, size=64)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.png"))
    assert len(files) == 2 + 1 + 2 * len(module.DEFECTS)
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    twins = {image.tobytes(): whole for _, image, whole in drawn}
    for defect in module.DEFECTS:
        image = read_photo(tmp_path / "a/test" / defect / "000.png")
        mask = read_mask(tmp_path / "a/ground_truth" / defect / "000_mask.png")
        changed = np.abs(image.astype(int) - twins[image.tobytes()]).max(-1) >= render.MASK_LEVELS
        assert 0 < mask.sum() < 0.2 * mask.size
        assert not (mask & ~changed).any()
        _, _, stats, _ = cv2.connectedComponentsWithStats((changed & ~mask).astype(np.uint8))
        assert stats[1:, cv2.CC_STAT_AREA].max(initial=0) < 4
    for part in ("train/good", "test/good"):
        image = read_photo(tmp_path / "a" / part / "000.png")
        np.testing.assert_array_equal(twins[image.tobytes()], image)


def test_rendered_parts_are_prepared_with_their_kinds_and_masks(tmp_path):
    config = PartsConfig(name="few", scene="cloth", seed=4, counts=(3, 2, 1))
    prepared, _ = build.prepare(PartsBuilder, config, str(tmp_path / "data"))
    train, test = (open_source(prepared.data_dir, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (3, 2 + 4)
    assert test.kinds == ("good", *render.cloth.DEFECTS)
    for index, (_, kind) in enumerate(test.rows):
        mask = test.mask(index)
        assert (mask is None) == (kind == "good")
        if mask is not None:
            assert mask.shape == test.image(index).shape[:2] == (render.SIZE, render.SIZE)
            assert mask.sum() >= render.MIN_MASK_PIXELS
    assert PartsConfig(scene="cloth", seed=4, counts=(3, 2, 1)).name == "cloth_seed4_n3-2-1"
    with pytest.raises(ValueError, match="no set 'wood'; choose from plate, cloth"):
        render.write_set(tmp_path, "wood")


def test_a_folder_without_masks_keeps_its_kinds(tmp_path):
    folder = write_folder(tmp_path / "source")
    shutil.rmtree(folder / "ground_truth")
    test = open_source(prepare(folder, tmp_path / "data").data_dir, "test")
    assert [kind for _, kind in test.rows] == ["good"] * 3 + ["spot"] * 3
    assert all(test.mask(index) is None for index in range(6))
    np.testing.assert_array_equal(test.image(4), spot(201)[0])


def test_a_folder_of_good_images_alone_is_prepared_without_a_test_split(tmp_path):
    folder = write_folder(tmp_path / "source", 5, 0, 0)
    prepared = prepare(folder, tmp_path / "data")
    assert len(open_source(prepared.data_dir, "train")) == 5
    assert len(open_source(prepared.data_dir, "test")) == 0


def test_categories_of_an_archive_are_prepared_by_themselves(tmp_path):
    for number, name in enumerate(("bolt", "cap", "nut")):
        write_folder(tmp_path / "archive" / name, 4 + number, 1, 1)
    words = ["image_folder", "--source", f"{tmp_path}/archive", "--data-dir", f"{tmp_path}/data"]
    assert command.main([*words, "--category", "nut", "bolt"]) == 0
    for name, count in (("bolt", 4), ("nut", 6)):
        assert len(open_source(tmp_path / f"data/image_folder/{name}/1.0.0", "train")) == count
    assert not (tmp_path / "data/image_folder/cap").exists()
    with pytest.raises(FileNotFoundError, match="no category 'gear'; there are: bolt, cap, nut"):
        command.main([*words, "--category", "gear"])
