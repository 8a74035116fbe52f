"""The list of cuts of any manifests, in whatever order their lines are."""

import gzip
import json
import subprocess
import sys

import pytest
from lhotse import CutSet, RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.supervision import AlignmentItem
from lhotse.testing.dummies import dummy_recording

from rnnt.errors import UserError
from rnnt.prepare.cuts import write_cut_list, write_window_list


@pytest.fixture
def manifests(tmp_path):
    """Recordings 0 to 4 of 10 s, backwards, with two utterances each."""
    recordings = [dummy_recording(i, duration=10.0) for i in reversed(range(5))]
    for recording in recordings:
        recording.sources[0].type = "file"  # the dummies echo their audio
    RecordingSet.from_recordings(recordings).to_file(tmp_path / "recordings.jsonl.gz")
    supervisions = [
        SupervisionSegment(f"utt-{k}-{r.id}", r.id, start, 3.0, text="x")
        for k, start in enumerate((0.0, 4.0))
        for r in sorted(recordings, key=lambda r: r.id)
    ]
    SupervisionSet.from_segments(supervisions).to_file(tmp_path / "supervisions.jsonl.gz")
    return tmp_path


def cuts_of(folder, rate=16000, factors=()):
    with open(folder / "cuts.jsonl", "w") as file:
        report = write_cut_list(file, folder / "recordings.jsonl.gz", folder / "supervisions.jsonl.gz", rate, factors)
    return report, list(CutSet.from_file(folder / "cuts.jsonl"))


def test_one_cut_per_utterance_with_its_own_recording(manifests):
    report, cuts = cuts_of(manifests)
    assert report.cuts == len(cuts) == 10 and report.without_recording == []
    for cut in cuts:
        (supervision,) = cut.supervisions
        assert cut.id == supervision.id and cut.id.endswith(cut.recording.id)
        assert (cut.start, cut.duration) == (4.0 if "utt-1" in cut.id else 0.0, 3.0)
        assert (supervision.start, supervision.end) == (0.0, 3.0)
    assert sorted(path.name for path in manifests.iterdir()) == [
        "cuts.jsonl", "recordings.jsonl.gz", "supervisions.jsonl.gz",
    ]  # fmt: skip


def test_copies_at_other_speeds_and_rates(manifests):
    report, cuts = cuts_of(manifests, rate=8000, factors=(0.9, 1.1))
    assert report.cuts == 30 and report.rates == {16000}
    assert [cut.id for cut in cuts[10:20]] == [f"{cut.id}_sp0.9" for cut in cuts[:10]]
    assert {cut.sampling_rate for cut in cuts} == {8000}
    assert cuts[15].duration == pytest.approx(3 / 0.9, abs=1e-3)


def test_supervisions_without_recording_and_late_ends(manifests):
    path = manifests / "supervisions.jsonl.gz"
    late = SupervisionSegment("late", "dummy-recording-0000", 8.0, 3.0, text="x")
    lost = SupervisionSegment("lost", "another", 0.0, 3.0, text="x")
    SupervisionSet.from_segments([late, lost]).to_file(path)
    report, cuts = cuts_of(manifests)
    assert len(report.without_recording) == 1 and [cut.id for cut in cuts] == ["late"]
    # Stage 6 sees that the supervision goes beyond the cut.
    assert cuts[0].duration == 2.0 and cuts[0].supervisions[0].duration == 3.0


def test_a_broken_line_is_named(manifests):
    path = manifests / "supervisions.jsonl.gz"
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join(lines[:2]) + b"{"))
    with pytest.raises(UserError, match="supervisions.jsonl.gz: line 3: broken .* stage 1"):
        cuts_of(manifests)
    assert not list(manifests.glob("*.recordings"))


@pytest.mark.parametrize("seconds, expected", [(10, [10]), (4, [4, 4, 2]), (4.5, [4.5, 4.5]), (30, [10])])
def test_windows_of_recordings(manifests, seconds, expected):
    with open(manifests / "cuts.jsonl", "w") as file:
        report = write_window_list(file, manifests / "recordings.jsonl.gz", 16000, seconds)
    with open(manifests / "cuts.jsonl") as file:
        cuts = [json.loads(line) for line in file]
    assert report.cuts == len(cuts) == 5 * len(expected)
    assert [cut["duration"] for cut in cuts[: len(expected)]] == expected
    assert len({cut["id"] for cut in cuts}) == len(cuts)


def test_cuts_are_those_that_lhotse_makes(manifests):
    path = manifests / "supervisions.jsonl.gz"
    words = [AlignmentItem("x", 4.5, 0.25)]
    plain = SupervisionSegment("plain", "dummy-recording-0001", 4.1, 3.3, text="x", speaker="s", custom={"a": 1})
    aligned = SupervisionSegment("aligned", "dummy-recording-0002", 4.1, 3.3, text="x", alignment={"word": words})
    SupervisionSet.from_segments([plain, aligned]).to_file(path)
    recordings = RecordingSet.from_file(manifests / "recordings.jsonl.gz").to_eager()
    expected = [
        recordings[segment.recording_id].to_cut().truncate(offset=4.1, duration=3.3) for segment in (plain, aligned)
    ]
    for cut, other, segment in zip(cuts_of(manifests)[1], expected, (plain, aligned), strict=True):
        (supervision,) = cut.supervisions
        assert supervision == segment.with_offset(-4.1)
        assert (cut.recording, cut.start, cut.duration, cut.channel) == (
            other.recording, other.start, other.duration, other.channel,
        )  # fmt: skip


def test_a_plan_loads_neither_torch_nor_lhotse(manifests, tmp_path):
    program = """
import sys
from rnnt.prepare.cuts import write_cut_list
with open(sys.argv[1] + "/cuts.jsonl", "w") as file:
    write_cut_list(file, sys.argv[1] + "/recordings.jsonl.gz", sys.argv[1] + "/supervisions.jsonl.gz", 16000)
print({"torch", "lhotse"} & set(sys.modules))
"""
    result = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"
