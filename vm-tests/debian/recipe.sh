#!/bin/sh
# Makes the Debian 12 root that the demo and the VM tests boot: a tar, named by the caller.
# Its cache key is the hash of this file, so any change here makes a new one.
set -eu
out=$1

# BOOT=nfs puts NFS and the NIC drivers into the initrd. zstd unpacks quickest where a CPU is emulated.
mmdebstrap --quiet --variant=minbase \
    --include=systemd,systemd-sysv,udev,kmod,linux-image-cloud-amd64,initramfs-tools,klibc-utils,zstd \
    --include=iproute2,isc-dhcp-client,ifupdown,curl,libnfs-utils,procps,login,passwd \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"' \
    --essential-hook='printf "BOOT=nfs\nCOMPRESS=zstd\n" >"$1/etc/initramfs-tools/conf.d/oneroot"' \
    --customize-hook='echo root:root | chroot "$1" chpasswd' \
    --customize-hook='chroot "$1" useradd --create-home --shell /bin/bash user' \
    --customize-hook='echo user:user | chroot "$1" chpasswd' \
    --customize-hook=': >"$1/etc/machine-id"; rm -f "$1/etc/hostname" "$1/etc/resolv.conf"; : >"$1/etc/resolv.conf"' \
    --customize-hook='rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*' \
    bookworm "$out"
