"""Train a transducer as `train.py` does, with the log of MLPerf.

    train.py --config ../conf/mlperf/1024.yaml --batch-size 128 --world-size 8 --mllog ...

`launch.py` starts it with what MLPerf's configurations need.
"""

from mllog import MllogConfig, make_observer

import rnnt.train


def main(argv: list[str] | None = None) -> None:
    rnnt.train.main(argv, extensions=[(MllogConfig, make_observer)], doc=__doc__)


if __name__ == "__main__":
    main()
