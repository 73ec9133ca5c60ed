//! Other DHCP servers where we give the addresses. A client that takes another server's offer says so to everybody: its
//! REQUEST names that server (option 54, RFC 2131 §4.3.2). That is the one sure sign which comes to port 67; what the other
//! server says itself goes to port 68, where clients listen and we do not.
//!
//! Anybody can say such a thing, so it changes nothing: it is said in the log once for each server and machine of the site,
//! and shown in the status.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use oneroot_ids::Mac;
use serde::{Deserialize, Serialize};

use super::Machines;

/// Servers that are told apart, and lines that are said: more are somebody's attempt.
const MOST: usize = 16;
const MOST_SAID: usize = 64;

/// Another DHCP server, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherServer {
    /// Its address, as its clients say it.
    pub server: String,
    /// The last client that took its offer: a name, or a MAC.
    pub machine: String,
    /// That client's MAC.
    pub mac: String,
    /// The address that it was offered.
    pub address: Option<String>,
    /// When, seconds since 1970.
    pub at: u64,
}

/// A client that has taken another server's offer.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// The other server.
    pub server: Ipv4Addr,
    /// The client.
    pub mac: Mac,
    /// What it was offered.
    pub address: Option<Ipv4Addr>,
}

/// What was seen of them.
#[derive(Default)]
pub struct Others {
    seen: BTreeMap<Ipv4Addr, (Taken, u64)>,
    /// Servers with the machine of the site that took their offer, or with none for all strangers together.
    said: BTreeSet<(Ipv4Addr, Option<Mac>)>,
}

impl Others {
    /// Notes one, and says whether it is news.
    fn note(&mut self, taken: Taken, is_named: bool, now: u64) -> bool {
        if self.seen.len() < MOST || self.seen.contains_key(&taken.server) {
            self.seen.insert(taken.server, (taken, now));
        }
        let what = (taken.server, Some(taken.mac).filter(|_| is_named));
        self.said.len() < MOST_SAID && self.said.insert(what)
    }

    /// The one that was seen last.
    fn latest(&self) -> Option<Ipv4Addr> {
        self.seen.values().max_by_key(|(_, at)| *at).map(|(taken, _)| taken.server)
    }
}

impl Machines {
    /// A client where we give the addresses has taken another server's offer. It is not one of this host's other addresses,
    /// which a relay or a client may name.
    pub fn took_anothers(&self, taken: Taken) {
        let Taken { server, mac, address } = taken;
        let is_named = self.site().machine(mac).is_some();
        if self.others().note(taken, is_named, self.host.now()) {
            let name = self.name_of(mac);
            let what = address.map_or("its offer".to_owned(), |address| format!("{address} from it"));
            tracing::warn!(
                machine = name,
                %mac,
                "another DHCP server, {server}, answers on this network: {name} took {what}; switch that one off, or say \
                 `proxy = true` in the [[network]]"
            );
        }
    }

    /// All that were seen since the server started.
    pub fn other_servers(&self) -> Vec<OtherServer> {
        let seen: Vec<(Taken, u64)> = self.others().seen.values().copied().collect();
        let one = |(taken, at): (Taken, u64)| OtherServer {
            server: taken.server.to_string(),
            machine: self.name_of(taken.mac),
            mac: taken.mac.to_string(),
            address: taken.address.map(|address| address.to_string()),
            at: self.host.shown(at),
        };
        seen.into_iter().map(one).collect()
    }

    /// The other server that was seen last, where one was.
    pub(super) fn latest_other_server(&self) -> Option<Ipv4Addr> {
        self.others().latest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(server: u8, mac: u8) -> Taken {
        let mac = Mac::new([2, 0, 0, 0, 0, mac]).unwrap();
        Taken { server: [10, 0, 0, server].into(), mac, address: None }
    }

    #[test]
    fn each_server_is_news_once_for_each_machine_of_the_site_and_once_for_all_others() {
        let mut others = Others::default();
        let mut now = 0;
        let mut is_news = |server, mac, named| {
            now += 1;
            others.note(taken(server, mac), named, now)
        };
        assert!(is_news(1, 1, true) && is_news(1, 2, true) && is_news(2, 1, true));
        assert!(is_news(1, 8, false) && !is_news(1, 9, false) && !is_news(1, 1, true));
        assert_eq!(others.seen.len(), 2);
        assert_eq!(others.latest(), Some([10, 0, 0, 1].into()), "by when, not by number");
    }

    #[test]
    fn servers_that_somebody_makes_up_are_bounded_and_the_first_stay_known() {
        let mut others = Others::default();
        let news = (0..=255).filter(|server| others.note(taken(*server, *server), true, 1)).count();
        assert_eq!((news, others.seen.len()), (MOST_SAID, MOST));
        assert!(others.seen.contains_key(&Ipv4Addr::new(10, 0, 0, 0)));
    }
}
