# shellcheck shell=bash
# What the prepare.sh and run.sh of all recipes share: stages that are done once, and jobs whose log is shown.
# Sourced after parse_options.sh. Uses the variables stage and stop_stage; an empty stage runs what is not done.

[ $# -eq 0 ] || {
  echo "${0##*/}: unexpected argument $1; --help lists the options" >&2
  exit 1
}
stage=${stage-}
stop_stage=${stop_stage-100}
if [[ ! ${stage:-0} =~ ^-?[0-9]+$ || ! $stop_stage =~ ^-?[0-9]+$ ]]; then
  echo "${0##*/}: --stage and --stop-stage are numbers, got \"$stage\" and \"$stop_stage\"" >&2
  exit 1
fi

# from_caller DIR PATH: PATH as seen from the folder DIR where the user stands, if it exists there, else unchanged.
from_caller() {
  if [ "$1" != "$PWD" ] && [ -n "$2" ] && [ "${2#/}" = "$2" ] && [ -e "$1/$2" ]; then
    echo "$1/$2"
  else
    echo "$2"
  fi
}

# sets_from_caller DIR "NAME=PATH ...": the same with each path as `from_caller` gives it.
sets_from_caller() {
  local spec out=()
  for spec in $2; do
    out+=("${spec%%=*}=$(from_caller "$1" "${spec#*=}")")
  done
  echo "${out[*]-}"
}

# first_set PREFIX "NAMES": the first name that begins with PREFIX.
first_set() {
  local name
  for name in $2; do
    if [[ $name == "$1"* ]]; then
      echo "$name"
      return 0
    fi
  done
  echo "${0##*/}: none of the sets \"$2\" begins with $1; give --$1-set" >&2
  return 1
}

# stage_wanted N: whether --stage and --stop-stage leave stage N in.
stage_wanted() {
  [ "${stage:-0}" -le "$1" ] && [ "$stop_stage" -ge "$1" ]
}

# work_key COMMAND...: what the result of a command depends on: its words (but for --nj N) and the configuration files
# among them. A checkout that moves stays the same.
work_key() {
  local word skip=false
  for word in "$@"; do
    if $skip; then
      skip=false
    elif [ "$word" = --nj ]; then
      skip=true
    else
      printf '%q\n' "${word#"${RNNT_ROOT-}"/}"
      case $word in
        *.yaml | *.conf | *.txt) [ ! -f "$word" ] || cksum <"$word" ;;
      esac
    fi
  done
}

# is_done MARKER COMMAND...: whether this command has ended well before, with the same key.
is_done() {
  local marker=$1
  shift
  [ -f "$marker" ] && [ "$(work_key "$@")" = "$(cat "$marker")" ]
}

# mark_done MARKER COMMAND...
mark_done() {
  local marker=$1
  shift
  work_key "$@" >"$marker.tmp" && mv "$marker.tmp" "$marker"
}

# stage_has_run N FOLDER: whether stage N has ended well before, with whatever options.
stage_has_run() {
  [ -f "$2/.stage-$1.done" ]
}

# run_stage N TITLE FOLDER COMMAND...: run stage N, whose results lie in FOLDER, unless it is done. --stage M with
# M <= N runs it in any case. What runs makes all later stages run again.
run_stage() {
  local number=$1 title=$2 marker=$3/.stage-$1.done start=$SECONDS old later
  local folder=$3
  shift 3
  stage_wanted "$number" || return 0
  if [ -z "$stage" ] && is_done "$marker" "$@"; then
    echo "stage $number: $title: done before, skipped"
    return 0
  fi
  for old in data/*/.stage-*.done; do
    later=${old##*/.stage-}
    [ ! -f "$old" ] || [ "${later%.done}" -le "$number" ] || rm -f "$old"
  done
  rm -f "$marker"
  echo "stage $number: $title"
  if ! "$@"; then
    echo "stage $number: $title: failed after $((SECONDS - start)) s; mend what is said above and call" \
      "${0##*/} again: it goes on from here" >&2
    return 1
  fi
  mkdir -p "$folder"
  mark_done "$marker" "$@"
  echo "stage $number: $title: took $((SECONDS - start)) s"
}

# skip_stage N TITLE WHY
skip_stage() {
  ! stage_wanted "$1" || echo "stage $1: $2: $3, skipped"
}

# follow LOG COMMAND...: run a job whose output goes to LOG and show LOG as it grows. Returns the job's exit status.
follow() {
  local log=$1 job show status=0
  local state=${log%/log/*}/q/${log##*/log/}
  shift
  mkdir -p "$(dirname "$log")"
  # The job of a launcher that was killed may still write its log.
  [ -e "${state%.log}.state/id" ] || rm -f "$log"
  "$@" &
  job=$!
  tail --pid="$job" --sleep-interval=0.3 --lines=+1 --follow=name --retry "$log" 2>/dev/null &
  show=$!
  # A process in the background is deaf to Ctrl-C: pass it on, or the job would go on without us.
  trap 'kill -TERM "$job" 2>/dev/null || true' INT TERM HUP
  wait "$job" || status=$?
  # A signal ends `wait` early; the job takes its time to end well.
  while kill -0 "$job" 2>/dev/null; do
    wait "$job" && status=0 || status=$?
  done
  wait "$show" || true
  trap - INT TERM HUP
  return "$status"
}
