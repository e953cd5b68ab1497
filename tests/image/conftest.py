"""A prepared set of drawn images, and runs on it."""

import pytest
from drawn_images import prepare, trained, write_folder

from ipad_jax.input.images import open_source


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


@pytest.fixture(scope="session")
def no_labels():
    """A function that lets nothing open the test split, where it is given a `MonkeyPatch`."""

    def only_train(path, split):
        assert split == "train", "labels are read"
        return open_source(path, split)

    def forbid(patch):
        patch.setattr("ipad_jax.input.images.open_source", only_train)

    return forbid


@pytest.fixture(scope="session")
def pca_run(drawn, no_labels, tmp_path_factory):
    """A run of a method without `update`, made where labels cannot be read."""
    with pytest.MonkeyPatch.context() as patch:
        no_labels(patch)
        return trained("pca:tiny", drawn, tmp_path_factory.mktemp("pca_run"))
