"""`tfds build`, plain and as an Apache Beam pipeline, builds what `ipad-jax prepare` builds.

Runs where the extra `tfds-cli` is installed. Beam's workers are processes of this machine here.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from footage import write_class, write_scene, write_video

from ipad_jax.commands import prepare
from ipad_jax.data_builders.factory import factory_dataset_builder

ROOT = Path(__file__).parents[2]
EXTRA = ("apache_beam", "tensorflow", "mlcroissant")
# DirectRunner, as this version of Beam calls it where it may not fetch a binary from the web.
IN_PROCESS = "runner=FnApiRunner"
TWO_PROCESSES = "runner=FnApiRunner,direct_num_workers=2,direct_running_mode=multi_processing"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(importlib.util.find_spec(name) for name in EXTRA),
        reason="needs the extra tfds-cli (README of data_builders)",
    ),
]


def tfds_build(builder: str, config: dict, data_dir: Path, *options: str) -> str:
    """Runs the command; gives what it said."""
    command = [Path(sys.executable).parent / "tfds", "build", ROOT / "data_builders" / builder]
    flags = [f"--config={json.dumps(config)}", f"--data_dir={data_dir}", *options]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([*command, *flags], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def content(data_dir: Path) -> dict[str, bytes]:
    """Files of the only dataset below a folder."""
    [info] = data_dir.rglob("dataset_info.json")
    files = {path.name: path.read_bytes() for path in info.parent.iterdir()}
    described = json.loads(files["dataset_info.json"])
    described.pop("moduleName")  # `tfds build` imports a builder by its folder's name alone
    return {**files, "dataset_info.json": json.dumps(described).encode()}


def compare_three(
    builder: str, config: dict, tmp_path: Path, *options: str, beam: str = IN_PROCESS
) -> str:
    """Whether both ways of `tfds build` give what lies in <tmp_path>/plain; what Beam said."""
    plain = tmp_path / "plain"
    expected = content(plain)
    assert len(expected) >= 5  # two splits, three descriptions
    tfds_build(builder, config, tmp_path / "tfds", *options)
    assert content(tmp_path / "tfds") == expected
    by_beam = f"--beam_pipeline_options={beam}"
    said = tfds_build(builder, config, tmp_path / "beam", *options, by_beam)
    assert content(tmp_path / "beam") == expected
    return said


def test_ipad(tmp_path):
    write_scene(tmp_path / "manual" / "S01", (70, 9), (12, 5), (12, 7))
    manual = f"--manual_dir={tmp_path}/manual"
    line = f"ipad --manual-dir {tmp_path}/manual --data-dir {tmp_path}/plain --size 16"
    assert prepare.main([*line.split(), "--scene", "S01"]) == 0
    config = {"scene": "S01", "width": 16, "height": 16}
    said = compare_three("ipad", config, tmp_path, manual, beam=TWO_PROCESSES)
    assert said.count("Python sdk harness starting") >= 2, said  # two processes


def test_mad(tmp_path):
    write_class(tmp_path / "manual" / "07Owl")
    line = f"mad --manual-dir {tmp_path}/manual --data-dir {tmp_path}/plain --size 20"
    assert prepare.main([*line.split(), "--scene", "07Owl"]) == 0
    config = {"scene": "07Owl", "width": 20, "height": 20}
    compare_three("mad", config, tmp_path, f"--manual_dir={tmp_path}/manual")


def test_video_folder(tmp_path):
    source = tmp_path / "source"
    write_video(source / "train" / "normal" / "a.avi", 30)
    write_video(source / "train" / "normal" / "b.mp4", 8)
    write_video(source / "test" / "jam" / "a.avi", 12)
    line = f"video_folder --name mine --source {source} --data-dir {tmp_path}/plain --size 32x24"
    assert prepare.main([*line.split(), "--cycle", "0.4"]) == 0
    config = {"scene": "mine", "width": 32, "height": 24, "source": str(source), "cycle": 0.4}
    compare_three("video_folder", config, tmp_path)


def test_factory(tmp_path):
    few = {"num_single": 1, "num_long": 0, "num_test": 1, "cycle_frames": 16}
    config = {"device": "lift", "width": 24, "height": 16, **few}
    builder = factory_dataset_builder.Builder(
        config=factory_dataset_builder.FactoryConfig(**config), data_dir=tmp_path / "plain"
    )
    builder.download_and_prepare()
    compare_three("factory", config, tmp_path)
