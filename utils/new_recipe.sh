#!/usr/bin/env bash
# Makes the recipe of a new corpus from another one. utils/new_recipe.sh --help
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

from=template

# shellcheck disable=SC2034  # parse_options.sh prints it
help_message="Usage: utils/new_recipe.sh [--from RECIPE] NAME

Copies the recipe egs/RECIPE/ASR to egs/NAME/ASR, without its data and results.

  --from RECIPE   recipe to copy, a folder of egs (default: $from, for any
                  corpus)"

# shellcheck source=parse_options.sh
. "$root/utils/parse_options.sh"

fail() {
  echo "new_recipe.sh: $*" >&2
  exit 1
}

[ $# -eq 1 ] || fail "expected one name, got $#; --help shows the usage"
name=$1
source=$root/egs/$from/ASR
target=$root/egs/$name/ASR
[[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] || fail "$name: a name is letters, digits, '.', '_' and '-'"
[ -f "$source/run.sh" ] || fail "$source: no such recipe; --from is one of $(cd "$root/egs" && echo *)"
[ ! -e "$root/egs/$name" ] || fail "$root/egs/$name: already exists; choose another name or remove it"

temporary=$root/egs/.$name.tmp
trap 'rm -rf "$temporary"' EXIT
rm -rf "$temporary"
mkdir -p "$temporary/ASR"
for item in "$source"/*; do
  case ${item##*/} in
    data | exp | download | RESULTS.md) ;;
    *) cp -R "$item" "$temporary/ASR/" ;;
  esac
done
find "$temporary" -name __pycache__ -prune -exec rm -rf {} +
mv "$temporary" "$root/egs/$name"
echo "$target: now call $target/run.sh --import \"train=PATH dev=PATH test=PATH\" (docs/new_corpus.md)"
