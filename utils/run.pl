#!/usr/bin/env python3
"""Run jobs on this machine: run.pl [options] [JOB=1:N] log-file command... Like Kaldi's; see `launch/`."""

import sys

from launch import local
from launch.program import main

sys.exit(main("run.pl", local.run, sys.argv[1:]))
