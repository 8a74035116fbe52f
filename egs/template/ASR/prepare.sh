#!/usr/bin/env bash
# From a corpus in any common form to what training reads. ./prepare.sh --help
set -euo pipefail
caller=$PWD
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../../../utils/preparation.sh"

import=
hold_out=
# shellcheck disable=SC2034  # used by import_corpus
allow_pipes=false
help_message="Usage: prepare.sh --import \"train=PATH dev=PATH test=PATH\" [options]

Prepares the data of a corpus in the folder of the recipe. What is done already is skipped.

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
import_corpus
prepare_shared
