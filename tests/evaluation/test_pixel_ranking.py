"""Numbers of score maps: equal to slow exact ones, however the images are dealt out."""

import math

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from ipad_jax.evaluation.pixel_ranking import PixelRanking
from ipad_jax.evaluation.score_cells import order_keys

AREAS = ("pixel_auroc", "aupro_30", "aupro_05")


def smooth_images(rng, num=6, size=48, kinds=("good", "crack", "stain")):
    """Blurred noise, a few blobs of defect that score higher."""
    images = []
    for number in range(num):
        kind = kinds[number % len(kinds)]
        height, width = size + 8 * (number % 2), size
        score_map = ndimage.gaussian_filter(rng.normal(size=(height, width)), 2)
        mask = np.zeros((height, width), bool)
        if kind != "good":
            mask = ndimage.gaussian_filter(rng.normal(size=(height, width)), 3) > 0.15
        images.append(((score_map + 0.1 * mask).astype(np.float32), mask, kind))
    return images


def random_images(rng):
    """A case as it may come: few images, ties, constant maps, nothing or all defective, huge ranges."""
    images = []
    for _ in range(rng.integers(1, 6)):
        shape = tuple(rng.integers(1, 24, 2))
        score_map = rng.normal(size=shape)
        draw = rng.integers(6)
        if draw == 0:
            score_map = np.round(score_map)  # ties, also of 0.0 and -0.0
        elif draw == 1:
            score_map = np.full(shape, rng.integers(3))
        elif draw == 2:
            score_map = np.exp(20 * score_map)
        elif draw == 3:
            score_map = np.where(score_map > 1, -np.inf, score_map)
            score_map.flat[0] = 0.0
        kind = rng.choice(["good", "crack", "stain"])
        share = rng.choice([0.0, 0.1, 0.5, 1.0]) if kind != "good" else 0.0
        images.append((score_map.astype(np.float32), rng.uniform(size=shape) < share, kind))
    return images


def ranked(images, **options):
    ranking = PixelRanking(**options)
    for image in images:
        ranking.add(*image)
    return ranking


def slow_area(score, negative, weight, limit):
    """Area under (sum of `weight` above) over (share of `negative` above), cut at `limit`."""
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    last = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(score) - 1)
    if not negative.sum() or not weight.sum():
        return math.nan
    rate = np.append(0, np.cumsum(negative[order])[last] / negative.sum())
    recall = np.append(0, np.cumsum(weight[order])[last] / weight.sum())
    inside = rate < limit
    # a jump at the limit itself belongs to the next point; np.interp takes the last of equal rates
    after = int(inside.sum())
    share = (limit - rate[after - 1]) / (rate[after] - rate[after - 1])
    end = recall[after - 1] + share * (recall[after] - recall[after - 1])
    return np.trapezoid(np.append(recall[inside], end), np.append(rate[inside], limit)) / limit


def pooled(images):
    """Score, defect, 1 / size of the region and kind of every pixel of all images."""
    parts = []
    for score_map, mask, kind in images:
        regions, count = ndimage.label(mask, np.ones((3, 3)))
        weight = np.zeros(mask.shape)
        for region in range(1, count + 1):
            weight[regions == region] = 1 / (regions == region).sum()
        parts.append((score_map.ravel(), mask.ravel(), weight.ravel(), np.full(mask.size, kind)))
    return tuple(map(np.concatenate, zip(*parts)))


def slow(images, kind=None):
    """AUROC and AUPRO by sorting all pixels; of one kind against all normal pixels."""
    score, defect, weight, kinds = pooled(images)
    used = ~defect | (kinds == kind) | (kind is None)
    score, defect, weight = score[used].astype(np.float64), defect[used], weight[used]
    negative = (~defect).astype(float)
    return {
        "pixel_auroc": slow_area(score, negative, defect.astype(float), 1.0),
        "aupro_30": slow_area(score, negative, weight, 0.3),
        "aupro_05": slow_area(score, negative, weight, 0.05),
    }


@pytest.mark.parametrize("seed", range(50))
def test_equals_the_slow_exact_numbers(seed):
    images = random_images(np.random.default_rng(seed))
    result = ranked(images).result()
    exact = slow(images)
    for name in AREAS:  # as many cells as scores: rounding alone
        assert result[name] == pytest.approx(exact[name], abs=1e-12, nan_ok=True), name
    for kind, row in result["by_kind"].items():
        exact = slow(images, kind)
        for name in AREAS:
            assert row[name] == pytest.approx(exact[name], abs=1e-12, nan_ok=True), (kind, name)


def test_equals_the_libraries_where_they_have_it():
    images = smooth_images(np.random.default_rng(0))
    score = np.concatenate([m.ravel() for m, _, _ in images])
    defect = np.concatenate([m.ravel() for _, m, _ in images])
    result = ranked(images).result()
    assert result["pixel_auroc"] == pytest.approx(roc_auc_score(defect, score), abs=1e-12)
    average = average_precision_score(defect, score)
    assert result["pixel_average_precision"] == pytest.approx(average, abs=1e-12)
    precision, recall, _ = precision_recall_curve(defect, score)
    assert result["pixel_f1_max"] == pytest.approx(
        np.max(2 * precision * recall / np.maximum(precision + recall, 1e-9)), abs=1e-12
    )
    label = [kind != "good" for _, _, kind in images]
    tops = [m.max() for m, _, _ in images]
    assert result["image_auroc"] == pytest.approx(roc_auc_score(label, tops), abs=1e-12)
    average = average_precision_score(label, tops)
    assert result["average_precision"] == pytest.approx(average, abs=1e-12)


def tied_pairs(images, max_cells):
    """Sum of (share of normal pixels) x (share of region weight, of defective pixels) over cells."""
    score, defect, weight, kind = pooled(images)
    keys = order_keys(score.astype(np.float32))
    groups = [keys[~defect], *(keys[defect & (kind == k)] for k in np.unique(kind))]
    bits = next(b for b in range(32) if sum(len(np.unique(g >> b)) for g in groups) <= max_cells)
    _, cell = np.unique(keys >> np.uint32(bits), return_inverse=True)
    normal, pixels, regions = (
        np.bincount(cell, w) / w.sum() for w in ((~defect).astype(float), defect, weight)
    )
    return normal @ pixels, normal @ regions


@pytest.mark.parametrize("stretch", [lambda x: x, lambda x: np.exp(8 * x), lambda x: 100 + x / 1e3])
@pytest.mark.parametrize("max_cells", [300, 2**15])
def test_few_cells_err_by_less_than_the_bound(stretch, max_cells):
    rng = np.random.default_rng(1)
    images = [(stretch(m).astype(np.float32), d, k) for m, d, k in smooth_images(rng, 6, 128)]
    exact, coarse = slow(images), ranked(images, max_cells=max_cells).result()
    pixels, regions = tied_pairs(images, max_cells)
    rounding = 1e-12
    assert abs(coarse["pixel_auroc"] - exact["pixel_auroc"]) <= pixels / 2 + rounding
    for name, limit in (("aupro_30", 0.3), ("aupro_05", 0.05)):
        assert abs(coarse[name] - exact[name]) <= regions / (2 * limit) + rounding
    if max_cells == 2**15:  # a third of the number of pixels: the order in cells averages out
        assert abs(coarse["pixel_auroc"] - exact["pixel_auroc"]) < 1e-6
        assert all(abs(coarse[name] - exact[name]) < 1e-5 for name in AREAS)


@pytest.mark.parametrize("max_cells", [2**19, 2000])
def test_any_split_over_processes_gives_the_same(max_cells):
    rng = np.random.default_rng(2)
    images = smooth_images(rng, 9, size=32)
    all_at_once = ranked(images, max_cells=max_cells).result()
    for _ in range(2):
        part = rng.integers(3, size=len(images))
        merged = PixelRanking(max_cells)
        for number in rng.permutation(3):
            own = [image for image, where in zip(images, part) if where == number]
            merged.merge(ranked([own[i] for i in rng.permutation(len(own))], max_cells=max_cells))
        flat_equal(merged.result(), all_at_once)


def flat_equal(a, b):
    """Equal but for the rounding of sums in another order."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for name in a:
            flat_equal(a[name], b[name])
    elif isinstance(a, str):
        assert a == b
    else:
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=0)


def test_only_the_order_of_scores_counts():
    images = smooth_images(np.random.default_rng(3))
    # powers of two and a cube keep the order of float32 scores exactly
    other = [(-(2.0 ** -np.ceil(m * 8)).astype(np.float32), d, k) for m, d, k in images]
    rounded = [(np.ceil(m * 8).astype(np.float32), d, k) for m, d, k in images]
    a, b = ranked(other).result(), ranked(rounded).result()
    for name in (*AREAS, "image_auroc", "average_precision", "f1_max"):
        assert a[name] == pytest.approx(b[name], abs=1e-12)


def test_a_perfect_and_a_blind_detector():
    images = smooth_images(np.random.default_rng(4))
    perfect = ranked([(d.astype(np.float32), d, k) for _, d, k in images]).result()
    blind = ranked([(np.zeros(d.shape), d, k) for _, d, k in images]).result()
    for name in (*AREAS, "image_auroc", "f1_max", "average_precision", "pixel_f1_max"):
        assert perfect[name] == 1
    assert (blind["pixel_auroc"], blind["image_auroc"]) == (0.5, 0.5)
    assert blind["aupro_30"] == pytest.approx(0.15)  # the diagonal, from 0 to 0.3


def test_a_region_counts_once_whatever_its_size():
    mask = np.zeros((40, 40), bool)
    mask[2:30, 2:30] = True
    mask[35, 35] = mask[36, 36] = True  # one region: corners touch
    score_map = np.zeros((40, 40))
    score_map[35, 35] = score_map[36, 36] = 1.0
    result = ranked([(score_map, mask, "spot")]).result()
    assert result["num_regions"] == 2
    # half of the regions above all normal pixels, half tied with them; mean of the diagonal 0.15
    assert result["aupro_30"] == pytest.approx(0.5 + 0.5 * 0.15)


def test_aupimo_is_the_mean_recall_over_the_log_of_the_rate_on_good_images():
    rng = np.random.default_rng(5)
    good = [(rng.normal(size=(512, 512)), None, "good") for _ in range(4)]
    good.append((rng.normal(size=(64, 64)) - 9, None, "good"))  # a small one: its rate is 0
    mask = np.zeros((64, 64), bool)
    mask[:20, :20] = True  # 400 pixels: all of them in the sketch
    images = [(rng.normal(size=(64, 64)) + 4.5 * mask, mask, "crack") for _ in range(2)]
    result = ranked(good + images).result()

    sorted_maps = [np.sort(m.astype(np.float32).ravel()) for m, _, _ in good]
    top = np.concatenate([m[-1000:] for m in sorted_maps])  # rates well above 1e-4
    rates = np.geomspace(1e-5, 1e-4, 100_001)
    expected = []
    for score_map, _, _ in images:
        defect = np.sort(score_map[mask].astype(np.float32))
        levels = np.unique(np.concatenate([top, defect[defect > top.min()]]))[::-1]
        rate = np.mean([1 - np.searchsorted(m, levels) / m.size for m in sorted_maps], axis=0)
        recall = 1 - np.searchsorted(defect, levels) / defect.size
        expected.append(np.mean(np.interp(rates, rate, recall)))
    # each jump of the recall is off by at most half a step of the slow grid
    assert result["aupimo"] == pytest.approx(np.mean(expected), abs=1e-5)
    assert 0.2 < result["aupimo"] < 0.8
    assert result["by_kind"]["crack"]["aupimo"] == result["aupimo"]
    too_few = ranked([*good[:3], *images]).result()  # under a million pixels
    assert math.isnan(too_few["aupimo"])


def test_intervals_of_small_sets_are_those_of_copied_images():
    rng = np.random.default_rng(6)
    images = smooth_images(rng, 9, size=8)
    result = ranked(images).result(seed=3)
    low, high = result["intervals"]["aupro_30"]
    assert low < result["aupro_30"] < high
    draws = np.random.default_rng(3).integers(9, size=(1000, 9))  # as resample_counts
    copied = [slow([images[i] for i in draw])["aupro_30"] for draw in draws[:200]]
    # another order of the images, so other draws: quantiles of 200 and 1,000 draws agree to some 10 %
    assert low == pytest.approx(np.nanquantile(copied, 0.025), abs=0.1 * (high - low) + 0.01)
    assert high == pytest.approx(np.nanquantile(copied, 0.975), abs=0.1 * (high - low) + 0.01)


def test_intervals_narrow_with_more_images_and_hold_the_estimate():
    few, many = (
        ranked(smooth_images(np.random.default_rng(7), num, size=32)).result() for num in (12, 108)
    )
    for name in ("image_auroc", *AREAS):
        a, b = few["intervals"][name], many["intervals"][name]
        assert b[0] <= many[name] <= b[1]
        assert b[1] - b[0] < 0.7 * (a[1] - a[0])  # a third expected


def test_one_image_and_images_without_pixels():
    ranking = ranked([(np.array([[0.5]]), None, "good")])
    result = ranking.result()
    assert all(math.isnan(result[name]) for name in (*AREAS, "image_auroc", "f1_max", "aupimo"))
    assert result["intervals"]["pixel_auroc"] == [pytest.approx(math.nan, nan_ok=True)] * 2
    ranking.add(None, None, "crack", score=2.0)  # a method without maps
    ranking.add(np.array([[3.0, 1.0]]), None, "crack")  # nobody marked the defect
    result = ranking.result()
    assert result["image_auroc"] == 1
    assert (result["num_without_pixels"], result["num_normal_pixels"]) == (2, 1)
    assert result["by_kind"]["crack"]["score_mean"] == 2.5


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ((np.array([[np.nan, 1]]), None, "good"), "1 of 2 scores .* are NaN; give -inf"),
        ((np.zeros((2, 3)), np.zeros((3, 2), bool), "good"), "bring the map to the mask's size"),
        ((np.zeros((1, 2)), np.array([[0, 7]]), "crack"), "0 and 255; compare it with a level"),
        ((np.zeros((1, 2)), np.array([[1, 255]], np.uint8), "crack"), "compare it with a level"),
        ((np.zeros((1, 2)), np.array([[0, 255]]), "good"), "'good' image has a mask with 1"),
        ((np.zeros(3), None, "good"), r"shape \(3,\)"),
        ((None, None, "good"), "score=None .* needs a finite one"),
        ((np.full((1, 1), -np.inf), None, "good"), "score=-inf"),
    ],
)
def test_bad_input_is_refused(image, message):
    with pytest.raises(ValueError, match=message):
        PixelRanking().add(*image)


def test_nothing_and_unequal_ones_are_refused():
    with pytest.raises(ValueError, match="No image"):
        PixelRanking().result()
    with pytest.raises(ValueError, match="max_cells=524288 and 64"):
        PixelRanking().merge(PixelRanking(64))
