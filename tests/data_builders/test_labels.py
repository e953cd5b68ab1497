"""Labels beside a video: arrays, masks and text, and everything that only looks like them."""

import numpy as np
import pytest

from ipad_jax.data_builders.labels import Span, read_labels, read_mask

FRAMES = [0, 0, 1, 1, 0]


@pytest.mark.parametrize(
    "labels", [[0, 1, 2], [[0, 1], [1, 0]], [0.5, 1], ["a", "b"], [np.nan, 0.0], [0, 1, 255]]
)
def test_arrays_must_be_zeros_and_ones(tmp_path, labels):
    np.save(tmp_path / "a.npy", np.asarray(labels))
    with pytest.raises(ValueError, match="expected"):
        read_labels(tmp_path / "a.npy")


@pytest.mark.parametrize("kind", ["bool", "uint8", "float64"])
@pytest.mark.parametrize("one", [1, 255])
def test_arrays_of_any_numeric_type(tmp_path, kind, one):
    np.save(tmp_path / "a.npy", (np.array([FRAMES]) * one).astype(kind))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.npy").frames, FRAMES)


@pytest.mark.parametrize("shape", [(5, 8, 6), (5, 8, 6, 1)])
def test_masks_label_the_frames_in_which_a_pixel_is_set(tmp_path, shape):
    masks = np.zeros(shape, np.uint8)
    masks[2, 1, 1], masks[3] = 255, 1
    np.save(tmp_path / "a.npy", masks)
    labels = read_labels(tmp_path / "a.npy")
    np.testing.assert_array_equal(labels.frames, FRAMES)
    assert labels.has_masks
    mask = read_mask(tmp_path / "a.npy", 2)
    assert mask.shape == (8, 6, 1)
    assert mask.dtype == np.uint8
    assert np.argwhere(mask == 255).tolist() == [[1, 1, 0]]
    assert mask.sum() == 255


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("heading", [[], ["label"]])
@pytest.mark.parametrize("words", [("0", "1"), ("0.0", "1.0"), ("0", "255")])
def test_text_of_a_number_a_line(tmp_path, end, heading, words):
    path = tmp_path / "a.csv"
    path.write_bytes(end.join([*heading, *(words[label] for label in FRAMES)]).encode())
    np.testing.assert_array_equal(read_labels(path).frames, FRAMES)


@pytest.mark.parametrize("mark", [",", ";", "\t", ", "])
@pytest.mark.parametrize("heading", [(), ("start_s", "end_s", "kind")])
@pytest.mark.parametrize("start", ["\ufeff", ""])  # Excel writes a byte order mark
def test_text_of_spans(tmp_path, mark, heading, start):
    path = tmp_path / "a.txt"
    rows = [heading, ("0.5", "1.25", "jam"), ("3", "4", "")]
    text = "\r\n".join(mark.join(row) for row in rows if row) + "\r\n"
    path.write_bytes((start + text).encode())
    assert read_labels(path).spans == (Span(0.5, 1.25, "jam"), Span(3.0, 4.0))


def test_decimal_commas_where_semicolons_separate(tmp_path):
    (tmp_path / "a.csv").write_text("start_s;end_s\n0,5;1,25\n")
    assert read_labels(tmp_path / "a.csv").spans == (Span(0.5, 1.25),)


def test_spans_label_the_frames_from_their_start_to_before_their_end(tmp_path):
    path = tmp_path / "a.csv"
    times = np.arange(75) / 25
    path.write_text("1.0,1.2,jam\n2.0,2.5,OK\n")
    labels, kinds = read_labels(path).of(times)
    assert np.flatnonzero(labels).tolist() == [25, 26, 27, 28, 29]
    assert [kinds[i] for i in (24, 25, 29, 30, 55)] == ["", "jam", "jam", "", ""]


def test_a_heading_without_rows_is_a_video_without_faults(tmp_path):
    (tmp_path / "a.csv").write_text("start_s,end_s\n")
    labels, _ = read_labels(tmp_path / "a.csv").of(np.arange(4) / 25)
    assert labels.tolist() == [0, 0, 0, 0]


def test_frame_numbers_are_no_seconds(tmp_path):
    (tmp_path / "a.csv").write_text("40,75\n")
    with pytest.raises(ValueError, match=r"40 to 75 s, the video ends at 2.96 s; give seconds"):
        read_labels(tmp_path / "a.csv").of(np.arange(75) / 25)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("label\n", "holds no number"),
        ("0\n1\n2\n", "line 3 is '2'"),
        ("label\n0\nfaulty\n", "line 3 is 'faulty'"),
        ("0\n1\n255\n", "mixes 1 and 255"),
        ("0,0\n1,0\n2,1\n", "line 1 is '0,0'; .*the end after the start"),  # frame, label
        ("frame,label\n0,0\n1,1\n", "has the heading 'frame,label'"),
        ("0,1,1,0,0\n", "line 1 is '0,1,1,0,0'"),
        ("1.0,2.0\n0\n", "line 2 is '0'"),
        ("0\n1.0,2.0\n", "line 2 is '1.0,2.0'"),
        ("-1,2\n", "line 1 is '-1,2'"),
        ("nan,2\n", "has the heading"),
        ("1.0,2.0,jam,left\n", "line 1 is"),
    ],
)
def test_text_that_is_no_labels(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_labels(tmp_path / "a.csv")


def test_text_in_another_encoding(tmp_path):
    (tmp_path / "a.txt").write_bytes("0\n1\n".encode("utf-16"))
    with pytest.raises(ValueError, match="is no UTF-8 text"):
        read_labels(tmp_path / "a.txt")
