"""The `ipad` builder: what is written is what was there, in order, without TensorFlow."""

import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from footage import metadata, picture, read_split, write_scene

from ipad_jax.data_builders.frames import config_name
from ipad_jax.data_builders.ipad import scenes
from ipad_jax.data_builders.ipad.ipad_dataset_builder import Builder, find_scene

NESTINGS = ["{}", "IPAD_dataset/{}", "IPAD_dataset/IPAD_dataset/{}"]


def build(tmp_path, config="S01_256x256_q95"):
    builder = Builder(config=config, data_dir=tmp_path / "data")
    builder.download_and_prepare(
        download_dir=tmp_path / "downloads",
        download_config=tfds.download.DownloadConfig(manual_dir=str(tmp_path / "manual")),
    )
    return tmp_path / "data" / "ipad" / config / "1.0.0"


def test_every_field_reads_back(tmp_path):
    train, test = (10, 8, 3), (5, 4, 6)
    write_scene(tmp_path / "manual" / "IPAD_dataset" / "S01", train, test, labels=(5, 3, 7))
    folder = build(tmp_path)
    records = {split: read_split(folder, split) for split in ("train", "test")}
    for split, lengths, seed in (("train", train, 100), ("test", test, 1000)):
        where = [(int(r["video"]), int(r["frame"])) for r in records[split]]
        assert where == [(v, f) for v, n in enumerate(lengths) for f in range(n)]
        for record in records[split]:
            expected = picture(seed * (int(record["video"]) + 1) + int(record["frame"]))
            assert record["image"].shape == (256, 256, 3)
            # Flat colours survive resizing exactly and JPEG at quality 95 to 3 grey levels.
            difference = np.abs(record["image"][::9, ::9].astype(int) - expected[0, 0, ::-1])
            assert difference.max() <= 3
            assert record["mask"] == b""
    phases = [float(r["phase"]) for r in records["train"]]
    expected = [*(np.arange(10) / 10), *(np.arange(8) / 8), *[np.nan] * 3]
    np.testing.assert_allclose(phases, expected, rtol=1e-7)
    assert [int(r["cycle"]) for r in records["train"]] == [0] * 18 + [-1] * 3
    assert all(r["label"] == 0 and r["kind"] == 0 for r in records["train"])
    assert all(np.isnan(r["phase"]) and r["cycle"] == -1 for r in records["test"])
    labels = [0, 0, 0, 1, 1, 0, 1, 1, -1, 0, 0, 0, 0, 0, 1]
    assert [int(r["label"]) for r in records["test"]] == labels
    assert [int(r["kind"]) for r in records["test"]] == [0 if x == 0 else -1 for x in labels]

    found = metadata(folder)
    assert found["kinds"] == ["normal"]
    assert found["scene"] == "S01"
    assert found["mislabelled"] == ["02", "03"]
    assert found["no_phase"] == ["03"]
    assert [v["length"] for v in found["videos"]["train"]] == list(train)
    assert [v["cycle_frames"] for v in found["videos"]["train"]] == [10, 8, None]
    assert [v["labels"] for v in found["videos"]["test"]] == [5, 3, 7]
    assert {v["cycle_frames"] for v in found["videos"]["test"]} == {8.0}
    assert {v["fps"] for v in found["videos"]["test"]} == {25.0}
    assert not {"tensorflow", "torch"} & set(sys.modules)


@pytest.mark.parametrize("nesting", NESTINGS)
def test_scene_is_found_nested_or_not(tmp_path, nesting):
    folder = write_scene(tmp_path / nesting.format("R04"))
    assert find_scene(tmp_path, "R04") == folder
    assert find_scene(folder, "R04") == folder


def test_unknown_scene_says_the_choices(tmp_path):
    with pytest.raises(ValueError, match=r"'S13'; choose one of R01, .*, S12"):
        find_scene(tmp_path, "S13")


def test_missing_scene_names_where_it_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"(?s)looked for .*IPAD_dataset/S02.*Expected"):
        find_scene(tmp_path, "S02")


def test_configs_are_the_sixteen_scenes_at_the_papers_size():
    assert list(Builder.builder_configs) == [config_name(s, (256, 256), 95) for s in scenes.SCENES]
    assert (
        *(f"R{n:02d}" for n in range(1, 5)),
        *(f"S{n:02d}" for n in range(1, 13)),
    ) == scenes.SCENES


def test_expected_table_adds_up_to_what_the_paper_says():
    table = scenes.EXPECTED.values()
    assert sum(scene.train_folders for scene in table) == scenes.TOTAL_TRAIN_FOLDERS == 776
    assert sum(scene.test_folders for scene in table) == scenes.TOTAL_TEST_FOLDERS == 292
    assert scenes.TOTAL_TRAIN_FRAMES + scenes.TOTAL_TEST_FRAMES == 430_867 + 167_112 == 597_979
    # Exact counts are known for R01-R04 only; the rest must fit between the usual lengths.
    known = sum(scene.train_frames or 0 for scene in table)
    short = scenes.KNOWN_SHORT["S05", "19"] - scenes.EXPECTED["S05"].typical_length[0]
    for end, compare in ((0, int.__le__), (1, int.__ge__)):
        usual = sum(s.train_folders * s.typical_length[end] for s in table if not s.train_frames)
        assert compare(known + usual + short, 430_867)


def test_known_bad_folders():
    assert len(scenes.KNOWN_MISLABELLED) == 11
    assert all(frames != labels for frames, labels in scenes.KNOWN_MISLABELLED.values())
    for scene, folder in scenes.KNOWN_MISLABELLED:
        assert int(folder) <= scenes.EXPECTED[scene].test_folders


def test_readme_citation_and_tags_are_found():
    found = Builder.get_metadata()
    assert "IPAD" in found.description
    assert "@" in found.citation
    assert "content.data-type.video" in found.tags
