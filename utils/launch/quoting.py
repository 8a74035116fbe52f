"""Command words to one shell command, by the rules that Kaldi's scripts rely on."""


def _has_open_quote(word):
    """Whether a shell that reads `word` would wait for a closing quote or stop at a dangling backslash."""
    quote = None
    escaped = False
    for c in word:
        if escaped:
            escaped = False
        elif c == "\\" and quote != "'":
            escaped = True
        elif quote is None and c in "'\"`":
            quote = c
        elif c == quote:
            quote = None
    return quote is not None or escaped


def single_quoted(word):
    return "'" + word.replace("'", "'\"'\"'") + "'"


def shell_word(word):
    """One word as the shell of the job shall read it.

    Without whitespace it passes as typed: an escaped `|`, `>` or `;` becomes an operator of the job's shell. With
    whitespace it stays one word, in double quotes (`$x` expands on the job's side) or, where it holds double quotes
    itself, in single quotes. A word that would not be complete shell text that way is quoted whole.
    """
    if word and not any(c.isspace() for c in word):
        return single_quoted(word) if _has_open_quote(word) else word
    if '"' in word or _has_open_quote('"' + word + '"'):
        return single_quoted(word)
    return '"' + word + '"'


def shell_words(words):
    """The words of a command as a list of shell text, to be joined with spaces."""
    return [shell_word(word) for word in words]
