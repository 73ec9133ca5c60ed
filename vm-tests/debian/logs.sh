#!/bin/sh
# Debian 12 that sends its journal to another host, by systemd's own program or by rsyslog, and can be that host.
set -eu
out=$1

mmdebstrap --quiet --variant=minbase \
    --include=systemd,systemd-sysv,udev,kmod,initramfs-tools,zstd,iproute2,linux-image-cloud-amd64 \
    --include=systemd-journal-remote,rsyslog,bsdutils,dbus \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"' \
    --essential-hook='printf "BOOT=nfs\nMODULES=most\nCOMPRESS=zstd\n" >"$1/etc/initramfs-tools/conf.d/oneroot"' \
    --customize-hook='echo root:root | chroot "$1" chpasswd' \
    --customize-hook=': >"$1/etc/machine-id"; rm -f "$1/etc/hostname"; : >"$1/etc/resolv.conf"' \
    --customize-hook='rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*' \
    bookworm "$out"
