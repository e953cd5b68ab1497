"""Tables: aligned, plain, and readable where the screen is narrow."""

from ipad_jax.run.table import Table

TABLE = Table(
    "sizes",
    ("part", "parameters", "note"),
    (
        ("encoder", "27,580,000", "patch (2, 4, 4), window (8, 7, 7), depths (2, 2, 6, 2)"),
        ("[memory]", "9", ""),
        ("head",),
    ),
    notes=("a note",),
    left=(0, 2),
)


def test_numbers_stand_right_and_words_left_and_nothing_is_markup():
    title, _, head, encoder, memory, last, _, note = str(TABLE).splitlines()
    assert (title, note, last) == ("sizes", "a note", "head")
    assert head.startswith("part") and encoder.startswith("encoder")  # noqa: PT018
    end = head.index("parameters") + len("parameters")
    assert encoder[:end].endswith("27,580,000")
    assert memory[:end].endswith(" 9")
    assert memory.startswith("[memory]")
    assert head.index("note") == encoder.index("patch")
    assert all(line == line.rstrip() for line in str(TABLE).splitlines())


def test_words_are_wrapped_to_a_narrow_screen_and_none_is_lost():
    text = TABLE.text(40)
    assert max(map(len, text.splitlines())) <= 40
    assert "27,580,000" in text
    for word in TABLE.rows[0][2].split():
        assert word in text


def test_numbers_are_never_cut():
    wide = Table("", ("method", *map(str, range(20))), (("ours", *["12.345"] * 20),))
    assert wide.text(60).count("12.345") == 20
    assert len(wide.text(60).splitlines()) == 2
