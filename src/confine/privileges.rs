//! Capabilities (capabilities(7)): two are kept, in no set can another come back. No program that is started gains any
//! (`NoNewPrivs`), and the memory can't be read by others of our user, nor written to a core file (`PR_SET_DUMPABLE`).

use anyhow::{Context as _, Result};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// NET_BIND_SERVICE: ports are bound from inside; by then there are threads, each with capabilities of its own, and nobody who
/// could give it up for all. NET_RAW: packet sockets, and SO_BINDTODEVICE for an interface that comes back.
const KEPT: CapabilitySet = CapabilitySet::NET_BIND_SERVICE.union(CapabilitySet::NET_RAW);

/// Ports below this one take NET_BIND_SERVICE (ip(7)); DHCP's is 67.
const UNPRIVILEGED: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

/// Those of the two that this process needs and does not have. A kernel that does not say has both.
pub fn lacking() -> Vec<&'static str> {
    let Ok(now) = capabilities(None) else { return Vec::new() };
    let binds = std::fs::read_to_string(UNPRIVILEGED).ok().and_then(|text| text.trim().parse::<u16>().ok());
    let binds =
        now.effective.contains(CapabilitySet::NET_BIND_SERVICE) || binds.is_some_and(|first| first <= 67);
    let raw = now.effective.contains(CapabilitySet::NET_RAW);
    [("CAP_NET_BIND_SERVICE", binds), ("CAP_NET_RAW", raw)]
        .into_iter()
        .filter(|(_, has)| !has)
        .map(|(name, _)| name)
        .collect()
}

/// Gives up all others, for ever.
pub fn give_up() -> Result<()> {
    give_up_but(KEPT)
}

/// Gives up all but `kept`.
pub fn give_up_but(kept: CapabilitySet) -> Result<()> {
    // These two first: nothing can forbid them.
    set_no_new_privs(true).context("NoNewPrivs can't be set")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("the memory stays readable")?;
    clear_ambient_capability_set().context("the ambient set stays")?;
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        // EINVAL: the kernel has none with this number.
        if kept.contains(one) || !capability_is_in_bounding_set(one).unwrap_or(false) {
            continue;
        }
        match remove_capability_from_bounding_set(one) {
            // Without CAP_SETPCAP, as in a container. The set matters to programs that are started: NoNewPrivs keeps it
            // from giving them anything.
            Ok(()) | Err(Errno::PERM) => {}
            Err(cause) => return Err(cause).context("the bounding set stays"),
        }
    }
    let now = capabilities(None).context("cannot read the capabilities")?;
    let kept = now.permitted & kept;
    let wanted = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    // The packaged unit has left these two alone, and forbids the call.
    if now != wanted {
        set_capabilities(None, wanted).context("the capabilities stay")?;
    }
    Ok(())
}
