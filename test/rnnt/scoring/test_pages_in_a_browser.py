"""The pages of decoded sets in a real Chromium: their filters are used, their audio played, narrow and wide."""

import numpy as np
import pytest
import soundfile

from rnnt.score import main
from rnnt.scoring import score
from rnnt.scoring.results_dir import write_results_dir

LONG = "and so on " * 20
REFS = {"s1-a": "one two three", "s1-b": f"four <b> {LONG}", "s2-a": "five", "s2-b": "six"}
HYPS = {
    "A": {"s1-a": "one too", "s1-b": f"four <i> {LONG}", "s2-a": "five", "s2-b": "oh six"},
    "B": {"s1-a": "one two three", "s1-b": f"four <b> {LONG}", "s2-a": "nine", "s2-b": "oh six"},
}
SHOWN = "[...document.querySelectorAll('.utt')].filter(u => u.offsetHeight).map(u => u.firstChild.innerText)"
# What a reader does: the value goes into the field, and its event to the form.
FILL = """(() => {{ const field = document.getElementById("filters")[{name!r}]; field.value = {value!r};
field.dispatchEvent(new Event("input", {{bubbles: true}})); }})()"""


@pytest.fixture
def pages(tmp_path):
    """The page of A's set, and that of A and B."""
    soundfile.write(tmp_path / "s 1.wav", 0.1 * np.sin(np.arange(8000)), 8000)
    for name, hyps in HYPS.items():
        report = score(REFS, hyps, speakers={key: key[:2] for key in REFS})
        utterances = [
            {"id": key, "speaker": key[:2], "seconds": 1.0 + i, "audio": [str(tmp_path / "s 1.wav")]}
            for i, key in enumerate(REFS)
        ]
        write_results_dir(tmp_path / name, report, utterances, {"set": "test"})
    main(["compare", str(tmp_path / "A"), str(tmp_path / "B"), "--html", str(tmp_path / "two.html")])
    return tmp_path / "A/report.html", tmp_path / "two.html"


def fill(tab, **values):
    for name in ("word", "speaker", "kind", "least", "most"):
        tab.run(FILL.format(name=name, value=values.get(name, "")))
    return tab.run(SHOWN)


@pytest.mark.slow
def test_what_a_reader_does(pages, tmp_path, open_tab):
    one, two = pages
    with open_tab(one.as_uri(), tmp_path / "profile") as tab:
        assert tab.run(SHOWN) == ["s1-a", "s2-b", "s1-b"]
        assert fill(tab, word="TOO") == ["s1-a"] and fill(tab, word="<i>") == ["s1-b"]
        assert fill(tab, speaker="s1") == ["s1-a", "s1-b"] and fill(tab, kind="I") == ["s2-b"]
        assert fill(tab, least="1.5", most="3") == ["s1-b"]
        assert tab.run("document.getElementById('shown').textContent") == "1 shown"
        assert len(fill(tab)) == 3
        tab.run("document.querySelector('audio').play()")
        tab.wait_for("document.querySelector('audio').currentTime > 0")
        assert tab.run("document.querySelector('audio').duration") == 1.0
        narrow_and_wide(tab)
        tab.call("Page.navigate", url=two.as_uri())
        tab.wait_for("document.title.endsWith('B') && document.readyState === 'complete'")
        assert tab.run(SHOWN) == ["s1-a", "s1-b", "s2-a", "s2-b"]
        assert fill(tab, kind="A") == ["s2-a"] and fill(tab, kind="=") == ["s2-b"]
        assert fill(tab, kind="B", least="2") == ["s1-b"]
        fill(tab)
        narrow_and_wide(tab)


def narrow_and_wide(tab):
    """Nothing is wider than the page but what scrolls by itself; letters stand out, light or dark."""
    for scheme, is_dark in (("light", False), ("dark", True)):
        for width in (400, 1400):
            tab.look(width, scheme)
            assert tab.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
            assert tab.run("[...document.querySelectorAll('audio')].every(a => a.offsetWidth > 100)")
        letters, back = tab.run(
            "['color', 'backgroundColor'].map(n => Number(getComputedStyle(document.body)[n].match(/[0-9]+/g)[1]))"
        )
        assert (letters > back) == is_dark and abs(letters - back) > 100
