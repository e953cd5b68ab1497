"""Every test: CPU, four virtual devices, no rank promotion, parsed flags, warnings are errors."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import pytest
from absl import flags

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")

if not flags.FLAGS.is_parsed():
    flags.FLAGS(["pytest"])  # grain's workers read an absl flag


def pytest_configure(config: pytest.Config) -> None:
    """Warnings are errors; each exception has its reason beside it."""
    for line in (
        "error",
        # third parties' own deprecations, seen at import; nothing here can mend them
        "ignore::DeprecationWarning:tensorflow_datasets.*",
        "ignore::DeprecationWarning:etils.*",
        "ignore::DeprecationWarning:orbax.*",
        "ignore::DeprecationWarning:google.*",
        # sockets and files of worker pools are closed by their finalisers
        "ignore::ResourceWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ):
        config.addinivalue_line("filterwarnings", line)


@pytest.fixture(scope="session")
def real_data():
    """Folder of real recordings, or a skip that says so."""
    from pathlib import Path

    folder = os.environ.get("IPAD_JAX_REAL_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real data: set IPAD_JAX_REAL_DATA to the folder that holds ped2/ and clips/")
    return Path(folder)
