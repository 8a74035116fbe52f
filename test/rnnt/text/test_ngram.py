import math
import random

import pytest

from rnnt.errors import UserError
from rnnt.text.ngram import BOS, EOS, UNKNOWN, discounts_of, estimate, read_arpa, write_arpa


def random_sentences(seed=0, tokens=40, sentences=300):
    rng = random.Random(seed)
    draw = lambda: f"t{min(tokens - 1, int(rng.expovariate(0.12)))}"  # noqa: E731
    return [[draw() for _ in range(rng.randint(0, 10))] for _ in range(sentences)]


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_probabilities_sum_to_one_after_every_history(order):
    model = estimate(random_sentences(), order, ["never"])
    predicted = [gram[0] for gram in model.entries if len(gram) == 1 and gram != (BOS,)]
    assert "never" in predicted and EOS in predicted and UNKNOWN in predicted
    histories = {gram[:-1] for gram in model.entries} | {gram for gram in model.entries if len(gram) < order}
    histories.add(("unheard", "of"))
    for history in histories:
        if EOS not in history:
            total = sum(math.exp(model.log_prob(token, history)) for token in predicted)
            assert total == pytest.approx(1, abs=1e-6), history


def test_tiny_case_by_hand():
    # Bigrams: <s> a 2, a b 1, a </s> 1, b </s> 1. Discounts are the fallback's: 0.5, 1, 1.5.
    model = estimate([["a", "b"], ["a"]], 2)
    # Different tokens before: a 1 (<s>), b 1 (a), </s> 2 (a, b), <unk> 0; 4 in all.
    # Discounts free 0.5 + 0.5 + 1 of them; 2/4 goes to the uniform distribution over a, b, </s>, <unk>.
    uniform = 2 / 4 / 4
    unigrams = {"a": 0.5 / 4 + uniform, "b": 0.5 / 4 + uniform, EOS: 1 / 4 + uniform, UNKNOWN: uniform}
    for token, probability in unigrams.items():
        assert math.exp(model.log_prob(token)) == pytest.approx(probability, abs=1e-6)
    # After a: b and </s> once each, (1 - 0.5) / 2 and half of the mass for the unigram.
    assert math.exp(model.log_prob("b", ("a",))) == pytest.approx(0.25 + 0.5 * unigrams["b"], abs=1e-6)
    assert math.exp(model.log_prob("a", ("a",))) == pytest.approx(0.5 * unigrams["a"], abs=1e-6)
    # After <s>: a twice, (2 - 1) / 2 and half of the mass for the unigram.
    first = 0.5 + 0.5 * unigrams["a"]
    assert math.exp(model.log_prob("a", (BOS,))) == pytest.approx(first, abs=1e-6)
    last = 0.25 + 0.5 * unigrams[EOS]
    assert math.exp(model.score(["a"])) == pytest.approx(first * last, abs=1e-6)


def test_discounts_follow_chen_and_goodman():
    # n1, n2, n3, n4 = 10, 5, 3, 2: Y = 10 / 20
    counts = [1] * 10 + [2] * 5 + [3] * 3 + [4] * 2
    assert discounts_of(counts) == pytest.approx((0, 1 - 2 * 0.5 * 5 / 10, 2 - 3 * 0.5 * 3 / 5, 3 - 4 * 0.5 * 2 / 3))


def test_reading_what_was_written_gives_the_same(tmp_path):
    model = estimate(random_sentences(), 3)
    write_arpa(model, tmp_path / "3gram.arpa")
    copy = read_arpa(tmp_path / "3gram.arpa")
    assert copy.order == 3
    assert copy.entries == model.entries
    write_arpa(copy, tmp_path / "again.arpa")
    assert (tmp_path / "again.arpa").read_bytes() == (tmp_path / "3gram.arpa").read_bytes()


def test_kenlm_gives_the_same_scores(tmp_path):
    kenlm = pytest.importorskip("kenlm")
    sentences = random_sentences()
    model = estimate(sentences, 3)
    write_arpa(model, tmp_path / "3gram.arpa")
    other = kenlm.Model(str(tmp_path / "3gram.arpa"))
    for sentence in [*sentences[:50], ["t1", "t39", "unheard", "t1"]]:
        assert other.score(" ".join(sentence)) * math.log(10) == pytest.approx(model.score(sentence), abs=1e-4)


def test_empty_text_is_refused():
    with pytest.raises(UserError, match="needs text"):
        estimate([], 2)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("\\end\\", ""),
        lambda text: text.replace("ngram 1=5", "ngram 1=6"),
        lambda text: text.replace("\ta\t", "\ta b c d\t"),
        lambda text: "hello\n",
    ],
)
def test_broken_file_is_named(tmp_path, damage):
    write_arpa(estimate([["a", "b"], ["a"]], 2), tmp_path / "2gram.arpa")
    text = (tmp_path / "2gram.arpa").read_text()
    assert damage(text) != text
    (tmp_path / "2gram.arpa").write_text(damage(text))
    with pytest.raises(UserError, match=r"2gram\.arpa: line \d+: not a complete ARPA file"):
        read_arpa(tmp_path / "2gram.arpa")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="stage 7 makes it"):
        read_arpa(tmp_path / "2gram.arpa")
