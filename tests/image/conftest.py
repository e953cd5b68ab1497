"""A prepared set of drawn images, and runs on it."""

import pytest
from drawn_images import image_config, prepare, write_folder

from ipad_jax.image.detector import calibrate
from ipad_jax.training.loop import train


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """Data folder with the set `stripes`: 12 good images, 4 good and 4 spots to test."""
    folder = tmp_path_factory.mktemp("drawn_images")
    prepare(write_folder(folder / "source", 12, 4, 4), folder / "data")
    return folder / "data"


@pytest.fixture(scope="session")
def bank_run(drawn, tmp_path_factory):
    """A run folder of the bank, fitted and calibrated."""
    folder = tmp_path_factory.mktemp("bank_run")
    train(image_config("bank:tiny", drawn), str(folder), progress=lambda *_: None)
    calibrate(folder)
    return folder
