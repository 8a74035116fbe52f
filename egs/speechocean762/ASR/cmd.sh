# shellcheck shell=bash
# How jobs are run: a launcher and its default options. This is the file to edit for another machine.

export train_cmd="run.pl"
export decode_cmd="run.pl"
