"""The script's experiment in small; by hand it kills 20 times."""

import pytest
from kill_nine import survive


# the script compares the arrays of two checkpoints as they lie there, on no particular devices
@pytest.mark.filterwarnings("ignore:Sharding info not provided")
@pytest.mark.long
def test_a_run_killed_again_and_again_ends_as_one_left_alone(tmp_path):
    landed = survive(tmp_path, kills=4, during_save=2, steps=300, every=10, state_mb=25.0, seed=0)
    assert len(landed) == 4
