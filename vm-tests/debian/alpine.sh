#!/bin/sh
# A tree as Alpine lays it out, of Debian's programs: busybox is init and every tool, OpenRC runs over it, /lib is a directory
# of its own, modules are packed by gzip, links lead from the root, and the kernel's name has no version.
set -eu
out=$1
suite=$2

layout='set -eu
cd "$1"
mkdir kept
mv usr/bin/busybox usr/bin/rc-status usr/lib/modules usr/lib/rc usr/sbin/openrc usr/sbin/openrc-run usr/sbin/rc-service usr/sbin/rc-update kept/
mkdir kept/libraries
mv usr/lib/x86_64-linux-gnu/ld-linux-* usr/lib/x86_64-linux-gnu/lib*.so.* kept/libraries/
rm -rf usr bin sbin lib lib64 etc/init.d etc/runlevels etc/initramfs-tools etc/kernel etc/systemd etc/hostname etc/resolv.conf etc/os-release
mkdir -p bin sbin lib lib64 usr/bin usr/sbin usr/lib etc/init.d etc/runlevels/sysinit etc/runlevels/boot etc/runlevels/default etc/runlevels/shutdown
mv kept/libraries lib/x86_64-linux-gnu
ln -s ../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 lib64/
mv kept/modules lib/
mv kept/rc usr/lib/
mv kept/busybox kept/rc-status bin/
mv kept/openrc kept/openrc-run kept/rc-service kept/rc-update sbin/
rmdir kept
for name in $(bin/busybox --list); do [ -e "bin/$name" ] || ln -s /bin/busybox "bin/$name"; done
for name in init getty halt poweroff reboot modprobe ifconfig route ip; do ln -s /bin/busybox "sbin/$name"; done
find lib/modules -name "*.ko.xz" -exec unxz {} +
for version in lib/modules/*; do PATH=$PATH:/usr/sbin:/sbin depmod -b . "${version##*/}"; done
# Debian has a depmod that reads no gzip, so the names are put right behind it.
find lib/modules -name "*.ko" -exec gzip -n -1 {} +
sed -i "s/\.ko\>/.ko.gz/g" lib/modules/*/modules.dep
rm -f lib/modules/*/*.bin
mv boot/vmlinuz-* boot/vmlinuz-lts
mv boot/config-* boot/config-lts
rm -f boot/System.map-* vmlinuz* initrd.img*
printf "NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID=3.22\n" >etc/os-release
printf "::sysinit:/sbin/openrc sysinit\n::sysinit:/sbin/openrc boot\n::wait:/sbin/openrc default\nttyS0::respawn:/sbin/getty -L 115200 ttyS0 vt100\n::ctrlaltdel:/sbin/reboot\n::shutdown:/sbin/openrc shutdown\n" >etc/inittab
printf "#!/sbin/openrc-run\nstart() { echo \"OpenRC has come to \$RC_RUNLEVEL\" >/dev/console; }\n" >etc/init.d/tell
chmod 755 etc/init.d/tell
ln -s /etc/init.d/tell etc/runlevels/default/
: >etc/fstab
echo root:x:0:0:root:/root:/bin/sh >etc/passwd
echo "root:$(openssl passwd -6 root)::0:::::" >etc/shadow
chmod 600 etc/shadow
printf "root:x:0:\ntty:x:5:\nuucp:x:14:\n" >etc/group'

mmdebstrap --quiet --variant=extract --include=busybox-static,linux-image-cloud-amd64,base-files,openrc \
    --extract-hook="$layout" "$suite" "$out"
