# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Processes of the lab's tools, to be sourced by them: known by pid and start time together (proc(5),
# field 22), so that a recycled pid is never signalled; a zombie that nobody reaps counts as ended.
#
# With an owner a server is the child of a process that watches the owner from before the server's
# first instruction, knows both by heart rather than from the directory, and takes the server with it
# when it dies itself. Rejected: a watcher started once the server is up, and asking the directory; a
# server outlived whoever was killed while it started, or removed the directory.
#
# The tool has `dir`, its server's directory, and fail.

readonly poll_s=0.02
readonly watch_s=0.5
readonly kill_ms_max=5000

# process_stat PID FIELD: a field of /proc/PID/stat counted from the state (1); the name in
# parentheses before it may hold anything.
process_stat() {
  local line fields
  { line=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
  read -ra fields <<<"${line##*) }"
  printf '%s\n' "${fields[$2 - 1]}"
}
process_state() { process_stat "$1" 1; }
process_birth() { process_stat "$1" 20; }

runs() {  # runs PID BIRTH
  local state
  state=$(process_state "$1") || return 1
  [[ $state != [ZX] && $(process_birth "$1") == "$2" ]]
}

# remember FILE PID / recall FILE: recall sets `pid`, and fails when that process has ended.
remember() { printf '%s %s\n' "$2" "$(process_birth "$2")" >"$1"; }
recall() {
  local birth
  pid=
  [[ -s $1 ]] || return 1
  read -r pid birth <"$1"
  runs "$pid" "$birth"
}

# wait_until MS COMMAND...: polls; fails when the time is over.
wait_until() {
  local end=$((${EPOCHREALTIME//[!0-9]/} + $1 * 1000))
  shift
  until "$@"; do
    ((${EPOCHREALTIME//[!0-9]/} < end)) || return 1
    sleep "$poll_s"
  done
}

server_ended() { ! recall "$dir/pid"; }
server_frozen() { [[ $(process_state "$1") == T ]]; }
server_thawed() { [[ $(process_state "$1") != T ]]; }

# end_process TERM|KILL MS: the server; TERM becomes KILL when it has not ended after MS.
end_process() {
  local server
  if recall "$dir/pid"; then
    server=$pid
    if [[ $1 == TERM ]]; then
      kill -TERM "$server" 2>/dev/null || true
      kill -CONT "$server" 2>/dev/null || true
      wait_until "$2" server_ended || true
    fi
    if recall "$dir/pid"; then
      kill -KILL "$server" 2>/dev/null || true
      wait_until "$kill_ms_max" server_ended || fail "process $server does not end"
    fi
  fi
  rm -f "$dir/pid"
}

freeze_server() {
  recall "$dir/pid" || fail "no server runs in $dir"
  kill -STOP "$pid"
  wait_until "$kill_ms_max" server_frozen "$pid" || fail "process $pid does not stop"
}

thaw_server() {
  recall "$dir/pid" || fail "no server runs in $dir"
  kill -CONT "$pid"
  wait_until "$kill_ms_max" server_thawed "$pid" || fail "process $pid does not go on"
}

# be_server OUTPUT COMMAND...: becomes the server, or, where it has an owner, its parent. `read` with a
# time-out instead of sleep, because a child would outlive this process.
be_server() {
  local output=$1 owner owner_birth server birth never
  shift
  if [[ ! -e $dir/owner ]]; then
    remember "$dir/pid" $$
    exec "$@" >"$output" 2>&1
  fi
  read -r owner owner_birth <"$dir/owner"
  exec {never}<> <(:)
  setpriv --pdeathsig KILL "$@" >"$output" 2>&1 {never}>&- &
  server=$!
  birth=$(process_birth "$server") || exit 1
  remember "$dir/pid" "$server"
  while runs "$server" "$birth" && runs "$owner" "$owner_birth"; do
    read -r -t "$watch_s" -u "$never" || true
  done
  # SIGKILL, because it may be frozen, and nobody is there any more to read what it would write.
  if runs "$server" "$birth"; then kill -KILL "$server" 2>/dev/null || true; fi
}
