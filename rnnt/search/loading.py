"""The scorers that the options name."""

from rnnt.errors import UserError
from rnnt.search.hotwords import hotword_scorer
from rnnt.search.ngram import ngram_scorer


def load_scorers(config, tokenizer, read_arpa):
    """[(scorer, scale)] for a `FusionConfig`.

    tokenizer: has `encode`, `pieces` and `unk_id`; read_arpa: reads an ARPA file (`rnnt.text.ngram.read_arpa`).
    """
    scorers = []
    for path, scale in ((config.lm, config.lm_scale), (config.lodr_lm, config.ngram_lm_scale)):
        if path:
            scorers.append((ngram_scorer(read_arpa(path), tokenizer.pieces, path), scale))
    if config.context_file:
        phrases = read_phrases(config.context_file, config.context_score, tokenizer)
        scorers.append((hotword_scorer(phrases, len(tokenizer.pieces)), 1.0))
    return scorers


def read_phrases(path, bonus, tokenizer):
    """[(tokens, bonus a token)] of a file of hotwords.

    Raises `UserError` on a file that can't be read, a bonus that is no number, or a phrase the tokenizer can't write.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"{path}: can't read the hotwords: {reason}") from None
    phrases = []
    for number, line in enumerate(lines, 1):
        text, mark, own = line.rpartition(" :")
        text = " ".join((text if mark else line).split())
        if not text:
            continue
        try:
            own_bonus = float(own) if mark else bonus
        except ValueError:
            raise UserError(f"{path}: line {number}: {own!r} is no number; write `PHRASE :BONUS`") from None
        tokens = tokenizer.encode(text)
        if tokenizer.unk_id in tokens:
            raise UserError(
                f"{path}: line {number}: {text!r} has characters that the BPE model doesn't know; "
                "write it as the training transcripts do"
            )
        phrases.append((tuple(tokens), own_bonus))
    return phrases
