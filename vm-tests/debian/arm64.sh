#!/bin/sh
# Debian 13 for arm64, with the loader for its firmware inside (package ipxe); emulated.sh goes before it.
set -eu
out=$1

mmdebstrap --quiet --variant=minbase --architectures=arm64 \
    --include=systemd,systemd-sysv,udev,kmod,linux-image-cloud-arm64,initramfs-tools,klibc-utils,zstd,ipxe \
    --include=iproute2,procps,login,passwd \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"' \
    --essential-hook='printf "BOOT=nfs\nCOMPRESS=zstd\n" >"$1/etc/initramfs-tools/conf.d/oneroot"' \
    --customize-hook='echo root:root | chroot "$1" chpasswd' \
    --customize-hook=': >"$1/etc/machine-id"; rm -f "$1/etc/hostname" "$1/etc/resolv.conf"; : >"$1/etc/resolv.conf"' \
    --customize-hook='rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*' \
    trixie "$out"
