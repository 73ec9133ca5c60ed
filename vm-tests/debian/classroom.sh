#!/bin/sh
# What oneroot stages for examples/classroom, but for its desktop: of that there is what keeps settings (xfconf), and no screen to
# show them on. Root has a password, for the case that looks at the seats; and the kernel is that of clouds, which is a quarter of the other.
set -eu
out=$1

mmdebstrap --quiet --variant=minbase \
    --include=systemd,systemd-sysv,udev,kmod,initramfs-tools,zstd,iproute2,linux-image-cloud-amd64 \
    --include=xfconf,libxfconf-0-3,dbus-x11,libpam-systemd,locales-all,tzdata,systemd-timesyncd,netbase,nfs-common,autofs \
    --include=sssd,libnss-sss,libpam-sss,libnss-extrausers,ca-certificates,nftables,openssh-server \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"' \
    --essential-hook='printf "BOOT=nfs\nMODULES=most\nCOMPRESS=zstd\n" >"$1/etc/initramfs-tools/conf.d/oneroot"' \
    --customize-hook='echo root:root | chroot "$1" chpasswd' \
    --customize-hook=': >"$1/etc/machine-id"; rm -f "$1/etc/hostname"; : >"$1/etc/resolv.conf"' \
    --customize-hook='rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*' \
    bookworm "$out"
