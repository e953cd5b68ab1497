"""Several prepared scenes read as one."""

import pickle

import numpy as np
import pytest
from prepared import write_dataset

from ipad_jax.input.clips import clip_index, read_clips
from ipad_jax.input.frames import open_source
from ipad_jax.input.scenes import open_scenes
from ipad_jax.input.split import whole_videos


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    return {
        "S01": write_dataset(root / "a", train=(5, 7), test=(6,)),
        "S02": write_dataset(root / "b", train=(4,), test=(8, 3)),
    }


@pytest.mark.parametrize("cache_mb", [0, 10])
def test_frames_and_columns_are_those_of_the_scenes_in_order(paths, cache_mb):
    both = open_scenes(paths, "train", cache_mb=cache_mb)
    alone = {scene: open_source(path, "train") for scene, path in paths.items()}
    assert [v.name for v in both.videos] == ["S01/01", "S01/02", "S02/01"]
    assert [v.scene for v in both.videos] == ["S01", "S01", "S02"]
    assert both.is_cached == bool(cache_mb)
    assert both.num_frames == 16
    for index, video in enumerate(both.videos):
        source, place = alone[video.scene], index % 2
        every = range(video.length)
        np.testing.assert_array_equal(both.frames(index, every), source.frames(place, every))
        # the phase is that of the video's own cycle
        np.testing.assert_array_equal(both.column("phase")[index], source.column("phase")[place])
        assert video.cycle_frames == source.videos[place].cycle_frames
    assert open_scenes(paths, "test").mislabelled == ("S01/02", "S02/02")


def test_clips_do_not_cross_scenes_and_survive_a_worker(paths):
    both = pickle.loads(pickle.dumps(open_scenes(paths, "train")))
    index, _ = clip_index(whole_videos(both.videos), 4)
    assert index.tolist() == [[0, 0], [0, 1], *([1, i] for i in range(4)), [2, 0]]
    batch = read_clips(both, index[-1:], 4)
    alone = open_source(paths["S02"], "train")
    np.testing.assert_array_equal(batch["clip"][0], alone.frames(0, range(4)))


def test_scenes_of_another_size_or_not_prepared_are_named(paths, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"No prepared dataset at .*nowhere"):
        open_scenes({**paths, "S03": tmp_path / "factory" / "nowhere" / "1.0.0"}, "train")
    first = open_source(paths["S01"], "train")
    other = open_source(paths["S02"], "train")
    other.image_size = (8, 8)
    monkeypatch.setattr(
        "ipad_jax.input.scenes.open_source",
        lambda path, split: first if path == paths["S01"] else other,
    )
    with pytest.raises(ValueError, match=r"image_size; got S01: \(16, 24\), S02: \(8, 8\)"):
        open_scenes(paths, "train")
