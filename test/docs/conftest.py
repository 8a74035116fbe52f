import re

import pytest


@pytest.fixture
def fenced():
    """`fenced(text, languages)`: the blocks of code of a page in these languages, `bash|sh` by default."""

    def find(text, languages="bash|sh"):
        return re.findall(rf"^```(?:{languages})\n(.*?)^```", text, re.M | re.S)

    return find
