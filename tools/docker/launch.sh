#!/usr/bin/env bash
# A shell, or a command, in the image of build.sh with data, checkpoints and results mounted. launch.sh --help
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

data=
checkpoints=
results=
tag=rnnt
gpus=auto
runner=
dry_run=false

help_message="Usage: tools/docker/launch.sh --data DIR [options] [-- COMMAND...]

  --data DIR              mounted as /datasets, read-only
  --checkpoints DIR       mounted as /checkpoints (default: none)
  --results DIR           mounted as /results (default: none)
  --tag NAME              of the image (default: $tag)
  --gpus auto|true|false  give it all GPUs; auto: where nvidia-smi finds one (default: $gpus)
  --runner docker|podman  (default: the first that is installed)
  --dry-run true|false    print the command and stop (default: $dry_run)"

# shellcheck source=../../utils/parse_options.sh
. "$root/utils/parse_options.sh"
[ "${1-}" != -- ] || shift
if [ -z "$data" ]; then
  echo "launch.sh: --data is needed; --help lists the options" >&2
  exit 1
fi
if [ -z "$runner" ]; then
  runner=$(command -v docker || command -v podman || echo docker)
fi
# Processes of a loader share batches in /dev/shm, of which a container has little by default.
command=("$runner" run --rm --ipc=host --ulimit memlock=-1 --ulimit stack=67108864)
[ ! -t 0 ] || command+=(-it)
if [ "$gpus" = true ] || { [ "$gpus" = auto ] && nvidia-smi -L >/dev/null 2>&1; }; then
  command+=(--gpus all)
fi
# mount DIR PLACE [MODE]
mount() {
  [ -n "$1" ] || return 0
  if [ ! -d "$1" ]; then
    echo "launch.sh: $1: no such folder" >&2
    exit 1
  fi
  command+=(-v "$(cd "$1" && pwd):$2${3:+:$3}")
}
mount "$data" /datasets ro
mount "$checkpoints" /checkpoints
mount "$results" /results
command+=("$tag" "${@:-bash}")
if $dry_run; then
  printf '%q ' "${command[@]}"
  echo
else
  exec "${command[@]}"
fi
