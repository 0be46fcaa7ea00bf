# The watcher of a tied or shared process. It is forked before the server is exec'd: the server has the PID Node knows.
#
#   sh -c TEXT flock-process-watcher tied|shared STOP_SIGNAL GRACE_MS WAITER LINGER_MS COMMAND [ARG ...]
#
# TEXT is this file without comments (scripts/embed-watcher.mjs): neither a bundle nor an archive has a file beside it.
# Descriptor 3 is the lock, for the server alone. Descriptor 4 tells the watcher when to end the server's group.
# tied: a pipe whose other end only the owner holds; it is closed by the owner, or by the kernel when the owner dies.
# shared: the file on which every user holds LOCK_SH; WAITER, a path of flock(1) or perl, gets LOCK_EX when no user is
# left, and the watcher keeps it until the server is gone. With LINGER_MS the watcher first releases it, waits, and
# asks again. A user that comes meanwhile leaves a line in the file.
# The watcher is in that group: while it lives, the group's number cannot be reused. So it must not die before its work
# is done, neither of a signal to the group nor of one from a terminal.

# A zombie counts as gone: kill -0 succeeds on it, and the process that would collect it may be dead.
is_gone() {
  kill -0 "$server" || return 0
  if [ -r "/proc/$server/stat" ]; then
    read -r stat <"/proc/$server/stat" || return 0
    state=${stat##*) }
  else
    # When ps(1) says nothing, the answer of kill counts.
    state=$(ps -o stat= -p "$server")
  fi
  case $state in
    Z* | X*) return 0 ;;
    *) return 1 ;;
  esac
}

wait_until_gone() {
  left_ms=$1
  until is_gone || [ "$left_ms" -le 0 ]; do
    # Not every sleep accepts fractions of a second.
    sleep 0.05 || sleep 1
    left_ms=$((left_ms - 50))
  done
}

# FLAG NUMBER: flock(2) on the users file, -x 2 to wait for LOCK_EX and -u 8 to release it. A waiter that fails, or that
# somebody kills, has not done it, and is run again.
lock_users() {
  until case $waiter in
    */perl) "$waiter" -e 'open(my $f, "+<&=", 4) or die; flock($f, shift) or die' "$2" ;;
    *) "$waiter" "$1" 4 ;;
  esac; do
    sleep 1
  done
}

# Has a user come since `came` was emptied? What was read from a descriptor is not read again.
has_come() {
  while read -r line <&4; do came=1; done
  [ -n "$came" ]
}

# Under LOCK_EX nobody comes, and all users have left: LINGER_MS count from here on. If another user comes, they count
# anew as soon as that one has left.
linger() {
  came=1
  while [ "$linger_ms" -gt 0 ] && has_come && ! is_gone; do
    came=
    lock_users -u 8
    left_ms=$linger_ms
    until [ "$left_ms" -le 0 ] || has_come || is_gone; do
      sleep 0.2 || { sleep 1 && left_ms=$((left_ms - 800)); }
      left_ms=$((left_ms - 200))
    done
    lock_users -x 2
  done
}

# STOP_SIGNAL GRACE_MS WAITER LINGER_MS
watch() {
  server=$$
  stop_signal=$1
  grace_ms=$2
  waiter=$3
  linger_ms=$4
  cd /
  PATH=$PATH:/usr/bin:/bin
  # A shell that cannot fork exits. The server must not go on without a watcher, and here it can still be ended.
  trap 'kill -s KILL -- "-$server"' EXIT
  if [ -n "$waiter" ]; then
    lock_users -x 2
    linger
  else
    while read -r line <&4; do :; done
    # Closing this end of the pipe shows everybody that the server is about to be ended.
    exec 4<&-
  fi
  case $stop_signal in
    9 | KILL) ;;
    *)
      kill -s "$stop_signal" -- "-$server"
      kill -s CONT -- "-$server"
      wait_until_gone "$grace_ms"
      ;;
  esac
  # The server alone is killed first: the group's number is safe while the watcher is in the group.
  is_gone || kill -s KILL "$server"
  wait_until_gone 5000
  kill -s KILL -- "-$server"
}

# A shell between this one and the watcher begins the watcher, and is gone when the server begins:
# - from its first instant the watcher ignores what may end the group, while this shell, which becomes the server, never
#   ignores anything: it would lose a stop signal that comes early
# - no variable is set here, for one of that name may be in the server's environment
# - the server has no child that it does not know
# The substitution waits until the watcher has closed its pipe, and says whether there is a watcher: a fork can fail.
# `command`: a signal that this shell does not know must not end it (trap is a special builtin).
# `exec` redirects: a redirection of a function would park a descriptor at a higher one.
case $(
  exec 3<&-
  trap '' HUP INT QUIT TERM USR1 USR2
  command trap '' "$2" 2>/dev/null
  (
    exec </dev/null >/dev/null 2>&1
    watch "$2" "$3" "$4" "$5"
  ) &
  echo watched
) in
  watched) ;;
  *)
    echo "$0: cannot fork the watcher" >&2
    exit 71
    ;;
esac
exec 4<&-
shift 5
exec "$@"
