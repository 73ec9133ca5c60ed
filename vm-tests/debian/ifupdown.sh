#!/bin/sh
# Debian of the suite that the second word names, with dracut and with ifupdown: dracut is told to rename the NIC that boots,
# and ifupdown knows NICs by their names.
set -eu
out=$1 suite=$2

# No initramfs is made for the machine that builds: NFS, the NIC drivers and overlayfs have to be named.
mmdebstrap --quiet --variant=minbase \
    --include=systemd,systemd-sysv,udev,kmod,linux-image-cloud-amd64,dracut,dracut-network,nfs-common,netbase,zstd \
    --include=systemd-resolved,libnss-resolve,iproute2,procps,login,passwd,dbus,ifupdown,dhcpcd-base \
    --essential-hook='mkdir -p "$1/etc/dracut.conf.d"' \
    --essential-hook='printf "hostonly=no\nadd_dracutmodules+=\" systemd-networkd nfs \"\nomit_dracutmodules+=\" network-legacy network-manager connman \"\nadd_drivers+=\" virtio_net nfsv3 overlay \"\ncompress=zstd\n" >"$1/etc/dracut.conf.d/oneroot.conf"' \
    --customize-hook='echo root:root | chroot "$1" chpasswd' \
    --customize-hook='chroot "$1" systemctl disable systemd-networkd' \
    --customize-hook=': >"$1/etc/machine-id"; rm -f "$1/etc/hostname"' \
    --customize-hook='ls "$1"/boot/initrd.img-* >/dev/null' \
    --customize-hook='rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*' \
    "$suite" "$out"
