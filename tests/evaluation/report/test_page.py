"""The page: whole, alone, escaped, and honest about what is missing."""

import base64
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from ipad_jax.evaluation.report import page, plots
from ipad_jax.evaluation.report.data import Clip, Curve, ReportData, Row, Strip

METRICS = {
    "protocol": "strict", "auc_micro": 0.9132, "auc_macro": 0.887, "auc_macro_videos": 3,
    "auc_macro_skipped": 1, "auc_interval": [0.81, 0.97], "average_precision": 0.7,
    "num_videos": 4, "num_frames": 400, "num_anomalous": 40, "threshold": 3.6,
    "event_recall": 0.75, "num_detected": 3, "num_true": 4, "false_alarms_per_hour": 34.6,
    "false_alarms_interval": [0.9, 192.8],
    "num_false_alarms": 1, "normal_hours": 0.03, "detection_delay_s": 0.12,
    "by_kind": {"jam": {"auc": 0.95, "num_frames": 40, "num_videos": 2}},
    "left_out": {"unlabelled": 7, "unscored": 0, "mislabelled_videos": ["05/09"]},
}  # fmt: skip


def curve(name="01", n=100):
    time = np.arange(n) / 10
    score = np.sin(time)
    score[:4] = np.nan
    return Curve(
        name,
        time,
        score,
        (np.arange(n) // 20 == 2).astype(int),
        time / 3 % 1,
        time / 3 % 1,
        [(4, 5)],
    )


def strip(title="A miss"):
    frames = np.zeros((3, 16, 16, 3), np.uint8)
    return Strip(
        title, "why", frames, frames, np.zeros((3, 16, 16), np.float32), ["1 s", "2 s", "3 s"]
    )


def full(tmp_path, **changes):
    video = tmp_path / "01.webm"
    video.write_bytes(b"\x1a\x45\xdf\xa3" + bytes(100))
    content = {
        "title": "Press",
        "subtitle": "step 12",
        "metrics": METRICS,
        "rows": [Row("fused", METRICS, is_main=True), Row("difference", {}, is_untrained=True)],
        "curves": [curve("01"), curve("02")],
        "roc": {"fused": (np.array([0, 0.2, 1]), np.array([0, 0.8, 1]))},
        "threshold": 0.5,
        "calibration": "Threshold from 12 cycles.",
        "misses": [strip()],
        "false_alarms": [strip("An alarm")],
        "clips": [Clip("Video 01", video)],
        "facts": {"seed": 0},
        "warnings": ["Few cycles."],
    }
    return ReportData(**(content | changes))


class Balance(HTMLParser):
    """Collects elements and fails where they do not nest."""

    VOID = ("meta", "img", "br", "path", "use", "rect")

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.ids = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "poster")]
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_works_alone(tmp_path):
    text = page.render(full(tmp_path))
    parsed = Balance(text)
    assert all(link.startswith(("data:", "#")) for link in parsed.links)
    assert len(set(parsed.ids)) == len(parsed.ids), "ids of two plots collide"
    for link in parsed.links:
        if link.startswith("#"):
            assert link[1:] in parsed.ids
    for target in re.findall(r"url\(#?([^)]*)\)", text):
        assert target in parsed.ids
    assert "@import" not in text
    assert "<script" not in text
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\"' <]*", text)) <= namespaces


def test_it_says_what_was_measured(tmp_path):
    text = page.render(full(tmp_path))
    for part in (
        "0.913", "0.81 – 0.97", "75\u202f%", "0.9 – 192.8", "0.12\u202fs", "3 of 4 faults", "jam", "0.950",
        "Threshold from 12 cycles.", "7 frames without a label", "0 frames without a score",
        "mislabelled videos: 05/09", "Few cycles.", "no training", "raises the alarms",
    ):  # fmt: skip
        assert part in text, part


def test_plots_follow_the_theme(tmp_path):
    text = page.render(full(tmp_path))
    for role, colour in vars(plots.THEMED).items():
        assert colour not in text
        assert role == "paper" or f"var(--{role})" in text
        assert f"--{role}:" in text, f"the page defines no --{role}"


def test_the_video_inside_is_the_file(tmp_path):
    data = full(tmp_path)
    encoded = re.search(r'data:video/webm;base64,([^"]*)', page.render(data)).group(1)
    assert base64.b64decode(encoded) == (tmp_path / "01.webm").read_bytes()


def test_videos_too_large_to_mail_stay_beside_the_page(tmp_path, monkeypatch):
    without = len(page.render(full(tmp_path, clips=[])))
    monkeypatch.setattr(
        page, "MAX_BYTES", without + 400
    )  # the figure without its video takes some 300
    text = page.render(full(tmp_path))
    assert "data:video" not in text
    assert 'src="01.webm"' in text
    odd = tmp_path / "line #2 100%.webm"
    odd.write_bytes((tmp_path / "01.webm").read_bytes())
    assert 'src="line%20%232%20100%25.webm"' in page.render(full(tmp_path, clips=[Clip("x", odd)]))
    assert "must lie beside this page" in text


def test_a_missing_video_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.webm"):
        page.render(full(tmp_path, clips=[Clip("x", tmp_path / "gone.webm")]))


def test_names_are_escaped(tmp_path):
    bad = "<b>&\"'</b>"
    text = page.render(full(tmp_path, title=bad, curves=[curve(bad)], misses=[strip(bad)]))
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;" in text


def test_little_data_gives_a_short_page(tmp_path):
    text = page.render(ReportData("Empty", "", {"protocol": "strict"}))
    Balance(text)
    assert "<svg" not in text
    assert "Worst misses" not in text
    assert "nan" not in text.lower()


def test_faulty_frames_alone_have_a_histogram_and_no_roc(tmp_path):
    text = page.render(full(tmp_path, roc={}))
    Balance(text)
    assert "How the scores are spread" in text
    assert "for every possible threshold" not in text


def test_nan_and_null_read_as_a_dash(tmp_path):
    metrics = dict.fromkeys(METRICS, math.nan) | {
        "protocol": "paper", "auc_interval": [math.nan, math.nan], "by_kind": {}, "left_out": {},
        "false_alarms_interval": [math.nan, math.nan],
    }  # fmt: skip
    text = page.render(full(tmp_path, metrics=metrics, rows=[Row("x", metrics)], threshold=None))
    assert not re.search(r"\bnan\b", text)
    assert "faults found" not in text  # uncalibrated: no alarms to count
    assert page.interval([None, None]) == page.number(None) == page.share(math.nan) == "–"


def test_the_same_data_give_the_same_page(tmp_path):
    data = full(tmp_path)
    assert page.render(data) == page.render(data)


def test_write_page_leaves_one_file(tmp_path):
    data = full(tmp_path)
    page.write_page(data, tmp_path / "report.html")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["01.webm", "report.html"]
    assert (tmp_path / "report.html").read_text() == page.render(data)


def test_thinning_keeps_every_peak():
    values = np.zeros(100_000)
    values[[7, 54_321, 99_999]] = [3.0, 5.0, 4.0]
    values[200:400] = np.nan
    time, thinned = plots.thin(np.arange(100_000.0), values)
    assert len(thinned) <= plots.MAX_POINTS
    assert sorted(thinned[thinned > 0]) == [3, 4, 5]
    assert time[np.nanargmax(thinned)] <= 54_321


def test_spans_and_phase_breaks():
    time = np.arange(6) / 10
    mask = np.array([1, 0, 0, 1, 1, 1], bool)
    np.testing.assert_allclose(plots.spans(mask, time), [(0, 0.1), (0.3, 0.6)])
    assert plots.spans(np.zeros(6, bool), time) == []
    _, phase = plots.unwrapped_line(time, np.array([0.7, 0.8, 0.9, 0.0, 0.1, 0.2]))
    np.testing.assert_array_equal(phase, [0.7, 0.8, 0.9, np.nan, 0.0, 0.1, 0.2])


def test_one_scale_for_all_videos_and_it_holds_the_threshold():
    low, high = plots.score_limits([curve()], threshold=40.0)
    assert low < -0.9
    assert high > 40
    assert plots.score_limits([], None) == (0.0, 1.0)


def test_a_png_of_the_timeline(tmp_path):
    figure = plots.score_curve(curve(), 0.5, palette=plots.LIGHT)
    plots.save_png(figure, tmp_path / "timeline.png")
    assert (tmp_path / "timeline.png").read_bytes()[:4] == b"\x89PNG"


def test_each_row_says_on_how_many_frames_it_was_judged(tmp_path):
    fewer = Row("centre frame only", METRICS | {"num_frames": 123})
    text = page.render(full(tmp_path, rows=[Row("fused", METRICS, is_main=True), fewer]))
    assert "<th>frames</th>" in text
    assert '<td data-head="frames">400</td>' in text
    assert '<td data-head="frames">123</td>' in text


@pytest.mark.slow
@pytest.mark.parametrize(("num_videos", "num_frames"), [(1, 90_000), (60, 1500)])
def test_an_hour_of_restless_footage_stays_small_enough_to_mail(tmp_path, num_videos, num_frames):
    frame = np.arange(num_frames)
    rng = np.random.default_rng(0)
    curves = [
        Curve(
            str(index),
            frame / 25,
            rng.normal(size=num_frames),
            frame // 3 % 2,
            rng.random(num_frames),
            frame / 100 % 1,
            [(t, t + 0.1) for t in np.arange(0, num_frames / 25, 0.2)],
        )
        for index in range(num_videos)
    ]
    videos = []
    for index in range(8):
        path = tmp_path / f"{index}.webm"
        path.write_bytes(bytes(2_000_000))
        videos.append(Clip(str(index), path))
    text = page.render(full(tmp_path, curves=curves, clips=videos))
    assert len(text.encode()) <= page.MAX_BYTES < 10_000_000
    inside = text.count("data:video")
    assert 0 < inside < len(videos)  # the page takes those that fit


def test_a_cell_names_its_column_where_the_heads_are_gone(tmp_path):
    kinds = {f"kind {i}": {"auc": 0.5, "num_frames": 9, "num_videos": 1} for i in range(14)}
    metrics = METRICS | {"by_kind": kinds}
    rows = [Row("fused", metrics, is_main=True), Row("difference", metrics, is_untrained=True)]
    text = page.render(full(tmp_path, metrics=metrics, rows=rows))
    for table in re.findall(r"<table.*?</table>", text, re.DOTALL):
        heads = re.findall(r"<th>(.*?)</th>", table)
        for row in re.findall(r"<tr.*?</tr>", table, re.DOTALL)[1:]:
            assert re.findall(r'data-head="(.*?)"', row) == heads[1:]
    assert '<table class="many">' in text
    assert 'class="many"' not in page.render(full(tmp_path))


def test_shades_and_alarms_that_cannot_be_told_apart_are_one_shape():
    assert plots.merged([(5, 6), (0, 1), (1.5, 2)], 1) == [(0, 2), (5, 6)]
    assert plots.merged([(0, 9), (1, 2)], 1) == [(0, 9)]
    assert plots.merged([], 1) == []
