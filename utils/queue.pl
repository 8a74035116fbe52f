#!/usr/bin/env python3
"""Run jobs on a Grid Engine cluster: queue.pl [options] [JOB=1:N] log-file command... Like Kaldi's; see `launch/`."""

import sys

from launch import grid_engine
from launch.program import main

sys.exit(main("queue.pl", grid_engine.run, sys.argv[1:]))
