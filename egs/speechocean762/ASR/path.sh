# shellcheck shell=bash
# Sourced by run.sh, prepare.sh and every job: the environment. Changes nothing on disk.

RNNT_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
export RNNT_ROOT
# shellcheck source=/dev/null
. "$RNNT_ROOT/utils/path.sh" || return 1
# shellcheck source=/dev/null
[ ! -f local/path.sh ] || . local/path.sh
