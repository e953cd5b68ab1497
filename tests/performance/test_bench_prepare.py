"""`bench prepare`: the steps of preparing drawn footage, those in workers among them."""

import pytest

from ipad_jax.performance import prepare


def timed(**options):
    options = {
        "width": 96,
        "height": 64,
        "jpeg": False,
        "frames": 256,
        "size": 32,
        "workers": [1, 2],
    } | options
    return prepare.time_prepare(**options, repeats=1)


@pytest.mark.parametrize("jpeg", [False, True])
def test_each_step_is_timed(jpeg):
    table = timed(jpeg=jpeg)
    steps = ["decoded", "reduced to 32x32", "encoded", "prepared, 1 worker", "prepared, 2 workers"]
    assert [row[0] for row in table.rows] == steps
    each = [float(row[2].replace(",", "")) for row in table.rows]
    assert min(each) > 0
    # both workers' time is counted, of which each takes longer to start than this footage to prepare
    assert each[4] > each[3]
    for row, last in ((1, 0), (2, 1), (3, 2), (4, 2)):
        # a difference to one digit, of values to three figures
        difference = float(table.rows[row][3])
        assert difference == pytest.approx(each[row] - each[last], abs=0.06 + 0.005 * each[row])


def test_what_cannot_be_drawn_or_shared_is_refused():
    with pytest.raises(ValueError, match=r"95x64: H\.264 has even"):
        timed(width=95)
    with pytest.raises(ValueError, match="--frames 20: below 256"):
        timed(frames=20)
