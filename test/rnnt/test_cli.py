"""What every program does around its `main`; its errors are tested with the programs."""

import os

from rnnt.cli import program


def test_threads_that_wait_sleep_soon_unless_the_user_says_otherwise(monkeypatch):
    spins = program(lambda argv=None: os.environ.get("GOMP_SPINCOUNT"))
    for chosen, found in (({}, "1000"), ({"OMP_WAIT_POLICY": "active"}, None), ({"GOMP_SPINCOUNT": "7"}, "7")):
        with monkeypatch.context() as patch:
            for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
                patch.setenv(name, "")
                patch.delenv(name)
            for name, value in chosen.items():
                patch.setenv(name, value)
            assert spins([]) == found
