"""Ogg: one complete stream or none."""

import pytest

from rnnt.data.sound import AudioError
from rnnt.data.sound.audio_file import AudioFile


def pages(content):
    """The pages of an Ogg file."""
    starts = [i for i in range(len(content)) if content[i : i + 4] == b"OggS"] + [len(content)]
    return [content[a:b] for a, b in zip(starts, starts[1:])]


def with_serial(page, number):
    return page[:14] + number.to_bytes(4, "little") + page[18:]


@pytest.fixture(params=["ogg", "opus"])
def whole(request, write, speech):
    content = write(f"a.{request.param}", speech).read_bytes()
    assert len(pages(content)) >= 3
    return content


@pytest.fixture
def refused(tmp_path):
    """`refused(content)` is what is wrong with an Ogg file."""

    def problem(content):
        (tmp_path / "x.ogg").write_bytes(content)
        with pytest.raises(AudioError) as caught:
            AudioFile(tmp_path / "x.ogg")
        return str(caught.value)

    return problem


def test_chains_are_refused_whatever_their_serial_numbers(whole, refused):
    other = b"".join(with_serial(page, 77) for page in pages(whole))
    for content in (whole + other, whole + whole, other + whole + other):
        assert refused(content).startswith("several Ogg streams, of which only the first would be read; convert")


def test_a_missing_page_is_noticed(whole, refused):
    parts = pages(whole)
    assert "page 2 is missing" in refused(b"".join(parts[:2] + parts[3:])) or "truncated" in refused(
        b"".join(parts[:-1])
    )


def test_a_missing_end_is_noticed(whole, refused):
    last = len(pages(whole)[-1])
    for content in (whole[:-1], whole[:-last], whole[: -last + 10], whole[: -last + 27]):
        assert refused(content).startswith("truncated")
    # The last page does not say that it is.
    position = len(whole) - last + 5
    assert refused(whole[:position] + b"\0" + whole[position + 1 :]).startswith("truncated")


def test_something_between_the_pages_is_noticed(whole, refused, tmp_path):
    first = len(pages(whole)[0])
    assert f"at byte {first}" in refused(whole[:first] + b"garbage" + whole[first:])
    (tmp_path / "y.ogg").write_bytes(whole + bytes(300))
    AudioFile(tmp_path / "y.ogg").close()
