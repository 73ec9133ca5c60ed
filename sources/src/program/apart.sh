# Runs the program in a session of its own: when mmdebstrap fails it sends SIGHUP to its whole process group, which would be
# ours, and that of the script or terminal that called us. What ends us, a terminal's ^C or a kill, ends the program and all
# that it started; and so does its own end: whatever still had its standard output open would be waited for.
trap '[ -z "$!" ] || kill -s TERM -- "-$!" 2>/dev/null || kill -s TERM "$!"; wait; exit 1' HUP INT QUIT TERM
# The tree is a machine's: what umask whoever stages it has is nothing to it.
umask 022
# What a shell puts into the background ignores what a terminal sends.
setsid env --default-signal "$@" &
wait "$!"
code=$?
kill -s TERM -- "-$!" 2>/dev/null
exit $code
