//! The two sides of a decision: what is looked up in, and who wants to boot.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use oneroot_ids::Mac;

use crate::hardware::Claims;
use crate::site::gives::Gives;
use crate::site::groups::Group;
use crate::site::rules::Rule;
use crate::site::when::Case;
use crate::site::{Machine, Network, Site};

/// What a decision is looked up in: the site with what the state holds over it ([`Site::mapped`]), at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Catalogue<'c> {
    site: &'c Site,
    now: u64,
    program: Option<&'c Gives>,
}

impl<'c> Catalogue<'c> {
    /// A catalogue of a site, in which no assignment is over yet.
    #[must_use]
    pub fn of(site: &'c Site) -> Self {
        Self { site, now: 0, program: None }
    }

    /// The same at a moment, seconds of site time: what was assigned until then is over.
    #[must_use]
    pub fn at(self, now: u64) -> Self {
        Self { now, ..self }
    }

    /// The moment, seconds of site time; 0 where nothing is over yet.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The same with what the site's program has said of who asks: good for that one question.
    #[must_use]
    pub fn told(self, program: &'c Gives) -> Self {
        Self { program: Some(program), ..self }
    }

    /// What the site's program has said, where it was asked.
    pub(crate) fn program_says(&self) -> Option<&'c Gives> {
        self.program
    }

    /// The site.
    #[must_use]
    pub fn site(&self) -> &'c Site {
        self.site
    }

    /// The machine that somebody is, with its name; none for one that nobody has named.
    #[must_use]
    pub fn machine(&self, who: Who) -> Option<(&'c str, &'c Machine)> {
        match who {
            Who::Nic(mac) => self.site.machine(mac),
            Who::Unknown => None,
        }
    }

    /// The address from which somebody asks; of one that has not asked yet, the one that is kept for it, else one that it could
    /// get.
    #[must_use]
    pub fn address_of(&self, asked: &Asked) -> IpAddr {
        let kept = match asked.who {
            Who::Nic(mac) => self.machine(asked.who).and_then(|(_, machine)| machine.address_of(mac)),
            Who::Unknown => None,
        };
        let first = || self.site.networks.first().map(Network::first_address);
        let expected = || kept.or_else(first).map_or(self.site.server.address, IpAddr::V4);
        asked.address.unwrap_or_else(expected)
    }

    /// Who asks, as a condition or a group can tell: by all its NICs, whichever of them boots, and by its addresses.
    #[must_use]
    pub fn case<'a>(&self, asked: &'a Asked) -> Case<'a> {
        let machine = self.machine(asked.who);
        let macs = match (machine, asked.who) {
            (Some((_, machine)), _) => machine.macs.clone(),
            (None, Who::Nic(mac)) => vec![mac],
            (None, Who::Unknown) => Vec::new(),
        };
        let here = match self.address_of(asked) {
            IpAddr::V4(address) => Some(address),
            // No group and no condition has a network of IPv6.
            IpAddr::V6(_) => None,
        };
        let kept = machine.map_or(&[][..], |(_, machine)| machine.addresses.as_slice());
        let addresses: Vec<Ipv4Addr> = here.into_iter().chain(kept.iter().copied()).collect();
        Case { macs, addresses, claims: &asked.claims }
    }

    /// The groups that somebody is in, in the order of the site.
    pub fn groups_of(&self, asked: &Asked) -> impl Iterator<Item = (&'c str, &'c Group)> {
        let name = self.machine(asked.who).map(|(name, _)| name);
        let Case { macs, addresses, .. } = self.case(asked);
        let groups =
            self.site.groups.iter().filter(move |(_, group)| group.members.have(name, &macs, &addresses));
        groups.map(|(name, group)| (name.as_str(), group))
    }

    /// The rule that counts for somebody, with its number, from 1.
    #[must_use]
    pub fn rule_of(&self, asked: &Asked) -> Option<(usize, &'c Rule)> {
        let mut rules = self.site.rules.iter().zip(1..).map(|(rule, number)| (number, rule));
        if let Some(supposed) = asked.supposed.rule {
            return rules.find(|(number, _)| *number == supposed);
        }
        let case = self.case(asked);
        rules.find(|(_, rule)| rule.when.fits(&case))
    }

    /// Everybody for whom there may be a decision of its own: each machine, by the NIC that is named first; whoever the site
    /// does not know, in each network, and by each rule, as if its condition were true. Where layers have conditions, each of them
    /// twice: as if none of these were true, and as if all were.
    ///
    /// A machine that the site names is not tried with each rule: ten thousand with five hundred would take minutes, and which of
    /// them tells what is not known before it does.
    pub fn everybody(&self) -> impl Iterator<Item = (Option<&'c str>, Asked)> {
        let machines = self.site.machines.iter();
        let named = machines
            .filter_map(|(name, machine)| Some((Some(name.as_str()), Asked::by(*machine.macs.first()?))));
        let anywhere = self.site.networks.is_empty().then_some(None);
        let networks = self.site.networks.iter().map(|network| Some(IpAddr::V4(network.first_address())));
        let unknown = anywhere.into_iter().chain(networks);
        let unknown = unknown.map(|address| (None, Asked { address, ..Asked::of(Who::Unknown) }));
        let by_rule = self.site.rules.iter().zip(1..).map(|(rule, number)| {
            let supposed = Supposed { rule: Some(number), ..Supposed::default() };
            // Whoever the rule fits is in one of its networks, and is told what holds there.
            let address = self.site.first_address_in(rule.when.networks()).map(IpAddr::V4);
            (None, Asked { address, supposed, ..Asked::of(Who::Unknown) })
        });
        let has_conditions = self.site.shared_layers().any(|layer| layer.when.is_some());
        named.chain(unknown).chain(by_rule).flat_map(move |(name, asked)| {
            let supposed = Supposed { layers: true, ..asked.supposed };
            let other = has_conditions.then(|| (name, Asked { supposed, ..asked.clone() }));
            [Some((name, asked)), other].into_iter().flatten()
        })
    }
}

/// Who wants to boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// What has this NIC, whether the site names it or not.
    Nic(Mac),
    /// Any machine that the site does not name: asked about before there is one. It is no MAC, for a site may name whichever
    /// one were made up for it.
    Unknown,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nic(mac) => mac.fmt(f),
            Self::Unknown => f.write_str("an unknown machine"),
        }
    }
}

/// Who wants to boot, and what is known of it when that is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Who it is.
    pub who: Who,
    /// The address that it asks from; none where it has not asked yet.
    pub address: Option<IpAddr>,
    /// What is told of it.
    pub claims: Arc<Claims>,
    /// What is taken for true of it by somebody who looks at what may come.
    pub supposed: Supposed,
}

/// What is taken for true though nobody has told it: of a machine that boots, nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Supposed {
    /// The rule that counts, by its number from 1.
    pub rule: Option<usize>,
    /// Whether the conditions of all layers are true.
    pub layers: bool,
}

impl Asked {
    /// A machine that has not asked yet, by a NIC of its own.
    #[must_use]
    pub fn by(mac: Mac) -> Self {
        Self::of(Who::Nic(mac))
    }

    /// Somebody of whom nothing else is known.
    #[must_use]
    pub fn of(who: Who) -> Self {
        Self { who, address: None, claims: Arc::default(), supposed: Supposed::default() }
    }

    /// A machine that asks from an address.
    #[must_use]
    pub fn at(mac: Mac, address: IpAddr) -> Self {
        Self { address: Some(address), ..Self::by(mac) }
    }

    /// The same, with what is told of it.
    #[must_use]
    pub fn telling(self, claims: Arc<Claims>) -> Self {
        Self { claims, ..self }
    }
}
