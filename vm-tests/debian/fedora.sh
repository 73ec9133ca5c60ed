#!/bin/sh
# A tree as Fedora lays it out, of Debian's programs: the kernel beside its modules and nothing in /boot, modules packed by xz,
# libraries in lib64, no sbin but a link, and no initramfs, as of an image that was never installed on a disk.
set -eu
out=$1
suite=$2

layout='set -eu
cd "$1"
chroot . dpkg --purge --force-depends $(chroot . dpkg-query -W -f "\${Package}\n" | grep -E "^(initramfs-tools.*|dracut.*|klibc-utils|libklibc|cpio)$")
for version in usr/lib/modules/*; do
    mv "boot/vmlinuz-${version##*/}" "$version/vmlinuz"
    mv "boot/config-${version##*/}" "$version/config"
    rm -f "boot/System.map-${version##*/}"
    ls "$version"/kernel/fs/nfs/nfsv3.ko.xz
done
rm -rf boot/* vmlinuz* initrd.img* etc/initramfs-tools usr/share/initramfs-tools var/lib/initramfs-tools
rm usr/lib64/ld-linux-x86-64.so.2
mv usr/lib/x86_64-linux-gnu/* usr/lib64/
rmdir usr/lib/x86_64-linux-gnu
ln -s ../lib64 usr/lib/x86_64-linux-gnu
cp -an usr/sbin/. usr/bin/
rm -rf usr/sbin
ln -s bin usr/sbin
printf "NAME=\"Fedora Linux\"\nID=fedora\nVERSION_ID=42\n" >usr/lib/os-release
echo root:root | chroot . chpasswd
: >etc/machine-id
rm -f etc/hostname etc/resolv.conf'

mmdebstrap --quiet --variant=minbase \
    --include=systemd,systemd-sysv,udev,kmod,linux-image-cloud-amd64 \
    --include=iproute2,curl,procps,login,passwd \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d" && printf "COMPRESS=gzip\nMODULES=list\n" >"$1/etc/initramfs-tools/conf.d/oneroot"' \
    --customize-hook="$layout" \
    --customize-hook='rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*' \
    "$suite" "$out"
