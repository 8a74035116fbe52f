"""Command words to one shell command, by the rules that Kaldi's scripts rely on; templates of shell text."""

import re


def _has_open_quote(word: str) -> bool:
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


def single_quoted(word: str) -> str:
    """A word that the shell takes literally."""
    return "'" + word.replace("'", "'\"'\"'") + "'"


def shell_word(word: str) -> str:
    """One word as the shell of the job is to read it.

    Without whitespace it passes as typed: an escaped `|`, `>` or `;` becomes an operator of the job's shell. With
    whitespace it stays one word, in double quotes (`$x` expands on the job's side) or, where it holds double quotes
    itself, in single quotes. A word that would not be complete shell text that way is quoted as it is.
    """
    if word and not any(c.isspace() for c in word):
        return single_quoted(word) if _has_open_quote(word) else word
    if '"' in word or _has_open_quote('"' + word + '"'):
        return single_quoted(word)
    return '"' + word + '"'


def shell_words(words: "list[str]") -> "list[str]":
    """The words of a command as a list of shell text, to be joined with spaces."""
    return [shell_word(word) for word in words]


def fill(template: str, values: "dict[str, str]") -> str:
    """Replace each `@NAME@` of a shell text. What a value holds, such as the caller's own text, stays as it is."""
    return re.sub("@([A-Z_]+)@", lambda match: values[match.group(1)], template)
