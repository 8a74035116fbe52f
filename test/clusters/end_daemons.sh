# shellcheck shell=bash
# end_daemons FILE...: end the processes whose numbers these files hold; those still there after 15 s are killed.
end_daemons() {
  local file number numbers=()
  for file in "$@"; do
    if [ -s "$file" ] && number=$(cat "$file") && kill "$number" 2>/dev/null; then
      numbers+=("$number")
    fi
  done
  for number in "${numbers[@]}"; do
    for ((t = 0; t < 150; t++)); do
      kill -0 "$number" 2>/dev/null || continue 2
      sleep 0.1
    done
    kill -9 "$number"
  done
  return 0
}
