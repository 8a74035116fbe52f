#!/usr/bin/env bash
# Install Slurm and Grid Engine for the tests that start clusters of their own (Debian and its kin, as root).
set -euo pipefail

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "install.sh: no root or no apt-get: tests on real clusters will be skipped"
  exit 0
fi
wanted=()
if ! command -v slurmctld >/dev/null || ! command -v munged >/dev/null; then
  wanted+=(slurmctld slurmd slurm-client munge)
fi
if [ ! -x /usr/lib/gridengine/sge_qmaster ]; then
  wanted+=(gridengine-master gridengine-exec gridengine-client)
fi
[ ${#wanted[@]} -gt 0 ] || exit 0

# The packages would start services.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
if ! { timeout 120 apt-get update -qq &&
  echo "gridengine-common shared/gridengineconfig boolean false" | debconf-set-selections &&
  timeout 300 apt-get install -qq -y --no-install-recommends "${wanted[@]}" >/dev/null; }; then
  echo "install.sh: can't install ${wanted[*]}: tests on real clusters will be skipped"
fi
