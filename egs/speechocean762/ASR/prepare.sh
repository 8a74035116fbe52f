#!/usr/bin/env bash
# From the Kaldi data directories of the corpus to what training reads. ./prepare.sh --help
set -euo pipefail
caller=$PWD
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../../../utils/preparation.sh"

dl_dir=
import=
# The corpus has no set of this kind.
hold_out=dev=train:8
# shellcheck disable=SC2034  # used by import_corpus
allow_pipes=false
vocab_size=100
perturb_speed="0.9 1.1"
help_message="Usage: prepare.sh --dl-dir DIR [options]

Prepares the data of speechocean762 in the folder of the recipe. What is done already is skipped.

  --dl-dir DIR       folder of the unpacked corpus, with train and test as Kaldi data directories; to get it:
                     curl -L https://www.openslr.org/resources/101/speechocean762.tar.gz | tar xz

$(import_options)
$(preparation_options)

Stages:
  0 corpus (it is used where it lies)
  1 import as lhotse manifests       data/manifests
$(preparation_stages)"

. "$here/../../../utils/parse_options.sh"
. "$here/../../../utils/stages.sh"

cd "$here"
begin_preparation "$caller"
[ -z "$dl_dir" ] || import="train=$dl_dir/train test=$dl_dir/test"
import_corpus
prepare_shared
