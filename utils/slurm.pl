#!/usr/bin/env python3
"""Run jobs on a Slurm cluster: slurm.pl [options] [JOB=1:N] log-file command... Like Kaldi's; see `launch/`."""

import sys

from launch import slurm
from launch.program import main

sys.exit(main("slurm.pl", slurm.run, sys.argv[1:]))
