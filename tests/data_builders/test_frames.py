"""Record writing: order whatever the size, bounded memory, masks, colours."""

from functools import partial

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from footage import picture, read_split, write_scene
from tensorflow_datasets.core import naming

from ipad_jax.data_builders import frames, streaming
from ipad_jax.data_builders.encoding import resize_mask
from ipad_jax.data_builders.frame_folder import Frame
from ipad_jax.data_builders.frames import FrameConfig, config_name, generate
from ipad_jax.data_builders.pieces import encode_here
from ipad_jax.data_builders.video_folder.video_folder_dataset_builder import (
    Builder,
    VideoFolderConfig,
)


class Drawn:
    """A video of flat pictures."""

    fps, cycle_frames, num_labels = 10.0, None, None
    random_access = True

    def __init__(self, length, name="drawn"):
        self.name, self.length = name, length

    def frames(self):
        for i in range(self.length):
            yield Frame(load=lambda i=i: picture(i, (8, 8)), label=i % 2)


def write(folder, records) -> tuple[list[int], int]:
    template = naming.ShardedFileTemplate(
        data_dir=folder, dataset_name="drawn", split="train", filetype_suffix="array_record"
    )
    return streaming.write_shards(records, template)


def test_large_splits_are_cut_into_shards_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "SHARD_BYTES", 1000)
    records = [bytes([i]) * 90 for i in range(100)]
    lengths, num_bytes = write(tmp_path, iter(records))
    assert lengths == [12] * 8 + [4]  # 12 * 90 is the first to exceed 1,000
    assert num_bytes == 9000
    files = sorted(map(str, tmp_path.iterdir()))
    assert files[-1].endswith("drawn-train.array_record-00008-of-00009")
    assert list(ArrayRecordDataSource(files)) == records


def test_records_are_written_as_they_come(tmp_path):
    """A split is never held in memory: while it is generated, the disk is a block (16 MB) behind."""
    rng = np.random.default_rng(0)
    behind = []

    def records():
        for count in range(64):
            on_disk = sum(path.stat().st_size for path in tmp_path.iterdir())
            behind.append(count - on_disk / (1 << 20))
            yield rng.bytes(1 << 20)

    write(tmp_path, records())
    assert max(behind) < 20


def test_a_split_without_records_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'train' has no records"):
        write(tmp_path, iter(()))


def test_a_writer_that_fails_says_where(tmp_path, monkeypatch):
    class Full:
        def __init__(self, *_):
            pass

        def write(self, record):
            raise RuntimeError("no space left")

        def close(self):
            raise RuntimeError("no space left")

    monkeypatch.setattr(streaming, "ArrayRecordWriter", Full)
    with pytest.raises(OSError, match=r"could not write to .*shard-train-0: no space left"):
        write(tmp_path, iter([b"a"]))


def test_tfds_reads_several_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "SHARD_BYTES", 5000)
    write_scene(tmp_path / "source", train=(30, 40), test=(9,))
    config = VideoFolderConfig(
        scene="mine", width=16, height=16, source=str(tmp_path / "source"), fps=5.0
    )
    builder = Builder(config=config, data_dir=tmp_path / "data")
    builder.download_and_prepare(download_dir=tmp_path / "downloads")
    assert len(builder.info.splits["train"].shard_lengths) > 2
    records = read_split(builder.data_path, "train")
    where = [(int(record["video"]), int(record["frame"])) for record in records]
    assert where == [(v, f) for v, n in enumerate((30, 40)) for f in range(n)]


def records(videos, size=8, entries=None) -> list[tuple[int, dict]]:
    """All that `generate` gives, in this process."""
    config = FrameConfig(scene="a", width=size, height=size)
    entries = [] if entries is None else entries
    return list(generate(videos, config, entries, partial(encode_here, advance=lambda count: None)))


def test_keys_are_integers_that_rise_and_places_are_counted(monkeypatch):
    monkeypatch.setattr(frames, "PIECE_FRAMES", 4)
    entries = []
    found = records([Drawn(9, "a"), Drawn(8, "b"), Drawn(1, "c")], entries=entries)
    assert [key for key, _ in found] == list(range(18))
    places = [(record["video"], record["frame"]) for _, record in found]
    assert places == [(v, f) for v, n in enumerate((9, 8, 1)) for f in range(n)]
    assert [(e["name"], e["length"], e["anomalous"]) for e in entries] == [
        ("a", 9, 4),
        ("b", 8, 4),
        ("c", 1, 0),
    ]


def test_frames_are_loaded_only_when_their_record_is_wanted():
    """What is in memory does not grow with the dataset."""
    loaded = []
    video = Drawn(1000)
    video.frames = lambda: (
        Frame(load=lambda: loaded.append(1) or picture(0, (8, 8))) for _ in range(1000)
    )
    config = FrameConfig(scene="a", width=8, height=8)
    encode = partial(encode_here, advance=lambda count: None)
    for done, _ in enumerate(generate([video], config, [], encode), 1):
        assert len(loaded) == done
    assert done == 1000


def test_a_frame_that_fails_raises_its_own_error():
    def fail():
        raise ValueError("003.jpg: truncated")

    video = Drawn(1)
    video.frames = lambda: iter([Frame(load=fail)])
    with pytest.raises(ValueError, match=r"003\.jpg: truncated"):
        records([video])


def test_colours_are_rgb_in_the_stored_file():
    image = np.zeros((16, 16, 3), np.uint8)
    image[:] = (10, 20, 250)  # BGR: red
    [(_, record)] = records([Still(image)], 16)
    decoded = tfds.features.Image(shape=(16, 16, 3), encoding_format="jpeg").decode_example_np(
        record["image"].getvalue()
    )
    assert np.abs(decoded[8, 8].astype(int) - [250, 20, 10]).max() <= 3


class Still(Drawn):
    """One picture."""

    def __init__(self, image):
        super().__init__(1)
        self.image = image

    def frames(self):
        yield Frame(load=lambda: self.image)


def test_shrinking_averages_areas():
    # One column in four is bright: picking pixels gives 0 or 200, interpolating two of them 0 or
    # 100, averaging the area 50; flat, so JPEG keeps it.
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 3::4] = 200
    [(_, record)] = records([Still(image)], 16)
    stored = cv2.imdecode(np.frombuffer(record["image"].getvalue(), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_allclose(stored, 50, atol=2)


def test_mask_keeps_half_covered_pixels():
    mask = np.zeros((8, 8), np.uint8)
    mask[:2, :3] = 255  # covers pixel (0, 0) whole and (0, 1) by half
    mask[4, 4] = 255  # a quarter of (2, 2)
    expected = np.zeros((4, 4), np.uint8)
    expected[0, :2] = 255
    np.testing.assert_array_equal(resize_mask(mask, (4, 4)), expected)


def test_mask_thinner_than_a_pixel_does_not_vanish():
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 9] = 255
    small = resize_mask(mask, (8, 8))
    np.testing.assert_array_equal(np.unique(np.nonzero(small)[1]), [1])


def test_jpeg_of_the_right_size_is_stored_as_it_is():
    video = Drawn(1)
    video.frames = lambda: iter([Frame(load=lambda: None, load_jpeg=lambda: b"as it is")])
    [(_, record)] = records([video])
    assert record["image"].getvalue() == b"as it is"


@pytest.mark.parametrize(
    "options", [{"width": 4}, {"height": 5000}, {"quality": 0}, {"quality": 101}]
)
def test_sizes_and_qualities_out_of_range(options):
    with pytest.raises(ValueError, match="must be in"):
        FrameConfig(scene="a", **options)


def test_size_and_quality_are_in_the_name():
    assert FrameConfig(scene="S01").name == config_name("S01", (256, 256)) == "S01_256x256_q95"
    assert FrameConfig(scene="S01", width=320, height=180, quality=80).name == "S01_320x180_q80"
