#!/bin/sh
# A kernel with its modules and busybox: no shell of GNU's, no udev, no library. What a tree may have at least.
set -eu
out=$1
suite=$2

mmdebstrap --quiet --variant=extract --include=busybox-static,linux-image-cloud-amd64,base-files \
    --extract-hook='cd "$1" && mkdir keep && mv usr/bin/busybox usr/lib/modules keep/ && rm -rf usr etc/initramfs-tools etc/kernel etc/systemd && mkdir -p usr/bin usr/sbin usr/lib usr/lib64 && mv keep/busybox usr/bin/ && mv keep/modules usr/lib/ && rmdir keep' \
    --extract-hook='for version in "$1"/usr/lib/modules/[0-9]*; do PATH=$PATH:/usr/sbin:/sbin depmod -b "$1" "${version##*/}"; done' \
    --extract-hook='for name in sh mount umount ls cat echo hostname ip sleep reboot poweroff stty dmesg grep ps sync touch test true find stat tr sed sort cut head wc; do ln -s busybox "$1/usr/bin/$name"; done; ln -s ../bin/busybox "$1/usr/sbin/init"' \
    --extract-hook='printf "::sysinit:/bin/mount -a\nttyS0::respawn:-/bin/sh\n::ctrlaltdel:/bin/reboot\n::shutdown:/bin/umount -a -r\n" >"$1/etc/inittab"; : >"$1/etc/fstab"; echo root::0:0:root:/root:/bin/sh >"$1/etc/passwd"; rm -f "$1/etc/hostname" "$1/etc/resolv.conf"' \
    "$suite" "$out"
