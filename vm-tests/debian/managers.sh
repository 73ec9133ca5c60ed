#!/bin/sh
# Debian of the suite that the second word names, with each network manager that it has; a boot's kernel arguments say which
# one runs.
set -eu
out=$1 suite=$2

mmdebstrap --quiet --variant=minbase \
    --include=systemd,systemd-sysv,udev,kmod,linux-image-cloud-amd64,initramfs-tools,klibc-utils,zstd \
    --include=iproute2,procps,login,passwd,ifupdown,isc-dhcp-client,network-manager,cloud-init,dbus,polkitd \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"' \
    --essential-hook='printf "BOOT=nfs\nCOMPRESS=zstd\n" >"$1/etc/initramfs-tools/conf.d/oneroot"' \
    --customize-hook='echo root:root | chroot "$1" chpasswd' \
    --customize-hook='printf "datasource_list: [None]\n" >"$1/etc/cloud/cloud.cfg.d/99-none.cfg"' \
    --customize-hook=': >"$1/etc/machine-id"; rm -f "$1/etc/hostname" "$1/etc/resolv.conf"' \
    --customize-hook='rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*' \
    "$suite" "$out"
