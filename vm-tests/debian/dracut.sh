#!/bin/sh
# The same Debian 12 with dracut's initramfs: mount.nfs mounts the root, and systemd runs in the initramfs.
set -eu
out=$1

# No initramfs is made for the machine that builds: NFS, the NIC drivers and overlayfs have to be named.
mmdebstrap --quiet --variant=minbase \
    --include=systemd,systemd-sysv,udev,kmod,linux-image-cloud-amd64,dracut,dracut-network,nfs-common,netbase,iputils-arping,zstd \
    --include=iproute2,isc-dhcp-client,curl,procps,login,passwd \
    --essential-hook='mkdir -p "$1/etc/dracut.conf.d"' \
    --essential-hook='printf "hostonly=no\nadd_dracutmodules+=\" network-legacy nfs \"\nadd_drivers+=\" virtio_net nfsv3 overlay \"\ncompress=zstd\n" >"$1/etc/dracut.conf.d/oneroot.conf"' \
    --customize-hook='echo root:root | chroot "$1" chpasswd' \
    --customize-hook=': >"$1/etc/machine-id"; rm -f "$1/etc/hostname" "$1/etc/resolv.conf"; : >"$1/etc/resolv.conf"' \
    --customize-hook='ls "$1"/boot/initrd.img-* >/dev/null' \
    --customize-hook='rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*' \
    bookworm "$out"
