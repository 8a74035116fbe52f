# shellcheck shell=bash
# The environment of every recipe; its path.sh sets RNNT_ROOT and sources this file. Every cluster job does so: it only
# checks, and changes nothing on disk. No thread counts here: the programs have --threads.

RNNT_VENV=${RNNT_VENV:-$RNNT_ROOT/tools/venv}
if [ ! -e "$RNNT_VENV/rnnt-ready" ] || [ ! -x "$RNNT_VENV/bin/python3" ]; then
  echo "path.sh: no complete environment in $RNNT_VENV; run $RNNT_ROOT/tools/setup.sh" >&2
  return 1
fi
case ":$PATH:" in
  *":$RNNT_VENV/bin:$RNNT_ROOT/utils:"*) ;;
  *) PATH=$RNNT_VENV/bin:$RNNT_ROOT/utils:$PATH ;;
esac
# One environment may serve several checkouts: this one's library goes first.
case ":${PYTHONPATH-}:" in
  ":$RNNT_ROOT:"*) ;;
  *) PYTHONPATH=$RNNT_ROOT${PYTHONPATH:+:$PYTHONPATH} ;;
esac
export RNNT_VENV PATH PYTHONPATH LC_ALL=C.UTF-8 PYTHONIOENCODING=UTF-8
