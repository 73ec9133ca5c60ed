#!/bin/sh
# Debian 13 whose init is runit, with s6 beside it, and without any initramfs tool.
set -eu
out=$1
suite=$2

mmdebstrap --quiet --variant=minbase \
    --include=runit-init,getty-run,s6,udev,kmod,linux-image-cloud-amd64 \
    --include=iproute2,procps,login,passwd \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d" && printf "COMPRESS=gzip\nMODULES=list\n" >"$1/etc/initramfs-tools/conf.d/oneroot"' \
    --customize-hook='chroot "$1" dpkg --purge --force-depends $(chroot "$1" dpkg-query -W -f "\${Package}\n" | grep -E "^(initramfs-tools.*|dracut.*|klibc-utils|libklibc|cpio)$")' \
    --customize-hook='rm -rf "$1"/boot/initrd.img* "$1"/initrd.img* "$1"/etc/initramfs-tools' \
    --customize-hook='echo root:root | chroot "$1" chpasswd' \
    --customize-hook='ln -sfn /etc/sv/getty-ttyS0 "$1/etc/runit/runsvdir/default/getty-ttyS0"' \
    --customize-hook='rm -f "$1/etc/hostname" "$1/etc/resolv.conf"; : >"$1/etc/resolv.conf"' \
    --customize-hook='rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*' \
    "$suite" "$out"
