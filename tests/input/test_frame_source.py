import pickle
import shutil

import cv2
import numpy as np
import pytest
from etils import epath
from prepared import fault_mask, picture, write_dataset

from ipad_jax.input.fingerprint import dataset_fingerprint
from ipad_jax.input.frames import dataset_dir, open_source

JPEG_ERROR = 3  # levels of 255 by which JPEG at quality 95 moves a flat colour


def expected(video, indices):
    return np.stack([picture(video, i)[..., ::-1] for i in indices]).astype(int)


def test_videos_follow_the_metadata(dataset):
    source = open_source(dataset, "train")
    assert [(v.name, v.first_record, v.length) for v in source.videos] == [
        ("01", 0, 40),
        ("02", 40, 20),
        ("03", 60, 10),
        ("04", 70, 33),
    ]
    assert source.num_frames == 103
    assert source.videos[1].fps == 25.0
    assert source.videos[1].cycle_frames == 20.0
    assert source.kinds == ("normal", "appearance")
    assert source.image_size == (16, 24)
    assert source.mislabelled == ("02",)


@pytest.mark.parametrize("cache_mb", [0, 1])
@pytest.mark.parametrize(
    ("video", "indices"), [(0, range(40)), (1, [19, 0, 7]), (2, []), (3, range(30, 33))]
)
def test_frames_are_the_ones_asked_for_in_rgb(dataset, video, indices, cache_mb):
    frames = open_source(dataset, "train", cache_mb=cache_mb).frames(video, indices)
    assert frames.dtype == np.uint8
    assert frames.shape == (len(indices), 16, 24, 3)
    if len(indices):
        assert np.abs(frames - expected(video, indices)).max() <= JPEG_ERROR


@pytest.mark.parametrize("cache_mb", [0, 1])
def test_clip_gives_the_frames_and_the_first_phase(dataset, cache_mb):
    source = open_source(dataset, "train", cache_mb=cache_mb)
    frames, phase = source.clip(1, 3, 5)
    np.testing.assert_array_equal(frames, source.frames(1, range(3, 8)))
    assert phase == np.float32(3 / 20)


def test_columns(dataset):
    train, test = open_source(dataset, "train"), open_source(dataset, "test")
    np.testing.assert_array_equal(
        train.column("phase")[1], np.arange(20, dtype=np.float32) / np.float32(20)
    )
    assert [len(c) for c in train.column("label")] == [40, 20, 10, 33]
    assert all((c == -1).all() for c in train.column("label"))
    assert [c[0] for c in train.column("cycle")] == [0, 1, 2, 3]
    np.testing.assert_array_equal(test.column("label")[0], np.arange(30) >= 15)
    np.testing.assert_array_equal(test.column("kind")[0], np.arange(30) >= 15)
    assert np.isnan(test.column("phase")[0]).all()
    with pytest.raises(ValueError, match=r"column='labels'.*choose from label, phase, kind, cycle"):
        test.column("labels")


def test_mask(dataset):
    source = open_source(dataset, "test")
    np.testing.assert_array_equal(source.mask(0, 20), fault_mask()[..., 0] > 127)
    assert source.mask(0, 3) is None


def test_cache_says_what_it_does(dataset):
    kept = open_source(dataset, "train", cache_mb=1)
    assert kept.is_cached
    assert kept.cache_note == "103 frames kept decoded in memory: 0 MB"
    refused = open_source(dataset, "train", cache_mb=0.1)
    assert not refused.is_cached
    assert "more than cache_mb=0.1" in refused.cache_note


@pytest.mark.parametrize("cache_mb", [0, 1])
def test_pickles_without_its_cache(dataset, cache_mb):
    source = open_source(dataset, "train", cache_mb=cache_mb)
    data = pickle.dumps(source)
    assert len(data) < 20_000
    copy = pickle.loads(data)
    assert not copy.is_cached
    np.testing.assert_array_equal(copy.frames(0, [5]), source.frames(0, [5]))


def test_absent_split_has_no_videos(tmp_path):
    path = write_dataset(tmp_path, train=(5,), test=())
    source = open_source(path, "test")
    assert source.videos == ()
    assert source.column("label") == []


def test_folder_name_holds_size_and_quality(dataset):
    root = dataset.parent.parent.parent
    assert dataset_dir(root, "factory", "tiny", (16, 24)) == dataset
    name = dataset_dir("/d", "ipad", "S01", 256, 90)
    assert str(name) == "/d/ipad/S01_256x256_q90/1.0.0"
    for builder, scene, variant in (
        ("../x", "S01", ""),
        ("ipad", "a/b", ""),
        ("ipad", "S01", "../x"),
    ):
        with pytest.raises(
            ValueError, match=r"^data\.(builder|name|variant)=.* cannot name a folder"
        ):
            dataset_dir("/d", builder, scene, 64, variant=variant)
    assert str(dataset_dir("gs://bucket/d", "ipad", "S01", 64)).startswith("gs://bucket/d/ipad/")


def test_bad_requests(dataset, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ipad-jax prepare ipad"):
        open_source(dataset_dir(tmp_path, "ipad", "S01", 256), "train")
    with pytest.raises(ValueError, match=r"split='val'.*train, test"):
        open_source(dataset, "val")
    source = open_source(dataset, "train")
    with pytest.raises(IndexError, match=r"video '02' has frames 0..19; asked for 19..20"):
        source.frames(1, [19, 20])
    with pytest.raises(IndexError, match=r"asked for -1"):
        source.frames(1, [-1])


def test_another_size_is_named_where_the_one_asked_for_is_absent(dataset):
    root = dataset.parent.parent.parent
    with pytest.raises(FileNotFoundError, match=r"prepared there: tiny_24x16_q95\. Prepare it"):
        open_source(dataset_dir(root, "factory", "tiny", 32), "train")
    with pytest.raises(FileNotFoundError, match="nothing is prepared there"):
        open_source(dataset_dir(root, "ipad", "tiny", 32), "train")


def test_records_and_metadata_must_agree(tmp_path):
    path = write_dataset(tmp_path, train=(5,), test=())
    file = path / "metadata.json"
    file.write_text(file.read_text().replace('"length": 5', '"length": 6'))
    with pytest.raises(ValueError, match=r"holds 5 records, but its metadata counts 6 frames"):
        open_source(path, "train")


def test_an_image_that_does_not_decode_is_named(dataset, monkeypatch):
    source = open_source(dataset, "train")
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: None)
    with pytest.raises(ValueError, match=r"video '02', frame 2: got no image, expected 24x16"):
        source.clip(1, 2, 16)


def test_a_fingerprint_is_that_of_the_footage_wherever_it_lies(dataset, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(dataset, copy)
    (copy / "dataset_info.json").write_text(
        (copy / "dataset_info.json").read_text().replace('"moduleName": "', '"moduleName": "old_')
    )
    own = open_source(dataset, "train").fingerprint
    assert len(own) == 16
    assert open_source(dataset, "test").fingerprint == own  # of the whole dataset
    assert open_source(copy, "train").fingerprint == own
    path = next(p for p in sorted(copy.iterdir()) if "train" in p.name)
    content = bytearray(path.read_bytes())
    content[len(content) - 1] ^= 1  # among the bytes that are looked at
    path.write_bytes(content)
    assert dataset_fingerprint([epath.Path(copy)]) != own
