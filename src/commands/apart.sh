# Runs the program in a session of its own: when mmdebstrap fails it sends SIGHUP to its whole process group, which would be
# ours, and that of the script or terminal that called us. What ends us, a terminal's ^C too, ends the program as well.
program=
trap '[ -z "$program" ] || kill -s TERM -- "-$program" "$program" 2>/dev/null; wait; exit 1' HUP INT TERM
setsid "$@" &
program=$!
wait "$program"
