#!/usr/bin/env bash
# Build the image of the project, with docker, podman or buildah. tools/docker/build.sh --help
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

tag=rnnt
base=debian:12-slim
environment=
builder=
builder_opts=

help_message="Usage: tools/docker/build.sh [options]

  --tag NAME              of the image (default: $tag)
  --base IMAGE            Debian or Ubuntu with Python 3.10 to 3.13 (default: $base)
  --environment none      leave the Python packages out, they are some GB (default: all of them)
  --builder docker|podman|buildah  (default: the first that is installed)
  --builder-opts \"WORDS\"  more options of the builder, such as \"--isolation chroot\" (default: none)"

# shellcheck source=../../utils/parse_options.sh
. "$root/utils/parse_options.sh"
for candidate in docker podman buildah; do
  if [ -z "$builder" ] && command -v "$candidate" >/dev/null; then
    builder=$candidate
  fi
done
if [ -z "$builder" ]; then
  echo "build.sh: neither docker, podman nor buildah is installed; install one" >&2
  exit 1
fi
# What git tracks: neither data, experiments nor environments get into the image.
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
git -C "$root" archive HEAD | tar -x -C "$context"
# shellcheck disable=SC2086
"$builder" build $builder_opts -t "$tag" --build-arg "BASE=$base" --build-arg "ENVIRONMENT=$environment" \
  -f "$context/tools/docker/Dockerfile" "$context"
