#!/bin/sh
# Before a recipe for arm64. Made on another processor, its programs are emulated (packages qemu-user-static and arch-test), for
# which the kernel must know how to start them.
misc=/proc/sys/fs/binfmt_misc
[ -e $misc/register ] || mount -t binfmt_misc binfmt_misc $misc
[ "$(uname -m)" = aarch64 ] || [ -e $misc/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf >$misc/register
