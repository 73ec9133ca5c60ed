#!/bin/sh
# Debian 13 for arm64, with the loader for its firmware inside (package ipxe). Made on another processor: its programs are
# emulated (packages qemu-user-static and arch-test), for which the kernel must know how to start them.
set -eu
out=$1

misc=/proc/sys/fs/binfmt_misc
[ -e $misc/register ] || mount -t binfmt_misc binfmt_misc $misc
[ "$(uname -m)" = aarch64 ] || [ -e $misc/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf >$misc/register

mmdebstrap --quiet --variant=minbase --architectures=arm64 \
    --include=systemd,systemd-sysv,udev,kmod,linux-image-cloud-arm64,initramfs-tools,klibc-utils,zstd,ipxe \
    --include=iproute2,procps,login,passwd \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"' \
    --essential-hook='printf "BOOT=nfs\nCOMPRESS=zstd\n" >"$1/etc/initramfs-tools/conf.d/oneroot"' \
    --customize-hook='echo root:root | chroot "$1" chpasswd' \
    --customize-hook=': >"$1/etc/machine-id"; rm -f "$1/etc/hostname" "$1/etc/resolv.conf"; : >"$1/etc/resolv.conf"' \
    --customize-hook='rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*' \
    trixie "$out"
