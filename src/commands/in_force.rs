//! The site as a running server has it in force: its files, with what was adopted and assigned laid over them.

use anyhow::Result;
use oneroot_bootconf::Site;
use oneroot_bootconf::assignment::Conflict;

use crate::{clock, control};

/// A site as it is in force, or would be.
pub struct InForce {
    /// The site.
    pub site: Site,
    /// Seconds of site time.
    pub now: u64,
    /// What of the mapping does not count.
    pub conflicts: Vec<Conflict>,
    /// Whether a server was there that knows what was adopted and assigned.
    pub is_whole: bool,
}

/// Lays what the running server's state says over a site; where none runs, the site is taken as it is.
pub fn in_force(site: &Site) -> Result<InForce> {
    let Some(records) = control::ask_mapped(&site.server.state)? else {
        return Ok(InForce { site: site.clone(), now: clock::now(), conflicts: Vec::new(), is_whole: false });
    };
    let (site, conflicts) =
        site.mapped(records.mapped.iter().map(|(mapped, macs)| (mapped, macs.as_slice())));
    Ok(InForce { site, now: records.now, conflicts, is_whole: true })
}
