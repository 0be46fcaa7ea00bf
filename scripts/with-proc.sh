#!/bin/sh
# Runs ps(1) or lsof(1), by the name of this file, for a command of without-proc.sh. On Linux these programs read /proc themselves, so
# they run in the mount namespace that has it.
folder=${0%/*}
program=${0##*/}
echo "$program" >>"$folder/calls"
exec nsenter --mount="$folder/namespace" "$folder/real/$program" "$@"
