"""An object from end to end in the small: prepare, train, evaluate, detect, and what is written."""

import json

import numpy as np
import pytest

from ipad_jax import load_detector
from ipad_jax.commands import detect, evaluate
from ipad_jax.data_builders.toys import write
from ipad_jax.data_builders.toys.toys_dataset_builder import Builder, ToysConfig
from ipad_jax.input.images import open_images
from ipad_jax.pose.detector import calibrate
from ipad_jax.prepare.build import prepare
from ipad_jax.run.config import load_config
from ipad_jax.training.loop import train
from ipad_jax.training.task import make_task

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("toys_data")
    config = ToysConfig(scene="duck", size=48, counts=(24, 2, 1))
    prepare(Builder, config, str(root))
    write.write_toy(root / "files", "duck", 0, (2, 1, 1), 48)
    return root


def tiny(data_dir, **leaves):
    data = {"data.name": "duck_48px_n24-2-1", "data.data_dir": str(data_dir), "num_devices": 1}
    data["data.holdout_min"] = 2
    return load_config("omnipose:tiny", data | leaves)


@pytest.fixture(scope="module")
def workdir(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("duck")
    train(tiny(data_dir), str(folder), progress=lambda *_: None)
    calibrate(folder)
    return folder


def test_training_brings_the_picture_nearer(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    psnr = [row["psnr_object"] for row in rows if "psnr_object" in row]
    assert psnr[-1] > psnr[0] + 3
    assert any(
        name.endswith("psnr_object") and name != "psnr_object" for row in rows for name in row
    )


def test_evaluation_and_detection(workdir, data_dir, tmp_path):
    assert evaluate.main(["--workdir", str(workdir)]) == 0
    metrics = json.loads((workdir / "eval/test/metrics.json").read_text())
    names = {
        "image_auroc",
        "pixel_auroc",
        "aupro_30",
        "pose_within_1_degree",
        "share_uncertain",
        "beside",
    }
    assert names <= metrics.keys()
    assert metrics["by_kind"].keys() == {"Burrs", "Missing", "Stains"}
    page = (workdir / "eval/test/report.html").read_text()
    assert "in the middle what it was compared with" in page
    folder = data_dir / "files/test"
    words = ["--workdir", str(workdir), "--images", str(folder), "--out", str(tmp_path)]
    assert detect.main(words) == 0
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 1 + 4


def test_an_image_has_one_score_whatever_comes_with_it(workdir, data_dir):
    detector = load_detector(workdir)
    source = open_images(detector.config, "test")
    images = [source.image(i) for i in range(2)]
    together = list(detector.inspect_all(images))
    alone = detector.inspect(images[1])
    assert alone.score == together[1].score
    np.testing.assert_array_equal(alone.map, together[1].map)
    with pytest.raises(ValueError, match="of other proportions"):
        detector.inspect(images[0][:, :30])


def test_the_rays_of_a_step_depend_on_the_step_alone(data_dir):
    task = make_task(tiny(data_dir))
    first = task.train_data(1, 0, 1)
    batches = [next(first) for _ in range(3)]
    again = next(task.train_data(3, 0, 1))
    halves = [next(task.train_data(3, process, 2)) for process in range(2)]
    for name, values in batches[2].items():
        np.testing.assert_array_equal(again[name], values)
        np.testing.assert_array_equal(np.concatenate([half[name] for half in halves]), values)
    shapes = task.batch_shapes(task.config.batch_size)
    assert {n: (x.shape, x.dtype) for n, x in shapes.items()} == {
        n: (x.shape, x.dtype) for n, x in again.items()
    }
