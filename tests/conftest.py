"""Every test: CPU, four virtual devices, cheap programs, no rank promotion, warnings are errors."""

import os
from pathlib import Path

import xla_options

os.environ["JAX_PLATFORMS"] = "cpu"
# Programs are compiled once for all files, workers and subprocesses; entries are named by their hash.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
# Most programs here run once: XLA's cheapest compilation halves the time of them all, subprocesses'
# too, and its older emitters compile in a third of what is left. `make test-optimised` takes the
# programs that users run.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = (
    "0" if os.environ.get("IPAD_JAX_TEST_OPTIMISED") == "1" else "1"
)
os.environ.setdefault(
    "XLA_FLAGS",
    xla_options.if_known("xla_cpu_use_fusion_emitters", "false")
    if os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1"
    else "",
)

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
        # two workers may write and read one entry at once; the reader then compiles it itself
        "ignore:Error reading persistent compilation cache entry:UserWarning",
        "ignore:Error writing persistent compilation cache entry:UserWarning",
        # sockets and files of worker pools are closed by their finalisers
        "ignore::ResourceWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ):
        config.addinivalue_line("filterwarnings", line)


@pytest.fixture(scope="session")
def real_data():
    """Folder of real recordings, or a skip that says so."""
    folder = os.environ.get("IPAD_JAX_REAL_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real data: set IPAD_JAX_REAL_DATA to the folder that holds ped2/ and clips/")
    return Path(folder)
