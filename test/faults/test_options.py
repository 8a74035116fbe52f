"""Every option of every program: values outside of its range, of another type, and what no text may hold."""

import dataclasses
from dataclasses import MISSING

import pytest

from rnnt.option_values import Range, value_type
from rnnt.options import _groups, flag

# What any number may be: weights and bonuses of a search, and a frequency that counts from two sides.
FREE = {
    "blank_penalty",
    "length_bonus",
    "lm_scale",
    "ilm_scale",
    "nn_lm_scale",
    "word_lm_scale",
    "ngram_lm_scale",
    "context_score",
    "high_freq",
}
PROGRAMS = [
    "train", "decode", "transcribe", "export_model", "choose_sets", "compute_fbank", "decode_sets", "export_kaldi",
    "import_corpus", "make_ngram", "make_noise_manifest", "recipe_options", "run_stage", "train_bpe", "validate",
    "egs/digits/ASR/local/get_corpus.py", "egs/digits/ASR/local/make_manifests.py",
    "egs/librispeech/ASR/local/get_corpus.py", "egs/librispeech/ASR/local/get_noise.py",
    "egs/librispeech/ASR/local/make_manifests.py", "egs/librispeech/ASR/mlperf/convert_to_wav.py",
    "egs/librispeech/ASR/mlperf/import_manifests.py", "egs/librispeech/ASR/mlperf/launch.py",
    "egs/librispeech/ASR/mlperf/tokenize_transcripts.py",
]  # fmt: skip
# Training has by far the most options; the quick selection tries its numbers on the command line.
IN_FILES = [pytest.param(name, marks=pytest.mark.slow if name == "train" else ()) for name in PROGRAMS]


class Seen(Exception):
    """Carries the classes of a program's options out of it."""


def rest(program, fields, name=""):
    """The words that a program needs beside the option `name`."""
    required = {f.name for f, _ in fields if f.default is MISSING and f.default_factory is MISSING}
    return [f"{flag(needed)}=1" for needed in required - {name}] + (["x.wav"] if program == "transcribe" else [])


@pytest.fixture
def fields_of(load_program, monkeypatch):
    """`fields_of(program)`: the fields of all its options, with the words that choose their component."""

    def find(name):
        module = load_program(name)
        with monkeypatch.context() as patch, pytest.raises(Seen) as seen:
            patch.setattr(module, "parse", lambda parser, classes, argv: (_ for _ in ()).throw(Seen(classes)))
            module.main.__wrapped__([])
        groups = [group for cls in seen.value.args[0] for group in _groups(cls)]
        return [
            (f, title.partition(":")[0].split() if title.startswith("--") else []) for title, fs in groups for f in fs
        ]

    return find


def bad_numbers(f):
    """Texts of numbers that a field must refuse."""
    yield from ("nan", "-inf", "many", "²")
    numbers = f.metadata["range"]
    scalar, _ = value_type(f.type)
    step = 1 if scalar is int else 0.25
    if scalar is int:
        yield from ("1.5", str(1 << 63))
    for bound, change in (
        (numbers.minimum, -step), (numbers.above, 0), (numbers.maximum, step), (numbers.below, 0)
    ):  # fmt: skip
        if bound is not None:
            yield str(scalar(bound) + change)


@pytest.mark.parametrize("program", PROGRAMS)
def test_numbers_out_of_range(program, fields_of, one_line):
    fields = fields_of(program)
    for f, choice in fields:
        scalar, is_list = value_type(f.type)
        if "registry" in f.metadata or scalar not in (int, float):
            continue
        choices = f.metadata["choices"]
        assert choices or f.name in FREE or f.metadata["range"] != Range(), f"{f.name} declares no range"
        words = [*choice, *rest(program, fields, f.name)]
        for text in bad_numbers(f):
            one_line(program, [f"{flag(f.name)}={text}", *words], f"argument {flag(f.name)}: ", status=2)


def yaml_value(text):
    return {"nan": ".nan", "-inf": "-.inf"}.get(text, text)


@pytest.mark.parametrize("program", IN_FILES)
def test_numbers_out_of_range_in_a_file(program, fields_of, one_line, world):
    fields = fields_of(program)
    for f, choice in fields:
        scalar, _ = value_type(f.type)
        if "registry" in f.metadata or scalar not in (int, float):
            continue
        chosen = f"{choice[0][2:]}: {choice[1]}\n" if choice else ""
        for text in [*bad_numbers(f), "[[1]]", "{}", "2020-01-01"]:
            (world / "c.yaml").write_text(f"{chosen}{f.name}: {yaml_value(text)}\n")
            one_line(program, ["--config", "c.yaml", *rest(program, fields, f.name)], "c.yaml: ", f.name)


@pytest.mark.parametrize("program", IN_FILES)
def test_texts_flags_and_choices(program, fields_of, one_line, world):
    fields = fields_of(program)
    for f, choice in fields:
        words = [*choice, *rest(program, fields, f.name)]
        name = f"argument {flag(f.name)}: "
        if "registry" in f.metadata:
            for text in ("", "none", "../x", "lstm lstm lstm"):
                one_line(program, [f"{flag(f.name)}={text}", *words], name, status=2)
            for value in ("3", "{}", "[[]]", "null", ".nan"):
                (world / "c.yaml").write_text(f"{f.name}: {value}\n")
                one_line(program, ["--config", "c.yaml", *words[len(choice) :]], "c.yaml: ", f.name)
            continue
        scalar, is_list = value_type(f.type)
        if scalar is bool:
            for text in ("maybe", "2", ""):
                one_line(program, [*words, f"{flag(f.name)}={text}"], name, status=2)
        elif scalar is str:
            one_line(program, [*words, f"{flag(f.name)}=a\udcffb"], name, status=2)
            if f.metadata["choices"]:
                one_line(program, [*words, f"{flag(f.name)}=nothing"], name, status=2)
            if f.metadata.get("nonempty"):
                one_line(program, [*words, f"{flag(f.name)}="], name, "at least one", status=2)
        chosen = f"{choice[0][2:]}: {choice[1]}\n" if choice else ""
        for value in ("{a: 1}", '"a\\0b"', '"\\ud800"', "[[[]]]"):
            (world / "c.yaml").write_text(f"{chosen}{f.name}: {value}\n")
            one_line(program, ["--config", "c.yaml", *words[len(choice) :]], "c.yaml: ", f.name)


def test_all_options_are_seen(fields_of):
    names = {f.name for program in PROGRAMS for f, _ in fields_of(program)}
    assert {"beta1", "warm_step", "nj", "window", "conv_kernel", "order"} <= names and len(names) > 150
    assert all(isinstance(f, dataclasses.Field) for f, _ in fields_of("train"))


TOGETHER = {
    "precisions": ("train", "--use-fp16 --use-bf16"),
    "warm batches": ("train", "--batch-size 2 --short-first-epochs 1"),
    "noise": ("train", "--noise-snr-min 5 --noise-snr-max 1"),
    "speeds": ("train", "--perturb-speed-on-the-fly 0.1"),
    "speed nan": ("train", "--perturb-speed-on-the-fly nan"),
    "blank": ("train", "--vocab-size 5 --blank-id 5"),
    "heads": ("train", "--encoder conformer --attention-heads 7"),
    "kernel": ("train", "--encoder conformer --conv-kernel 4"),
    "hidden": ("train", "--encoder deep_lstm --encoder-hidden-dim 8"),
    "stacking": ("train", "--encoder stacked_lstm --layers-before-stacking 4"),
    "odd": ("train", "--encoder-bidirectional --encoder-dim 7"),
    "scales": ("train", "--lm-scale 0.6 --am-scale 0.5"),
    "other component": ("train", "--attention-heads 4"),
    "other loss": ("train", "--ctc-loss-scale 0.2"),
    "twice": ("train", "--loss pruned pruned"),
    "nothing": ("train", "--no-such-option 3"),
    "short": ("train", "--num-epoch 3"),
    "word": ("train", "word"),
    "no value": ("train", "--num-epochs"),
    "renamed": ("transcribe", "--model model --piece-seconds 3 x.wav"),
    "overlap": ("transcribe", "--model model --overlap-seconds 12 x.wav"),
    "no file": ("transcribe", "--model model"),
    "no model": ("transcribe", "x.wav"),
    "best and iter": ("decode", "--best 2 --iter 3"),
    "best and mean": ("export_model", "--out m --best 2 --use-averaged-model"),
    "split and merge": ("decode", "--split 1/2 --merge 2"),
    "split 0": ("decode", "--split 0/2"),
    "split above": ("decode", "--split 3/2"),
    "split half": ("decode", "--split 1"),
    "split superscript": ("decode", "--split ²/³"),
    "split long": ("decode", f"--split 1/{'9' * 5000}"),
    "no out": ("export_model", ""),
    "modes": ("compute_fbank", "--plan --merge"),
    "parts": ("compute_fbank", "--split 2/x"),
    "windows": ("compute_fbank", "--window 3 --perturb-speed 0.9"),
    "shift": ("compute_fbank", "--frame-shift-ms 0.01"),
    "length": ("compute_fbank", "--frame-length-ms 0.01"),
    "low above high": ("compute_fbank", "--low-freq 5000 --high-freq 3000"),
    "high above half": ("compute_fbank", "--high-freq 9000"),
    "high far below": ("compute_fbank", "--high-freq -8000"),
    "durations": ("validate", "--bpe-model x --min-duration-utt 5 --max-duration-utt 1"),
    "sizes": ("train_bpe", "--vocab-size 20 30 --out x"),
    "no size": ("train_bpe", ""),
    "size of characters": ("train_bpe", "--token-type char --vocab-size 30"),
    "list": ("train_bpe", "--token-type file"),
    "no sets": ("import_corpus", ""),
    "no folder": ("make_noise_manifest", ""),
    "no lang": ("make_ngram", ""),
    "score units": ("score", "wer ref.trn hyp.trn --unit phone"),
    "score steps": ("score", "wer ref.trn hyp.trn --normalize none"),
    "score command": ("score", "best"),
    "score nothing": ("score", ""),
    "score one file": ("score", "wer ref.trn"),
}


@pytest.mark.parametrize("kind", TOGETHER)
def test_options_that_contradict_each_other(kind, refused):
    program, words = TOGETHER[kind]
    refused(program, words.split(), "error: ", status=2)


CONFIGS = {
    "a program": ("/bin/true", None),
    "a folder": ("data", None),
    "below a file": ("train.tsv/c.yaml", None),
    "missing": ("missing.yaml", None),
    "long": ("x" * 3000, None),
    "not UTF-8": ("c.yaml", b"exp_dir: \xff\n"),
    "UTF-16": ("c.yaml", "seed: 1\n".encode("utf-16")),
    "NUL": ("c.yaml", b"seed: 1\0\n"),
    "a list": ("c.yaml", b"- seed\n"),
    "a number": ("c.yaml", b"3\n"),
    "a text": ("c.yaml", b"seed\n"),
    "two documents": ("c.yaml", b"seed: 1\n---\nseed: 2\n"),
    "tabs": ("c.yaml", b"seed:\n\t- 1\n"),
    "a key that is a list": ("c.yaml", b"? [a, b]\n: 1\n"),
    "a key that is a mapping": ("c.yaml", b"? {a: 1}\n: 1\n"),
    "deep": ("c.yaml", b"seed: " + b"[" * 100_000),
    "deep mapping": ("c.yaml", b"seed: " + b"{a: " * 3000),
    "aliases without end": (
        "c.yaml",
        b"a: &a [x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (c, c, b", ".join([b"*%c" % (c - 1)] * 9)) for c in range(98, 112)),
    ),
    "an alias of itself": ("c.yaml", b"seed: &a [*a]\n"),
    "an object": ("c.yaml", b"seed: !!python/object/apply:os.system ['touch x']\n"),
    "a tag": ("c.yaml", b"seed: !!int ''\n"),
    "a bad date": ("c.yaml", b"seed: 2020-99-99\n"),
    "a long number": ("c.yaml", b"seed: " + b"9" * 5000),
    "base: missing": ("c.yaml", b"base: missing.yaml\n"),
    "base: itself": ("c.yaml", b"base: c.yaml\n"),
    "base: a folder": ("c.yaml", b"base: data\n"),
    "base: a list": ("c.yaml", b"base: [train.yaml]\n"),
    "base: NUL": ("c.yaml", b'base: "a\\0b"\n'),
    "base: a loop of links": ("c.yaml", b"base: loop.yaml\n"),
    "front_end: a number": ("c.yaml", b"front_end: 3\n"),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_files_that_are_no_configuration(kind, refused, world):
    path, data = CONFIGS[kind]
    (world / "loop.yaml").symlink_to("loop.yaml")
    if data is not None:
        (world / path).write_bytes(data)
    refused("train", ["--config", path], path[:200])
