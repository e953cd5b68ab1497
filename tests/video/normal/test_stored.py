"""Arrays kept in the run folder: made once, read back the same, and what is said when they cannot be had."""

import numpy as np
import pytest

from ipad_jax.run.config import load_config
from ipad_jax.video.normal import stored as kept


def test_made_once_and_read_back_without_the_dataset(tmp_path, monkeypatch):
    config = load_config("video_folder:tiny")
    monkeypatch.setattr(kept, "open_split", lambda *_: "the training split")
    arrays = {"a": np.arange(3), "b": np.float32([[0.5]])}

    def make(source):
        assert source == "the training split"
        return arrays

    path = tmp_path / "things.npz"
    assert kept.kept_arrays(path, config, ("a", "b"), make, "x") is arrays
    monkeypatch.setattr(kept, "open_split", None)
    again = kept.kept_arrays(path, config, ("a", "b"), None, "x")
    assert again.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)
        assert again[name].dtype == array.dtype
    with pytest.raises(
        ValueError, match=r"things\.npz is damaged or of an earlier version.*delete it"
    ):
        kept.kept_arrays(path, config, ("a", "c"), None, "x")
    path.write_bytes(b"half")
    with pytest.raises(ValueError, match=r"damaged.*delete it"):
        kept.kept_arrays(path, config, ("a", "b"), None, "x")


def test_none_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "open_split", lambda *_: None)
    path = tmp_path / "things.npz"
    assert (
        kept.kept_arrays(path, load_config("video_folder:tiny"), ("a",), lambda _: None, "x")
        is None
    )
    assert not path.exists()


def test_without_file_and_dataset_the_error_says_what_is_missing_and_what_to_do(
    tmp_path, monkeypatch
):
    def no_data(*_):
        raise FileNotFoundError("No prepared dataset")

    monkeypatch.setattr(kept, "open_split", no_data)
    said = r"things\.npz does not exist.*so nothing is known\. Run `ipad-jax evaluate`.*No prepared"
    with pytest.raises(FileNotFoundError, match=said):
        kept.kept_arrays(
            tmp_path / "things.npz",
            load_config("video_folder:tiny"),
            ("a",),
            lambda _: None,
            "nothing is known",
        )
