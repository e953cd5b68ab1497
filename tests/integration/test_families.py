"""Every family has the same four doors, and what comes out of them carries what a threshold rests on."""

from importlib import import_module

import pytest

import ipad_jax
from ipad_jax.run.config import read_config
from ipad_jax.training.task import family_of

FAMILIES = ("video", "image", "pose")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_doors_have_one_name_in_every_family(family):
    detector = import_module(f"ipad_jax.{family}.detector")
    evaluation = import_module(f"ipad_jax.{family}.evaluation")
    for door in (detector.load, detector.calibrate, evaluation.evaluate, evaluation.rescore):
        assert callable(door)
        assert door.__doc__


@pytest.mark.slow
def test_results_carry_threshold_bound_and_what_they_were_made_with(run):
    workdir, _ = run
    config = read_config(workdir)
    family = family_of(config)
    detector = import_module(f"ipad_jax.{family}.detector")
    evaluation = import_module(f"ipad_jax.{family}.evaluation")
    calibration = detector.calibrate(workdir)
    loaded = ipad_jax.load_detector(workdir)
    found = evaluation.evaluate(workdir, name="doors", report=False)
    again = evaluation.rescore(workdir, found.folder / "scores.npz", name="doors_again")
    for result in (calibration, loaded, found, again):
        assert result.threshold == calibration.threshold
        assert result.bound == calibration.bound
        assert 0 < result.bound <= 1
        assert result.made_with["dataset"] == config.data.fingerprint != ""
        assert result.made_with["checkpoint_step"] == 2
        assert result.made_with["eval.stride"] == config.eval.stride
