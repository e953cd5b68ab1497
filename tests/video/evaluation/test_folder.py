"""Where an evaluation's results go: into the run folder, and nowhere else."""

import pytest

from ipad_jax.run.config import load_config, save_config
from ipad_jax.run.files import fresh_folder
from ipad_jax.video.detector.scene_folder import scene_folder
from ipad_jax.video.evaluation.judge_run import STALE, evaluate, rescore

NAMES = ["../other", "/other", "a/b", "..", ".hidden", "CON"]


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_fresh_folder_keeps_the_scores_alone(tmp_path):
    folder = fresh_folder(tmp_path / "eval", "strict", STALE)
    for name in ("metrics.json", "report.html", "video_1.webm", "scores.npz"):
        (folder / name).touch()
    assert (
        fresh_folder(tmp_path / "eval", "strict", STALE) == folder == tmp_path / "eval" / "strict"
    )
    assert [path.name for path in folder.iterdir()] == ["scores.npz"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("act", [evaluate, lambda workdir, name: rescore(workdir, "x", name=name)])
def test_a_name_that_leads_out_of_the_run_folder_deletes_nothing(tmp_path, name, act):
    save_config(tmp_path / "run", load_config("factory:tiny"))
    for folder in (tmp_path / "other", tmp_path / "run" / "eval" / "strict"):
        folder.mkdir(parents=True)
        for precious in ("precious.webm", "report.html", "metrics.json"):
            (folder / precious).write_text(precious)
    before = contents(tmp_path)
    where = str(tmp_path / "other") if name == "/other" else name
    with pytest.raises(ValueError, match=r"^name=.* cannot name a folder"):
        act(tmp_path / "run", name=where)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("scene", NAMES)
def test_a_scene_that_leads_out_of_the_run_folder_is_refused(tmp_path, scene):
    save_config(tmp_path / "run", load_config("factory:tiny"))
    with pytest.raises(ValueError, match=r"^data\.name=.* cannot name a folder"):
        scene_folder(tmp_path / "run", scene)
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "config.json"]
