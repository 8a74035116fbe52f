"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something the user can mend. The message is one line: file, item, problem, remedy.

    The programs print it without a traceback and exit with status 1.
    """
