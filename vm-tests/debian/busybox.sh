#!/bin/sh
# A kernel with its modules and busybox: no shell of GNU's, no udev, no library. What a tree may have at least.
set -eu
out=$1
suite=$2

mmdebstrap --quiet --variant=extract --include=busybox-static,linux-image-cloud-amd64,base-files \
    --extract-hook='cd "$1" && mkdir -p bin sbin etc/init.d proc sys dev run tmp root usr/bin usr/sbin && ls -l && kernel=$(ls usr/lib/modules lib/modules 2>/dev/null | grep -m1 "^[0-9]") && depmod -b "$1" "$kernel"' \
    --extract-hook='cd "$1" && box=$(ls usr/bin/busybox bin/busybox 2>/dev/null | head -1) && for name in sh mount umount ls cat echo hostname ip sleep reboot poweroff stty dmesg grep ps sync touch test true find stat tr sed sort cut head getty login; do ln -sf "/$box" "usr/bin/$name"; done; [ -L sbin ] || ln -sf "/$box" sbin/init; ln -sf "/$box" usr/sbin/init' \
    --extract-hook='printf "::sysinit:/bin/mount -a\nttyS0::respawn:-/bin/sh\n::ctrlaltdel:/bin/reboot\n::shutdown:/bin/umount -a -r\n" >"$1/etc/inittab"; : >"$1/etc/fstab"; echo root::0:0:root:/root:/bin/sh >"$1/etc/passwd"' \
    "$suite" "$out"
