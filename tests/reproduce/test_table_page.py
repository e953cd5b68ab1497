"""Text, CSV and page of a table: what is missing is said, what is there stands in all three."""

import csv
import dataclasses
import io
import math
import re

import pytest

from ipad_jax.reproduce.table import Difference, Number, TableData, TableRow, table_csv, table_text
from ipad_jax.reproduce.table_page import render_table

NAN = math.nan


def number(estimate=0.7, wanted=3, done=None, published=None, seeds=(0.69, 0.7, 0.71)):
    done = wanted if done is None else done
    return Number(estimate, estimate - 0.1, estimate + 0.1, seeds, done, wanted, published)


MISSING = Number(NAN, NAN, NAN, (), 0, 3)


def table(**changes):
    alarms = {
        "normal_time_in_alarm": 0.003, "false_alarms_per_hour": 12.0, "false_alarms_interval": (4.0, 30.0),
        "event_recall": 0.5, "event_recall_interval": (0.2, 0.8), "detection_delay_s": NAN,
    }  # fmt: skip
    measures = dict.fromkeys(("auc_macro", "average_precision", "eer", "fpr_at_95_recall"), 0.123)
    facts = {"parameters": 2.5e6, "trainable": 1e6, "steps": 300.0, "train_seconds": 100.0}
    ours = TableRow(
        "ours", "our <method>", {"arm_real": number(), "mean": number(0.72)}, {"jam": number(0.8)},
        alarms, measures, facts, is_main=True, losses=[([1.0, 10.0, 20.0], [1.0, 0.3, 0.2])],
    )  # fmt: skip
    other = TableRow(
        "conae", "conAE", {"arm_real": MISSING, "mean": number(0.6, 6, 3, published=56.7)}, {"jam": MISSING}
    )  # fmt: skip
    free = TableRow(
        "diff_mean", "frame difference",
        {"arm_real": number(0.5, 1, seeds=(0.5,)), "mean": number(0.5, 1, seeds=(0.5,))},
        {"jam": number(0.5, 1)}, is_untrained=True,
    )  # fmt: skip
    found = Difference("ours above conAE", Number(0.12, 0.05, 0.2, (), 1, 6), 1, 1)
    unknown = Difference("ours above nothing", Number(NAN, NAN, NAN, (), 0, 6), 0, 0)
    data = TableData(
        "Table 2", "protocol strict", ("arm_real", "mean"), ("mean",), (ours, other, free),
        (found, unknown), ("jam",), (3, 6), ("A note.",),
    )  # fmt: skip
    return dataclasses.replace(data, **changes)


def test_the_text_has_value_interval_and_the_papers_number_below_each_other():
    lines = table_text(table()).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("conAE"))
    assert lines[at].split() == ["conAE", "–", "60.0*", "1.0"]
    assert lines[at + 1].split() == ["95", "%", "50-70"]
    assert lines[at + 2].split() == ["the", "paper", "56.7"]
    assert any(line.split()[-3:] == ["of", "1", "yes"] for line in lines)
    assert any("+12.0*  +5.0 to +20.0" in line for line in lines)
    assert any(line.startswith("ours above nothing") and "not known yet" in line for line in lines)
    assert "12 (4-30)" in table_text(table())
    assert table_text(table()).count("12.3") == 4
    assert "nan" not in table_text(table())


def test_what_is_unfinished_is_counted_and_said():
    assert "UNFINISHED: 6 of 9 cells, 3 of 6 trainings" in table_text(table())
    rows = tuple(
        dataclasses.replace(row, numbers={c: number() for c in ("arm_real", "mean")})
        for row in table().rows
    )
    whole = table_text(table(rows=rows, trainings=(6, 6)))
    assert "6 of 6 cells, 6 of 6 trainings" in whole
    assert "UNFINISHED" not in whole
    assert "*" not in whole.split("paired difference")[0]


def test_the_csv_has_a_line_for_each_number_and_reads_back():
    rows = list(csv.DictReader(io.StringIO(table_csv(table()))))
    aucs = {(r["row"], r["column"]): r for r in rows if r["quantity"] == "auc"}
    assert aucs["ours", "mean"]["value"] == "0.72"
    assert aucs["conae", "arm_real"]["value"] == ""
    assert aucs["conae", "mean"]["paper"] == "56.7"
    assert (aucs["conae", "mean"]["cells_done"], aucs["conae", "mean"]["cells_wanted"]) == (
        "3",
        "6",
    )
    assert float(aucs["ours", "mean"]["seed_sd"]) == pytest.approx(0.01)
    assert [r["value"] for r in rows if r["quantity"] == "false_alarms_per_hour"] == ["12"]
    assert [r["value"] for r in rows if r["quantity"] == "difference"] == ["0.12", ""]
    assert not any(None in r for r in rows)  # no line is longer than the head


def test_the_page_needs_nothing_else_and_says_the_same():
    page = render_table(table())
    assert not re.search(r'(src|href)="(?!#)', page)
    assert "our &lt;method&gt;" in page
    assert page.count("<svg") == 3  # means, differences, one loss
    assert "UNFINISHED" in page
    assert "paper 56.7" in page
    assert ">nan" not in page
    ids = re.findall(r'<svg[^>]*>|id="([^"]+)"', page)
    assert len([i for i in ids if i]) == len({i for i in ids if i})


def test_an_empty_table_has_a_page_too():
    rows = tuple(
        TableRow(r.name, r.text, dict.fromkeys(r.numbers, MISSING)) for r in table().rows[:2]
    )
    empty = table(rows=rows, differences=(), kinds=(), trainings=(0, 6))
    assert "UNFINISHED: 0 of 6 cells" in table_text(empty)
    assert "<svg" not in render_table(empty)


def test_rows_that_rest_on_the_same_trainings_show_their_losses_once():
    ours, *others = table().rows
    twice = table(rows=(ours, dataclasses.replace(ours, name="again"), *others))
    assert render_table(twice).count("<svg") == 3
