#!/bin/sh
# Debian 13 with dracut, systemd-networkd and systemd-resolved, in the initramfs and in the running system: mount.nfs mounts
# the root, and a network manager is there that would like to have its NIC.
set -eu
out=$1

# No initramfs is made for the machine that builds: NFS, the NIC drivers and overlayfs have to be named.
mmdebstrap --quiet --variant=minbase \
    --include=systemd,systemd-sysv,systemd-resolved,libnss-resolve,udev,kmod,linux-image-cloud-amd64,dracut,dracut-network,nfs-common,netbase,zstd \
    --include=iproute2,curl,procps,login,passwd,polkitd,dbus \
    --essential-hook='mkdir -p "$1/etc/dracut.conf.d"' \
    --essential-hook='printf "hostonly=no\nadd_dracutmodules+=\" systemd-networkd nfs \"\nomit_dracutmodules+=\" network-legacy network-manager connman \"\nadd_drivers+=\" virtio_net nfsv3 overlay \"\ncompress=zstd\n" >"$1/etc/dracut.conf.d/oneroot.conf"' \
    --customize-hook='echo root:root | chroot "$1" chpasswd' \
    --customize-hook='chroot "$1" systemctl enable systemd-networkd systemd-resolved' \
    --customize-hook=': >"$1/etc/machine-id"; rm -f "$1/etc/hostname"' \
    --customize-hook='ls "$1"/boot/initrd.img-* >/dev/null' \
    --customize-hook='rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*' \
    trixie "$out"
