"""A prepared set of drawn images, and runs on it."""

import pytest
from drawn_images import prepare, trained, write_folder


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """Data folder with the set `stripes`: 12 good images, 4 good and 4 spots to test."""
    folder = tmp_path_factory.mktemp("drawn_images")
    prepare(write_folder(folder / "source", 12, 4, 4), folder / "data")
    return folder / "data"


@pytest.fixture(scope="session")
def bank_run(drawn, tmp_path_factory):
    """A run folder of the bank, fitted and calibrated."""
    return trained("bank:tiny", drawn, tmp_path_factory.mktemp("bank_run"))
