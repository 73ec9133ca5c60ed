#!/bin/busybox sh
# A server that loses its power at any moment. Each line with @@ is a promise or a finding; the test on the host holds
# the machine to what it said before. What it says it has done must be on the disk by then.
PATH=/bin
say() { echo "@@ $*"; }
broken() { say broken "$1: $(tail -n 5 /tmp/said | tr '\n' ' ')"; }

mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t ext4 -o data=ordered /dev/vdb /data 2>/tmp/said || broken mount
touch /tmp/on
cd /site
say mounted

# What the power cut has left.
/oneroot verify >/tmp/said 2>&1 || broken verify
/oneroot generations small --json >/tmp/said 2>&1 || broken generations
sed -n 's/.*"generation": "\([0-9a-f]*\)".*/@@ history \1/p' /tmp/said
if [ -e /data/copy/id ]; then
    # A tree that took the name as a whole is one that was staged, with every byte of it.
    (cd /data/copy && sha256sum -c sum >/tmp/said 2>&1) || broken copy
    say copy $(cat /data/copy/id)
fi
for file in /data/place/file*; do
    # One that was synced in place has files old and new, and none in between: each begins with the hash of its rest.
    [ ! -e $file ] || [ $(head -c 64 $file) = $(tail -c +65 $file | sha256sum | head -c 64) ] || broken $file
done
/oneroot state backup /tmp/backup >/tmp/said 2>&1 || broken state
sed -n '/"key":"\(leases\|pins\)\//s/^/@@ state /p' /tmp/backup

/sbin/ip link set lo up
/sbin/ip netns add machines
/sbin/ip link add v0 type veth peer name v1 netns machines
/sbin/ip addr add 192.168.77.1/24 dev v0
/sbin/ip link set v0 up
/oneroot serve >/tmp/serve.log 2>&1 &
server=$!
until /oneroot status --json >/dev/null 2>&1; do
    kill -0 $server 2>/dev/null || { cp /tmp/serve.log /tmp/said; broken serve; break; }
    sleep 0.1
done
say checked
/sbin/ip netns exec machines /machines &
/copies &

mkdir -p /tmp/tree/boot
echo kernel >/tmp/tree/boot/vmlinuz-1
echo initrd >/tmp/tree/boot/initrd.img-1
round=0
while :; do
    round=$((round + 1))
    for file in 1 2 3 4 5 6; do
        head -c $((file * 900)) /dev/urandom >/tmp/part
        { sha256sum </tmp/part | head -c 64; cat /tmp/part; } >/tmp/tree/file$file
    done
    # This content comes back: an object that a power cut emptied would be kept by its name.
    echo "again $((round % 3))" >/tmp/tree/again
    head -c 16 /dev/urandom | sha256sum | head -c 16 >/tmp/tree/id
    (cd /tmp/tree && sha256sum file* again id >sum)
    if /oneroot stage small --json >/tmp/staged 2>/tmp/said; then
        say staged $(sed -n 's/.*"generation": "\([0-9a-f]*\)".*/\1/p' /tmp/staged) $(cat /tmp/tree/id)
    else
        broken stage
    fi
    # A stage sweeps what was cut off before this start.
    find /data/store \( -name '.new-*' -o -path '/data/store/staging/*' \) ! -newer /tmp/on | sed 's/^/@@ litter /'
done
