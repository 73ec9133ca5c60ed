#!/bin/busybox sh
# Two copies of the tree on the machine's own disk: one that is exchanged as a whole, one that is changed in place. What is
# said to be synced must be there after the power cut, or a later one.
PATH=/bin
ONEROOT_TOKEN=$(/oneroot token new "t$(date +%s)" --view small 2>/tmp/copies)
export ONEROOT_TOKEN
until [ -e /data/store/refs/profile/small ]; do sleep 0.1; done
while :; do
    for how in "copy --atomic" place; do
        if /oneroot sync small /data/$how --from http://192.168.77.1 >/tmp/copies 2>&1; then
            [ "$how" = place ] || echo "@@ synced $(cat /data/copy/id)"
        else
            echo "@@ broken sync $how: $(tail -n 5 /tmp/copies | tr '\n' ' ')"
        fi
    done
done
