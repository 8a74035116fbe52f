# shellcheck shell=bash
# shellcheck disable=SC2154
# Stages 0 and 1 of a corpus in a common form, given by --import. Without it: the manifests of last time.

skip_stage 0 corpus "imported"
[ -n "$import" ] && keep=false || keep=true
# shellcheck disable=SC2086
stage 1 manifests data/manifests --keep "$keep" \
  python3 "$RNNT_ROOT/local/import_corpus.py" --sets $import "${hold_out_options[@]}" --out data/manifests --nj "$nj"
