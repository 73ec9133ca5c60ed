//! The first program of a machine: [`oneroot_init`] has all of it.

fn main() {
    oneroot_init::boot();
}
