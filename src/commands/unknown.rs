//! `oneroot machines --unknown`: NICs that have wanted to boot and that nobody has named, with all that they told. It is what
//! anybody on the segment may have made up, and is shown as such: printable, bounded, and never obeyed.

use std::path::Path;

use anyhow::Result;
use oneroot_bootconf::hardware::Fact;
use oneroot_ids::Mac;
use oneroot_machines::Sighting;
use serde::Serialize;

use super::running;
use super::status::age;
use super::vendors::vendors;
use crate::print::{Document, Page};
use crate::{clock, control};

const HEAD: [&str; 10] =
    ["MAC", "MADE BY", "ARCH", "FIRMWARE", "PRODUCT", "SERIAL", "ADDRESS", "NETWORK", "TIMES", "LAST SEEN"];

/// All of them, in the order in which they came.
#[derive(Serialize)]
pub struct Unknown {
    unknown: Vec<Stranger>,
    /// Seconds since 1970: ages are told as of then.
    #[serde(skip)]
    now: u64,
}

/// One of them.
#[derive(Serialize)]
struct Stranger {
    #[serde(flatten)]
    sighting: Sighting,
    /// Who has made the NIC, as far as a list of this host knows.
    vendor: Option<String>,
}

impl Document for Unknown {
    fn page(&self) -> Page {
        let mut rows = vec![HEAD.map(str::to_owned)];
        rows.extend(self.unknown.iter().map(|stranger| stranger.row(self.now)));
        let mut page = Page::default();
        page.rows(&rows);
        if let Some(Stranger { sighting, .. }) = self.unknown.first() {
            page.line(format_args!("`oneroot adopt {} --name NAME` gives one its name", sighting.mac));
        }
        page
    }
}

impl Stranger {
    fn row(&self, now: u64) -> [String; HEAD.len()] {
        let Sighting { mac, address, claims, last, times, .. } = &self.sighting;
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let told = |fact| or_dash(claims.text(fact).map(std::borrow::Cow::into_owned));
        [
            mac.to_string(),
            or_dash(self.vendor.clone()),
            told(Fact::Arch),
            told(Fact::Firmware),
            told(Fact::Product),
            told(Fact::Serial),
            or_dash(address.map(|address| address.to_string())),
            or_dash(claims.location.network.map(|network| network.to_string())),
            times.to_string(),
            format!("{} ago", age(now.saturating_sub(*last))),
        ]
    }
}

/// Asks the running server.
pub fn unknown(state: &Path) -> Result<Unknown> {
    let mut sightings = running(state, control::ask_sightings(state)?)?;
    sightings.retain(|sighting| !sighting.named);
    let macs: Vec<Mac> = sightings.iter().map(|sighting| sighting.mac).collect();
    let mut vendors = vendors(&macs);
    let unknown =
        sightings.into_iter().map(|sighting| Stranger { vendor: vendors.remove(&sighting.mac), sighting });
    Ok(Unknown { unknown: unknown.collect(), now: clock::shown(clock::now()) })
}
