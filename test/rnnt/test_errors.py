"""The text of an exception as one line."""

from rnnt.errors import UserError, one_line


def test_one_line():
    assert one_line(OSError("disk\n  full")) == "disk full"
    assert one_line(ValueError("x" * 300)) == "x" * 200
    assert one_line(UserError("a b c"), limit=3) == "a b"
    assert one_line(EOFError()) == "EOFError"
