"""The table of image methods: judged once, resumed, on labels that nothing reads before its last step."""

import csv
import json

import pytest
from drawn_images import prepare, write_folder

from ipad_jax.commands import reproduce
from ipad_jax.image.evaluation import judge_run
from ipad_jax.image.methods import METHODS
from ipad_jax.image.untrained import ROWS
from ipad_jax.input.images import open_images
from ipad_jax.reproduce import cells
from ipad_jax.reproduce.image_table import image_table, sets_of
from ipad_jax.reproduce.methods import Setting
from ipad_jax.reproduce.plan import jobs_of

ROWS_RUN = ["pca", "bank", "nearest_image"]
NAME = "image_rows-bank+nearest_image+pca_scenes-stripes_seeds-0"


def arguments(root, *more):
    places = ["--data-dir", str(root / "data"), "--workdir", str(root / "tables")]
    words = ["--table", "image", "--data", "stripes", "--seeds", "0", "--tiny", "--steps", "2"]
    return [*words, *places, "--rows", *ROWS_RUN, *more]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished table of two methods; its test split was opened by nothing but the evaluation."""
    root = tmp_path_factory.mktemp("image_table")
    prepare(write_folder(root / "source", 12, 4, 4), root / "data")

    def only_train(config, split):
        assert split == "train"
        return open_images(config, split)

    def after_training(config, split):
        if split == "test":
            method = config.task.partition(".")[2]
            assert list((root / "tables").glob(f"*/stripes/{method}/seed0/{cells.TRAINING}"))
        return open_images(config, split)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ipad_jax.image.task.open_images", only_train)
        patch.setattr("ipad_jax.image.calibration.open_images", only_train)
        patch.setattr(judge_run, "open_images", after_training)
        assert reproduce.main(arguments(root)) == 0
    return root


def test_every_method_and_every_untrained_row_is_in_it():
    table = image_table(Setting("image", ("bottle", "plate"), (0, 1)))
    names = [line.name for line in table.lines]
    assert sorted(set(names) - {"patchcore"}) == sorted(METHODS.keys() | ROWS.keys())
    assert len(jobs_of(table)) == 2 * 2 * (len(names) - len(ROWS))
    assert {c.second for c in table.comparisons} == set(names) - {table.main}
    with pytest.raises(ValueError, match="needs sets"):
        image_table(Setting("image", ()))
    assert sets_of(" a,b ,a,") == ("a", "b")


@pytest.mark.slow
def test_its_numbers_are_those_of_the_evaluations(made):
    (root,) = (made / "tables").iterdir()
    rows = list(csv.DictReader((root / f"{NAME}.csv").open()))
    found = {(r["row"], r["quantity"], r["column"]): r["value"] for r in rows}
    for method in ("pca", "bank"):
        folder = root / f"stripes/{method}/seed0/eval/test"
        metrics = json.loads((folder / "metrics.json").read_text())
        assert float(found[method, "auc", "stripes"]) == pytest.approx(
            metrics["image_auroc"], abs=1e-5
        )
        assert float(found[method, "pixel_auroc", ""]) == pytest.approx(
            metrics["pixel_auroc"], abs=1e-5
        )
        untrained = metrics["untrained"]["nearest_image"]["image_auroc"]
        assert float(found["nearest_image", "auc", "mean"]) == pytest.approx(untrained, abs=1e-5)
    text = (root / f"{NAME}.txt").read_text()
    assert "bank of frozen features (ours) above PCA residual" in text
    page = (root / f"{NAME}.html").read_text()
    assert "frame" not in page.partition("</style>")[2].lower().replace("frames of one", "")


def test_what_is_complete_is_not_run_again(made, monkeypatch, capsys):
    monkeypatch.setattr(cells, "train", None)
    monkeypatch.setattr(cells.image_cells, "evaluate", None)
    assert reproduce.main(arguments(made)) == 0
    assert "2 trainings in this share, 2 of them complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [["--scenes", "a"], ["--protocol", "strict"], ["--data", "factory"]]
)
def test_words_of_the_other_tables_are_refused(tmp_path, words):
    with pytest.raises(reproduce.UsageError, match="takes --data NAME"):
        reproduce.main(["--table", "image", "--data", "a", "--workdir", str(tmp_path), *words])


def test_a_table_of_videos_knows_no_set_of_images():
    with pytest.raises(reproduce.UsageError, match="--data bottle"):
        reproduce.main(["--table", "2", "--data", "bottle", "--list"])


def test_images_that_are_not_prepared_are_named(tmp_path, capsys):
    words = ["--table", "image", "--data", "a,plate", "--tiny", "--rows", "pca", "--seeds", "0"]
    places = ["--data-dir", str(tmp_path / "none"), "--workdir", str(tmp_path)]
    assert reproduce.main([*words, *places]) == 1
    out = capsys.readouterr().out
    assert f"prepare image_folder --data-dir {tmp_path / 'none'} --name a --source DIR" in out
    assert f"prepare parts --data-dir {tmp_path / 'none'} --scene plate" in out
