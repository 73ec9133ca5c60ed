#!/bin/sh
# Debian without any initramfs tool: what oneroot's own initrd is for. The kernel of clouds, which is a quarter of the other; its package wants
# a tool for initramfs, which goes again.
set -eu
out=$1
suite=$2

mmdebstrap --quiet --variant=minbase \
    --include=systemd,systemd-sysv,udev,kmod,linux-image-cloud-amd64 \
    --include=iproute2,curl,procps,login,passwd \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d" && printf "COMPRESS=gzip\nMODULES=list\n" >"$1/etc/initramfs-tools/conf.d/oneroot"' \
    --customize-hook='chroot "$1" dpkg --purge --force-depends $(chroot "$1" dpkg-query -W -f "\${Package}\n" | grep -E "^(initramfs-tools.*|dracut.*|klibc-utils|libklibc|cpio)$")' \
    --customize-hook='rm -rf "$1"/boot/initrd.img* "$1"/initrd.img* "$1"/etc/initramfs-tools "$1"/usr/share/initramfs-tools "$1"/var/lib/initramfs-tools' \
    --customize-hook='echo root:root | chroot "$1" chpasswd' \
    --customize-hook=': >"$1/etc/machine-id"; rm -f "$1/etc/hostname" "$1/etc/resolv.conf"' \
    --customize-hook='! ls "$1"/boot/initrd* "$1"/usr/sbin/update-initramfs "$1"/usr/bin/dracut 2>/dev/null | grep .' \
    --customize-hook='rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*' \
    "$suite" "$out"
