#!/bin/busybox sh
# What udhcpc does with a lease.
PATH=/bin
[ "$1" = bound ] || exit 0
/sbin/ip addr flush dev v1
/sbin/ip addr add $ip/24 dev v1
echo $ip >/tmp/address
