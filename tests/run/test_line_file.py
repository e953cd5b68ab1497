"""Files that are whole, files that grow, and paths in buckets."""

import pytest

from ipad_jax.run.files import LineFile, absolute, check_name, write_atomic


def test_a_path_in_a_bucket_stays_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(absolute("gs://bucket/runs/S01")) == "gs://bucket/runs/S01"
    assert str(absolute("runs/S01")) == str(tmp_path / "runs" / "S01")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, b"old")
    with pytest.raises(TypeError):
        write_atomic(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_lines_are_there_at_once(tmp_path):
    file = LineFile(tmp_path / "lines", "first\n")
    file.add("second\n")
    assert (tmp_path / "lines").read_text() == "first\nsecond\n"
    file.close()


@pytest.mark.parametrize(
    ("every_s", "before_closing"), [(0.0, "first\nsecond\n"), (9e9, "first\n")]
)
def test_an_object_in_a_bucket_is_written_whole(tmp_path, monkeypatch, every_s, before_closing):
    monkeypatch.setattr("ipad_jax.run.files.in_bucket", lambda path: True)
    file = LineFile(tmp_path / "lines", "first\n", every_s)
    file.add("second\n")
    assert (tmp_path / "lines").read_text() == before_closing
    file.close()
    assert (tmp_path / "lines").read_text() == "first\nsecond\n"


@pytest.mark.parametrize(
    "name", ["S01", "été", "x_32x32_q95", "stride4-step20", "3", "Ω7", "x" * 100]
)
def test_a_name_that_makes_a_folder_is_taken_as_it_is(name):
    assert check_name(name, "--name") == name


NO_NAMES = [
    "",
    ".",
    "..",
    ".hidden",
    "../esc",
    "/some/folder",
    "a/b",
    "a\\b",
    "a b",
    "a+b",
    "a\n",
    "a\0",
]


@pytest.mark.parametrize("name", [*NO_NAMES, "-x", "_", "CON", "con", "Lpt9", "CON.aux", "x" * 101])
def test_a_name_that_leads_elsewhere_or_nowhere_is_refused(name):
    with pytest.raises(ValueError, match=r"--name=.* cannot name a folder: use .*letters, digits"):
        check_name(name, "--name")
