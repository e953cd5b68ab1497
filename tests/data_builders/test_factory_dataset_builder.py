"""The factory's TFDS builder: names, and a dataset read back against its frames."""

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from ipad_jax.data_builders import frame_folder
from ipad_jax.data_builders.factory.factory_dataset_builder import Builder, FactoryConfig

COUNTS = {"num_single": 1, "num_long": 0, "num_test": 1}


def test_what_is_not_the_default_is_in_the_name():
    assert FactoryConfig(device="lift", look="real").name == "lift_real_256x256_q95"
    small = FactoryConfig(width=64, height=48, seed=3, **COUNTS, cycle_frames=20)
    assert small.name == "conveyor_synthetic_64x48_q95_seed3_n1-0-1_cycle20"
    with pytest.raises(ValueError, match="device='crab': expected one of"):
        FactoryConfig(device="crab")


@pytest.mark.slow
def test_dataset_holds_the_rendered_frames_byte_for_byte(tmp_path):
    config = FactoryConfig(
        width=24, height=16, cycle_frames=16, keep_frames=str(tmp_path / "frames"), **COUNTS
    )
    builder = Builder(data_dir=tmp_path / "data", config=config, file_format="array_record")
    builder.download_and_prepare()
    folder = frame_folder.read_scene(tmp_path / "frames" / "conveyor_synthetic")
    decoders = {"image": tfds.decode.SkipDecoding()}
    for split, videos in (("train", folder.train), ("test", folder.test)):
        records = builder.as_data_source(split=split, decoders=decoders)
        assert len(records) == sum(len(video) for video in videos) > 0
        for index, path in enumerate(videos[0].paths):
            record = records[index]
            assert record["image"] == path.read_bytes()
            assert record["phase"] == videos[0].phase[index]
            assert record["kind"] == videos[0].kind[index]
            mask = videos[0].masks.get(index)
            if mask is None:
                assert record["mask"] == b""
            else:
                got = cv2.imdecode(np.frombuffer(record["mask"], np.uint8), cv2.IMREAD_UNCHANGED)
                np.testing.assert_array_equal(got, cv2.imread(str(mask), cv2.IMREAD_UNCHANGED))
    assert list(builder.info.metadata["kinds"]) == list(folder.kinds)
    assert builder.info.metadata["videos"]["train"][0]["cycle_frames"] == 16
    assert builder.info.metadata["stored_as_is"]
