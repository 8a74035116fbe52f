"""local/tune_decoding.py: all combinations of options on a dev set, the best one, what is done is kept."""

import pytest

from rnnt.train import main as train


@pytest.fixture(scope="module")
def experiment(toy_argv, tmp_path_factory):
    exp = tmp_path_factory.mktemp("tuning") / "exp"
    train(toy_argv(exp, num_epochs=1))
    return exp


def tune(program, experiment, toy, *words):
    program("tune_decoding").main([
        "--exp-dir", str(experiment), "--set", "dev", "--decode-opts",
        f"--manifest-dir {toy} --num-workers 0 --device cpu --threads 1", *words,
    ])  # fmt: skip


def test_two_options_make_a_table_and_a_picture(program, experiment, toy, capsys):
    words = ["--options", "blank-penalty=0,4", "temperature=1,2,3"]
    tune(program, experiment, toy, *words)
    printed = capsys.readouterr().out.splitlines()
    table = (experiment / "tuning" / "dev-blank-penalty-temperature_greedy_search.txt").read_text().splitlines()
    assert printed[-1 - len(table) : -1] == table and len(table) == 2 + 6
    assert [line.split()[:2] for line in table[2:]] == [[a, b] for a in "04" for b in "123"]
    wers = [float(line.split()[2]) for line in table[2:]]
    (best,) = [line.split() for line in table if line.endswith("best")]
    assert float(best[2]) == min(wers) and printed[-1].endswith(
        f"best: --blank-penalty={best[0]} --temperature={best[1]}"
    )
    assert (
        (experiment / "tuning" / "dev-blank-penalty-temperature_greedy_search.png").read_bytes().startswith(b"\x89PNG")
    )
    assert len(list(experiment.glob("decode_greedy_search*/dev"))) == 6
    # A second call decodes nothing, and one option more decodes what is new.
    tune(program, experiment, toy, *words)
    assert capsys.readouterr().out.count("kept") == 6
    tune(program, experiment, toy, "--options", "temperature=1,9", "blank-penalty=4")
    assert capsys.readouterr().out.count("kept") == 1


def test_the_table_of_other_settings_is_another_file(program, experiment, toy, tmp_path):
    (tmp_path / "words.txt").write_text("two three\n")
    before = set((experiment / "tuning").glob("*.txt"))
    options = f"--manifest-dir {toy} --num-workers 0 --device cpu --threads 1 --decoding-method modified_beam_search"
    for more in ("", "--beam-size 2 "):
        program("tune_decoding").main([
            "--exp-dir", str(experiment), "--set", "dev", "--options", "context-score=1,2",
            "--decode-opts", f"{options} {more}--context-file {tmp_path / 'words.txt'}",
        ])  # fmt: skip
    made = sorted(path.name for path in set((experiment / "tuning").glob("*.txt")) - before)
    assert len(made) == 2 and made[1].startswith("dev-context-score_modified_beam_search_hotwords-words.")
    assert made[0].startswith("dev-context-score_modified_beam_search_beam-2_hotwords-words.")


@pytest.mark.parametrize("word", ["blank-penalty", "blank-penalty=", "nothing=1", "exp-dir=a,b"])
def test_what_is_no_option_of_decoding_is_refused(program, experiment, toy, capsys, word):
    with pytest.raises(SystemExit):
        tune(program, experiment, toy, "--options", word)
    assert f"--options {word}: expected an option of decode.py" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tune(program, experiment, toy, "--options", "temperature=1,-1")
    assert not list(experiment.glob("decode_*temperature--1*"))
