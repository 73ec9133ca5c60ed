#!/bin/busybox sh
# The initramfs of the machine that loses its power: modules, its root, and over to it.
PATH=/bin
busybox mount -t devtmpfs dev /dev
for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk veth; do
    busybox insmod /modules/$module.ko
done
busybox mount -t ext4 -o ro /dev/vda /root
exec busybox switch_root /root /guest
