"""No name of a corpus leads out of the folder where it is written, or into a file of ours."""

import os

import pytest

from rnnt.errors import UserError
from rnnt.names import check_set_names, file_name

BAD = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "/etc",
    "-x",
    ".x",
    "a b",
    "a\n",
    "a\0",
    "$(touch x)",
    "a'b",
    "a;b",
    "a|b",
    "a>b",
    "x" * 101,
    None,
]
TAKEN = ["log", "LOG", "features", "sets", "report", "cmvn", "train.part", "x_recordings", "x_supervisions", "a.jsonl"]


@pytest.mark.parametrize("name", BAD + TAKEN)
def test_bad_names_of_sets_are_refused(name):
    with pytest.raises(UserError, match="^--sets: ") as error:
        check_set_names(["train", name], "--sets")
    assert "\n" not in str(error.value)


def test_names_that_differ_in_case_are_refused():
    with pytest.raises(UserError, match="Train and train differ only in case"):
        check_set_names(["Train", "dev", "train"], "--sets")


def test_good_names_pass():
    check_set_names(["train", "dev-clean", "test_2.1", "train", "1000h", "_x", "ελληνικά", "a+b"], "--sets")


def test_files_of_ids_stay_in_their_folder_and_apart():
    plain = ["s1_u1", "1272-128104-0000", "a.b"]
    ids = [*plain, "s1/u1", "S1_U1", "s1_U1", "..", ".", "", "../../x", "/etc/passwd", "-x", ".x", "a\nb", "\0"]
    ids += ["é", "e", "x" * 300, "y" * 299 + "z", "\ud800"]
    names = [file_name(key) for key in ids]
    assert names[: len(plain)] == plain
    assert len({name.casefold() for name in names}) == len(ids)
    for name in names:
        assert os.path.basename(name) == name and name[0] not in ".-" and len(name.encode()) <= 110 and "\0" not in name
