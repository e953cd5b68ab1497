"""The page of images: what an object's page has beside, and what it says of images without a verdict."""

import re

import numpy as np
import pytest

from ipad_jax.evaluation.report.image_page import ImagePage, Panel, Row, render_images
from ipad_jax.evaluation.report.view_discs import GAP, RADIUS, disc_places, discs, views_symbol

ENDS = {"image_auroc": (0.8, 1.0), "pixel_auroc": (0.9, 1.0), "aupro_30": (0.9, 1.0)}
NUMBERS = {
    "image_auroc": 0.9,
    "pixel_auroc": 0.95,
    "aupro_30": 0.92,
    "aupimo": None,
    "f1_max": 0.9,
    "f1_max_rule": "oracle",
    "average_precision": 0.9,
    "intervals": ENDS,
}
POSES = {
    "pose_median_degrees": 0.153,
    "pose_median_units": 0.004,
    "pose_success": 0.9,
    "share_uncertain": 0.25,
    "share_not_inspected": 0.5,
    "share_of_wrong_poses_flagged": 0.75,
}


def page(metrics, panels=(), **changes):
    rows = [
        Row("the method", NUMBERS, is_main=True),
        Row("nearest good image", NUMBERS, tag="no training"),
        Row("with the true pose", NUMBERS, tag="is told more"),
    ]
    shown = {
        "num_images": 4,
        "num_anomalous": 2,
        "num_regions": 2,
        "by_kind": {},
        "threshold": None,
    }
    fields = {
        "title": "duck",
        "subtitle": "",
        "metrics": NUMBERS | shown | metrics,
        "rows": rows,
        "kind": np.array(["good", "good", "spot", "spot"]),
        "score": np.arange(4.0),
        "roc": {},
        "threshold": 2.0,
        "statement": "",
        "heat_range": (1.0, 2.0),
        "missed": panels,
    }
    return re.sub(r"\s+", " ", render_images(ImagePage(**{**fields, **changes})))


def panel(name, **changes):
    image = np.full((8, 8, 3), 99, np.uint8)
    fields = {"score": 3.0, "alarm": True, "map": np.zeros((8, 8), np.float32)}
    return Panel(name, "spot", image=image, **{**fields, **changes})


def test_poses_have_cards_where_the_method_finds_them():
    text = page({"beside": {"with the true pose": NUMBERS}} | POSES)
    for value, name in (
        ("0.15°", "pose error, median"),
        ("25 %", "doubtful"),
        ("50 %", "not inspected"),
    ):
        assert re.search(rf'class="value">{value}</div> <div class="name">[^<]*{name}', text), name
    assert "90 % are within 1 degree and 0.02 units" in text
    assert "75 % of the wrong poses are flagged" in text
    assert "pose error" not in page({})


def test_a_row_that_is_told_more_is_not_said_to_need_no_training():
    text = page({"beside": {}})
    tags = dict(re.findall(r'<td>([^<]*)<span class="tag">([^<]*)</span>', text))
    assert tags == {"nearest good image": "no training", "with the true pose": "is told more"}


def test_an_image_without_a_verdict_has_a_note_and_neither_score_nor_alarm():
    nothing = np.full((8, 8), np.nan, np.float32)
    panels = [
        panel(
            "below.png",
            score=np.nan,
            alarm=False,
            map=nothing,
            inspected=False,
            note="not inspected: why",
        ),
        panel("open.png", doubtful=True, note="pose uncertain: why"),
        panel("plain.png"),
    ]
    captions = re.findall(
        r"<figcaption><span>(.*?)</span>", page({}, panels, image_notes={"a note": ["z.png"]})
    )
    assert [re.sub(r" ?<br> ?", "|", one.strip()) for one in captions] == [
        "below.png|not inspected: why",
        "open.png: 3.000, alarm, doubtful|pose uncertain: why",
        "plain.png: 3.000, alarm",
    ]
    assert "<dt>a note</dt><dd>z.png</dd>" in page({}, image_notes={"a note": ["z.png"]})


def test_each_image_is_marked_among_the_training_views():
    views = np.random.default_rng(0).normal(size=(20, 3))
    text = page({}, [panel("a.png", seen_from=views[3]), panel("b.png")], views=views)
    assert text.count('href="#views"') == 1
    assert len(re.findall("h0", text)) == 20
    assert "<use" not in page({}, [panel("a.png")])


def test_a_disc_keeps_areas_and_every_side_has_its_place():
    rng = np.random.default_rng(0)
    everywhere = rng.normal(size=(40_000, 3))
    places = disc_places(everywhere)
    upper = everywhere[:, 2] >= 0
    for chosen, middle in ((upper, GAP + RADIUS), (~upper, 2 * GAP + 3 * RADIUS)):
        away = np.hypot(*(places[chosen] - [middle, GAP + RADIUS]).T)
        assert away.max() <= RADIUS
        # even over the disc: a quarter of all in the inner half of its radius (3 sigma of 20,000)
        assert abs((away < RADIUS / 2).mean() - 0.25) < 0.01
    above, below, east, north = disc_places(
        np.array([[0, 0, 2], [0, 0, -3], [1, 0, 0], [0, 5.0, 0]])
    )
    np.testing.assert_allclose(above, [GAP + RADIUS, GAP + RADIUS])
    np.testing.assert_allclose(below, [2 * GAP + 3 * RADIUS, GAP + RADIUS])
    np.testing.assert_allclose(east, [GAP + 2 * RADIUS, GAP + RADIUS])
    np.testing.assert_allclose(north, [GAP + RADIUS, GAP], atol=1e-9)


@pytest.mark.parametrize(("height", "words"), [(30, "30 degrees above"), (-61, "61 degrees below")])
def test_a_mark_says_from_where(height, words):
    angle = np.radians(height)
    drawn = discs(np.array([np.cos(angle), 0, np.sin(angle)]), is_sure=False)
    assert words in drawn
    assert 'class="place doubtful"' in drawn
    assert "doubtful" not in discs(np.ones(3), is_sure=True)
    assert views_symbol(np.eye(3)).count("h0") == 3
