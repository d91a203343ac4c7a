# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# How the scripts speak: one line a step, with the seconds since the script began. To be sourced.

say_begin_us=${EPOCHREALTIME//[!0-9]/}

say_seconds() {
  local us=$((${EPOCHREALTIME//[!0-9]/} - say_begin_us))
  printf '%d.%d' $((us / 1000000)) $((us % 1000000 / 100000))
}

# say TEXT...: one step, on stdout.
say() { printf '[%6ss] %s\n' "$(say_seconds)" "$*"; }

# die TEXT...: why the script cannot go on, on stderr; ends the shell with 1.
die() {
  printf '[%6ss] error: %s\n' "$(say_seconds)" "$*" >&2
  exit 1
}
