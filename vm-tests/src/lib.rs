//! QEMU machines that boot for real: the framework; the cases are in tests/.
