# shellcheck shell=bash
# Reads a script's options, with the behaviour of Kaldi's file of this name. Source it after the defaults:
#
#   nj=4            # --nj 8
#   use_gpu=true    # --use-gpu false
#   help_message="Usage: $0 [--nj N] ..."
#   . parse_options.sh || exit 1
#
# - `--foo-bar VALUE` or `--foo-bar=VALUE` sets the variable `foo_bar`, which must have a default (it may be empty).
#   A default of true or false takes only true or false.
# - `--config FILE` sources FILE first, so that the other options beat it. A FILE named *.yaml or *.yml is not shell:
#   there `--config` is an option like any other.
# - `--help` or `-h` prints $help_message and exits with 0; a bad option is one line on stderr and exit 1.
# - The first word that is no option ends the options; "$@" keeps it and what follows.
# Values are assigned as they are, never evaluated. Its own names begin with _po_.

_po_fail() {
  echo "${0##*/}: $*" >&2
  exit 1
}

# Splits the option at $1 ($2 is the next word): sets _po_name, _po_value and _po_words (how many words it took).
_po_split() {
  _po_words=2
  _po_name=${1#--}
  if [[ $_po_name == *=* ]]; then
    _po_words=1
    _po_value=${_po_name#*=}
    _po_name=${_po_name%%=*}
  fi
  _po_option=--$_po_name
  _po_name=${_po_name//-/_}
  if [[ ! $_po_name =~ ^[A-Za-z][A-Za-z0-9_]*$ ]]; then
    _po_fail "invalid option $1; --help lists the options"
  fi
  if [ $_po_words -eq 2 ]; then
    [ $# -ge 2 ] || _po_fail "$_po_option needs a value"
    _po_value=$2
    # `--stage --nj 4`: the value was forgotten, unless nothing here is called --nj.
    _po_next=${_po_value#--}
    _po_next=${_po_next//-/_}
    if [[ $_po_value == --* && $_po_next =~ ^[A-Za-z][A-Za-z0-9_]*$ && -v $_po_next ]]; then
      _po_fail "$_po_option needs a value ($_po_value is an option; write $_po_option=$_po_value if you mean it)"
    fi
  fi
}

# True when the option just split names a shell file to be sourced.
_po_is_shell_config() {
  [[ $_po_name == config && $_po_value != *.yaml && $_po_value != *.yml ]]
}

# First pass: configuration files. `--help` waits for the second, so that it shows the values of the files.
_po_read_configs() {
  while [[ ${1-} == --?* && $1 != --help ]]; do
    _po_split "$@"
    shift $_po_words
    if _po_is_shell_config; then
      [ -r "$_po_value" ] || _po_fail "--config $_po_value: can't read this file"
      [[ $_po_value == */* ]] || _po_value=./$_po_value
      # shellcheck disable=SC1090
      . "$_po_value" || _po_fail "--config $_po_value: this file failed"
    fi
  done
}

_po_assign() {
  if _po_is_shell_config && [[ ! -v config || $config == *.yaml || $config == *.yml ]]; then
    return 0
  fi
  [[ -v $_po_name ]] || _po_fail "invalid option $_po_option; --help lists the options"
  if [[ ${!_po_name} == true || ${!_po_name} == false ]]; then
    [[ $_po_value == true || $_po_value == false ]] ||
      _po_fail "$_po_option must be true or false, got \"$_po_value\""
  fi
  printf -v "$_po_name" %s "$_po_value"
}

_po_read_configs "$@"
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h)
      printf '%b\n' "${help_message:-No help found.}" >&2
      exit 0
      ;;
    --?*)
      _po_split "$@"
      shift $_po_words
      _po_assign
      ;;
    *) break ;;
  esac
done

# `--cmd ""` comes from a cmd.sh that was not read.
if [[ -v cmd && -z $cmd ]]; then
  _po_fail "the option --cmd is empty; was cmd.sh read?"
fi

unset _po_name _po_value _po_words _po_option _po_next
unset -f _po_fail _po_split _po_is_shell_config _po_read_configs _po_assign
true
