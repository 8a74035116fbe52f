#!/usr/bin/env python3
"""Turns utt2spk into spk2utt. --help shows the usage."""

import os
import sys

runner = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data_dir.sh")
os.execv(runner, [runner, os.path.basename(__file__)] + sys.argv[1:])
