#!/bin/busybox sh
# Machines that lease an address and fetch their boot, one after the other: 40 NICs in turn, on one end of a cable.
PATH=/bin
number=$(($(date +%s) % 40))
while :; do
    number=$(((number + 1) % 40))
    mac=$(printf '52:54:00:00:00:%02x' $number)
    /sbin/ip link set v1 down
    /sbin/ip link set v1 address $mac
    /sbin/ip link set v1 up
    rm -f /tmp/address
    udhcpc -i v1 -n -q -f -t 5 -T 1 -s /lease >/tmp/udhcpc.log 2>&1
    read -r address </tmp/address || continue
    echo "@@ leased $mac $address"
    wget -q -O /tmp/script http://192.168.77.1/boot/$(echo $mac | tr : -).ipxe? || continue
    boot=$(sed -n 's|^kernel .*/b/\([0-9a-f]*\)/kernel .*|\1|p' /tmp/script)
    [ -z "$boot" ] || echo "@@ booted $mac $boot"
done
