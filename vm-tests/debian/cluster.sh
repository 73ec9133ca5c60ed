#!/bin/sh
# What oneroot stages for examples/cluster-node. Root has a password, for the case that looks at the nodes; and the kernel is that of
# clouds, which is a quarter of the other.
set -eu
out=$1

mmdebstrap --quiet --variant=minbase \
    --include=systemd,systemd-sysv,udev,kmod,initramfs-tools,zstd,iproute2,linux-image-cloud-amd64 \
    --include=slurmd,slurm-client,munge,openssh-server,nfs-common,dbus,libpam-systemd,systemd-timesyncd \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"' \
    --essential-hook='printf "BOOT=nfs\nMODULES=most\nCOMPRESS=zstd\n" >"$1/etc/initramfs-tools/conf.d/oneroot"' \
    --customize-hook='echo root:root | chroot "$1" chpasswd' \
    --customize-hook=': >"$1/etc/machine-id"; rm -f "$1/etc/hostname"; : >"$1/etc/resolv.conf"' \
    --customize-hook='rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*' \
    bookworm "$out"
