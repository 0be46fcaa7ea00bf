#!/bin/sh
# Runs a command with an empty /proc: `unshare --mount without-proc.sh FOLDER COMMAND…`. The real /proc is at FOLDER/proc.
set -eu
folder=$1
shift
mount -t tmpfs none "$folder"
mkdir "$folder/proc"
mount --rbind /proc "$folder/proc"
mount -t tmpfs none /proc
exec "$@"
