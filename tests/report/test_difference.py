from __future__ import annotations

from support.rows import candidate

from evohpc.report.difference import differences


def test_the_change_is_shown_in_its_place() -> None:
    old, new = candidate("a", source="x\ny\nz\n"), candidate("b", source="x\nY\nz\nw\n")
    (found,) = differences(new, [old], context=0)
    assert found.lines == ("--- a", "+++ b", "@@ -2 +2 @@", "-y", "+Y", "@@ -3,0 +4 @@", "+w")
    assert found.counts == (2, 1)


def test_a_line_is_what_python_takes_for_one() -> None:
    old, new = candidate("a", source="'\x0c\u2028'\n"), candidate("b", source="'\x0c\u2028!'\n")
    (found,) = differences(new, [old])
    assert found.lines[3:] == ("-'\x0c\u2028'", "+'\x0c\u2028!'")
    (same,) = differences(old, [old])
    assert (same.lines, same.counts) == ((), (0, 0))
