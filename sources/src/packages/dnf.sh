# Installs into a new root with dnf and writes the root as a tar archive to standard output; the arguments are dnf's. Runs
# as root of a mount and a PID namespace, and of a user namespace where the caller is not root: then the files belong to
# the caller's subordinate ids on the disk, and to whom they should in the archive.
exec 3>&1 1>&2
work=$(mktemp -d --suffix=.oneroot-dnf)
trap 'cd /; umount -l "$work"/root/proc "$work"/root/dev/* 2>/dev/null || :; rm -rf --one-file-system "$work"' EXIT
trap 'exit 1' HUP INT TERM PIPE
root=$work/root
mkdir -p "$root/dev" "$root/proc" "$root/etc/dracut.conf.d" "$work/home"

# Scriptlets expect these. They are this host's, mounted over nothing, and not in the archive.
mount -t proc proc "$root/proc" || mount --rbind /proc "$root/proc"
for device in null zero full random urandom; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done

# Before any package is there, so that the first initramfs is a good one already: for any machine, and with NFS.
printf 'hostonly="no"\nadd_dracutmodules+=" nfs "\nadd_drivers+=" nfsv3 overlay "\n' >"$root/etc/dracut.conf.d/oneroot.conf"

# Debian's rpm keeps its database in the caller's home (12) or in /var/lib/rpm (13), where the new root's own rpm would not look.
export HOME="$work/home"
echo '%_dbpath /usr/lib/sysimage/rpm' >"$HOME/.rpmmacros"
dnf --installroot="$root" --assumeyes --quiet --setopt=keepcache=0 --setopt=install_weak_deps=0 "$@"
ours=$(rpm --eval '%{_dbpath}')
theirs=$(chroot "$root" rpm --eval '%{_dbpath}' 2>/dev/null) || theirs=
if [ "$theirs" ] && [ ! "$root$theirs" -ef "$root$ours" ]; then
    mkdir -p "$root$theirs"
    mv "$root$ours"/* "$root$theirs/"
fi

# Kernels are where kernel-install finds them, which puts them nowhere without a boot loader.
for modules in "$root"/usr/lib/modules/*/ "$root"/lib/modules/*/; do
    version=$(basename "$modules")
    [ -e "$modules/vmlinuz" ] || continue
    [ -e "$root/boot/vmlinuz-$version" ] || cp -a "$modules/vmlinuz" "$root/boot/vmlinuz-$version"
    [ -e "$root/boot/initramfs-$version.img" ] || chroot "$root" dracut --force "/boot/initramfs-$version.img" "$version"
done

# What is one machine's and not the tree's: each has its own by its layer, or by what it boots with.
rm -f "$root/etc/machine-id" "$root/etc/hostname"
: >"$root/etc/machine-id"
rm -rf "$root"/var/cache/dnf "$root"/var/cache/libdnf5 "$root"/var/log/dnf*.log "$root"/var/log/hawkey.log
umount -l "$root"/proc "$root"/dev/*
rm -f "$root"/dev/*
tar -C "$root" -c --format=posix --numeric-owner --one-file-system --xattrs --xattrs-include='*' . >&3
