"""One small prepared dataset for all input tests."""

import pytest
from prepared import write_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """train: 40, 20, 10 and 33 frames; test: 30."""
    root = tmp_path_factory.mktemp("prepared")
    return write_dataset(root, train=(40, 20, 10, 33), test=(30,))
