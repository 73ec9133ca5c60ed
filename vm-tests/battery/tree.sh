# Everything that can be seen of a tree, a line for each path, then each file's bytes. Run in a guest on the NFS mount and
# on the host on what `oneroot export` wrote, with the same programs. Usage: tree.sh DIRECTORY
# Directories have neither size nor links here: both are the file system's own business.
cd "$1" || exit 1
export LC_ALL=C
find . -xdev -type d -printf '%P|d|%m|%U|%G|%T@\n' -o -printf '%P|%y|%m|%U|%G|%s|%n|%T@|%l\n' | sort
find . -xdev -type f -print0 | sort -z | xargs -0 sha256sum
