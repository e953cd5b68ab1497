"""`make docs`: the site builds, with every broken link an error."""

import importlib.util
import subprocess
import sys

import pytest
from pages import ROOT

HAS_EXTRA = all(importlib.util.find_spec(name) for name in ("zensical", "mkdocstrings"))


@pytest.mark.slow
@pytest.mark.skipif(not HAS_EXTRA, reason="the extra `docs` is not installed: `make docs` does")
def test_the_site_builds():
    built = subprocess.run(
        [sys.executable, "docs/build.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    site = ROOT / "build" / "site"
    assert "data.holdout_share" in (site / "configs.html").read_text()
    assert "load_detector" in (site / "api" / "python.html").read_text()
