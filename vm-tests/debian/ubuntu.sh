#!/bin/sh
# Ubuntu 24.04 as its own archive has it, without any initramfs tool: another distribution's kernel (modules packed by zstd), another
# layout of its own. Debian has no package of Ubuntu's keys, so they come from there, known by their hash.
set -eu
out=$1
suite=$2
archive=http://archive.ubuntu.com/ubuntu

keys=$(mktemp -d)
trap 'rm -rf "$keys"' EXIT
/usr/lib/apt/apt-helper -qq download-file "$archive/pool/main/u/ubuntu-keyring/ubuntu-keyring_2023.11.28.1_all.deb" \
    "$keys/keys.deb" SHA256:36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8
dpkg-deb -x "$keys/keys.deb" "$keys"

mmdebstrap --quiet --variant=minbase --keyring="$keys/usr/share/keyrings/ubuntu-archive-keyring.gpg" \
    --include=systemd,systemd-sysv,udev,kmod,linux-image-virtual \
    --include=iproute2,curl,procps,login,passwd \
    --customize-hook='! ls "$1"/usr/sbin/update-initramfs "$1"/usr/bin/dracut 2>/dev/null | grep .' \
    --customize-hook='ls "$1"/usr/lib/modules/*/kernel/fs/nfs/nfsv3.ko.zst' \
    --customize-hook='echo root:root | chroot "$1" chpasswd' \
    --customize-hook=': >"$1/etc/machine-id"; rm -f "$1/etc/hostname" "$1/etc/resolv.conf"' \
    --customize-hook='rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*' \
    "$suite" "$out" "deb $archive $suite main universe"
