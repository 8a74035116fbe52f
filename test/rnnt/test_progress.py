import io
import sys

from rnnt import progress


def test_a_log_gets_lines_and_only_of_what_takes_long(monkeypatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    assert list(progress.progress(range(5), what="short", unit="utt")) == [0, 1, 2, 3, 4]
    assert log.getvalue() == ""
    monkeypatch.setattr(progress, "SECONDS_PER_LINE", 0)
    list(progress.progress(iter("abc"), total=3, what="long", unit="utt"))
    lines = log.getvalue().splitlines()
    assert "\r" not in log.getvalue() and all(line.startswith("long: ") for line in lines)
    assert "3/3 [00:00<" in lines[-1]


def test_a_terminal_gets_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    list(progress.progress(range(3), what="bar"))
    assert screen.getvalue().startswith("\rbar: ")
