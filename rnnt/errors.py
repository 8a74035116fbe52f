"""The one exception that a user is meant to read, and the words of messages: other exceptions, numbers, long texts."""


class UserError(Exception):
    """Something the user can fix. The message is one line: file, item, problem, remedy.

    The programs print it without a traceback and exit with status 1.
    """


def printable(text: object) -> str:
    """A text with what is no UTF-8 in it, such as bytes of a file name, written as escapes."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def one_line(error: object, limit: int = 200) -> str:
    """The text of an exception as one line of at most `limit` characters; its type where it has no text."""
    return " ".join(str(error).split())[:limit] or type(error).__name__


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 speaker`, `2 speakers`; `plural` where it is not the noun with an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def shortened(text: str, limit: int = 200) -> str:
    """The text, or its first characters and how many more there are."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text) - limit} characters more)"
