//! Other DHCP servers where we give the addresses. They show in two ways: what they broadcast to clients, on port 68
//! (src/dhcp/overheard.rs), and a client that takes another server's offer, whose REQUEST names that server (option 54, RFC
//! 2131 §4.3.2). An answer that goes to one client alone is not heard, but the REQUEST that follows an OFFER is.
//!
//! Anybody can say such a thing, so it changes nothing: it is said in the log once for each server, and once for each machine
//! of the site that takes its offer, and shown in the status.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use oneroot_ids::Mac;
use serde::{Deserialize, Serialize};

/// Servers that are told apart, and lines that are said: more are somebody's attempt.
const MOST: usize = 16;
const MOST_SAID: usize = 64;

/// By what another server shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// A client took its offer.
    #[default]
    Took,
    /// It offers a client something.
    Offered,
    /// It gives a client an address, or answers one that has one.
    Gave,
    /// It tells a client to give up its address.
    Refused,
}

/// Another DHCP server, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherServer {
    /// Its address, as it or its clients say it.
    pub server: String,
    /// By what it was seen last. Servers of before said only what was taken.
    #[serde(default)]
    pub what: What,
    /// The client: a name, or a MAC.
    pub machine: String,
    /// That client's MAC.
    pub mac: String,
    /// The address that it was offered.
    pub address: Option<String>,
    /// When, seconds since 1970.
    pub at: u64,
}

impl OtherServer {
    /// That it is there, and by what that shows.
    pub fn in_words(&self) -> String {
        let (server, machine) = (&self.server, &self.machine);
        let what = match (self.what, &self.address) {
            (What::Took, Some(address)) => format!("{machine} took {address} from it"),
            (What::Took, None) => format!("{machine} took its offer"),
            (What::Offered, Some(address)) => format!("it offered {machine} {address}"),
            (What::Offered, None) => format!("it told {machine} what to boot"),
            (What::Gave, Some(address)) => format!("it gave {machine} {address}"),
            (What::Gave, None) => format!("it answered {machine}"),
            (What::Refused, _) => format!("it told {machine} to give up its address"),
        };
        format!("another DHCP server, {server}, answers on this network: {what}")
    }
}

/// A sign of another server.
#[derive(Debug, Clone, Copy)]
pub struct Sign {
    /// What it is.
    pub what: What,
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
    pub seen: BTreeMap<Ipv4Addr, (Sign, u64)>,
    /// Servers with the machine of the site that took their offer, or with none for all else together.
    said: BTreeSet<(Ipv4Addr, Option<Mac>)>,
}

impl Others {
    /// Notes one, and says whether it is news.
    pub fn note(&mut self, sign: Sign, is_named: bool, now: u64) -> bool {
        // The first stay: a flood of servers that somebody made up pushes out none that was seen before.
        if self.seen.len() < MOST || self.seen.contains_key(&sign.server) {
            self.seen.insert(sign.server, (sign, now));
        }
        let what = (sign.server, Some(sign.mac).filter(|_| is_named && sign.what == What::Took));
        self.said.len() < MOST_SAID && self.said.insert(what)
    }

    /// The one that was seen last.
    pub fn latest(&self) -> Option<Ipv4Addr> {
        self.seen.values().max_by_key(|(_, at)| *at).map(|(sign, _)| sign.server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(server: u8, mac: u8) -> Sign {
        let mac = Mac::new([2, 0, 0, 0, 0, mac]).unwrap();
        Sign { what: What::Took, server: [10, 0, 0, server].into(), mac, address: None }
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
    fn what_a_server_says_itself_is_news_once_and_what_a_machine_takes_of_it_still_is() {
        let mut others = Others::default();
        let mut is_news = |what, mac| others.note(Sign { what, ..taken(1, mac) }, true, 1);
        assert!(is_news(What::Offered, 1) && !is_news(What::Offered, 2) && !is_news(What::Gave, 1));
        assert!(is_news(What::Took, 1) && !is_news(What::Refused, 1) && is_news(What::Took, 2));
    }

    #[test]
    fn servers_that_somebody_makes_up_are_bounded_and_the_first_stay_known() {
        let mut others = Others::default();
        let news = (0..=255).filter(|server| others.note(taken(*server, *server), true, 1)).count();
        assert_eq!((news, others.seen.len()), (MOST_SAID, MOST));
        assert!(others.seen.contains_key(&Ipv4Addr::new(10, 0, 0, 0)));
    }
}
