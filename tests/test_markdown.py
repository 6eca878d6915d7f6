"""Tables in Markdown."""

from benchmarks.markdown import table


def test_numbers_are_to_the_right_and_empty_cells_one_space_wide():
    assert table(("", "S/N"), [("a", "3"), ("", "10")]) == ["| | S/N |", "|---|---:|", "| a | 3 |", "| | 10 |"]


def test_columns_are_aligned_as_asked():
    assert table(("x", "y", "z"), [], "lrl")[1] == "|---|---:|---|"
