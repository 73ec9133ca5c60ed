#!/bin/sh
# Debian 12 whose init is sysvinit, and which has unit files all the same, as each Debian has.
set -eu
out=$1

mmdebstrap --quiet --variant=minbase \
    --include=sysvinit-core,sysv-rc,initscripts,udev,kmod,linux-image-cloud-amd64,initramfs-tools,klibc-utils,zstd \
    --include=iproute2,procps,login,passwd,cron \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"' \
    --essential-hook='printf "BOOT=nfs\nCOMPRESS=zstd\n" >"$1/etc/initramfs-tools/conf.d/oneroot"' \
    --customize-hook='echo root:root | chroot "$1" chpasswd' \
    --customize-hook='echo "T0:23:respawn:/sbin/getty -L ttyS0 115200 vt100" >>"$1/etc/inittab"' \
    --customize-hook='rm -f "$1/etc/hostname" "$1/etc/resolv.conf"; : >"$1/etc/resolv.conf"' \
    --customize-hook='rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*' \
    bookworm "$out"
