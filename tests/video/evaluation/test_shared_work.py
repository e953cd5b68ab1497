"""Who scores what when several processes evaluate."""

import pytest

from ipad_jax.video.evaluation.shared_work import shares


@pytest.mark.parametrize(
    ("lengths", "count", "expected"),
    [
        ([10, 10, 10, 10], 2, [[0, 1], [2, 3]]),
        ([100, 1, 1, 1], 2, [[0], [1, 2, 3]]),  # a video is never cut
        ([1, 1, 1, 100], 2, [[0, 1, 2], [3]]),
        ([50], 3, [[], [0], []]),
        ([5, 80, 5], 3, [[0], [1], [2]]),
        ([], 2, [[], []]),
    ],
)
def test_shares_are_runs_of_about_as_many_frames(lengths, count, expected):
    assert [list(part) for part in shares(lengths, count)] == expected


def test_every_segment_is_in_one_share_in_order():
    lengths = [7 + (13 * i) % 29 for i in range(40)]
    for count in (1, 3, 16, 64):
        parts = shares(lengths, count)
        assert len(parts) == count
        assert [k for part in parts for k in part] == list(range(40))
