#!/usr/bin/env python3
"""Run jobs on hosts by ssh: ssh.pl [options] [JOB=1:N] log-file command... Like Kaldi's; see `launch/`."""

import sys

from launch import ssh
from launch.program import main

sys.exit(main("ssh.pl", ssh.run, sys.argv[1:]))
