//! Who may have which tree as files.
//!
//! Index and objects have what only root may read in them. A machine's root reads its own anyway; its users do not, and they
//! can't have a port below 1024.
//!
//! | who asks | what is had |
//! |---|---|
//! | an address that is a machine's, from a port below 1024 | what that machine would boot: `@self`, or its name |
//! | whoever shows a token | the trees that the token is for; by HTTPS alone, where the site has it |
//! | anybody else | nothing |

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use oneroot_bootconf::Site;
use oneroot_bootconf::again::Ask;
use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::decided::Decided;
use oneroot_bootconf::decision::{Part, decide};
use oneroot_bootconf::facts::Facts;
use oneroot_ids::{GenerationId, Mac, ObjectId};
use oneroot_nfsd::FIRST_UNPRIVILEGED_PORT;
use oneroot_tree::View;

use super::what::{What, Which};
use crate::credentials::record::{Granted, TokenRefused};
use crate::credentials::view::TokenView;
use crate::error::Error;
use crate::machines::Machines;
use crate::planner::reference;
use crate::views::flats::Flat;

/// Why a tree is not had.
#[derive(Debug, thiserror::Error)]
pub enum SyncRefused {
    /// Nothing says who asks.
    #[error(
        "show a token (`oneroot token new` on the server makes one), or ask as the machine itself: as root, for @self"
    )]
    NobodyKnown,
    /// A token that is none, or none any more.
    #[error(transparent)]
    Token(#[from] TokenRefused),
    /// A token went over the wire as it is.
    #[error("this server takes tokens by HTTPS alone; use https:// and its https_port")]
    Bare,
    /// It is somebody else's.
    #[error("{0} is not for you here")]
    NotYours(What),
    /// Nothing has the name.
    #[error("there is no {0} here: {1}")]
    NotThere(What, String),
    /// The tree is another one by now.
    #[error("{0} is another tree by now; ask for its index again")]
    Changed(What),
    /// It can't be made.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Who asks.
pub struct Asker<'a> {
    /// From where.
    pub peer: SocketAddr,
    /// Whether what is said is sealed on its way, or does not leave the host.
    pub secured: bool,
    /// The token that was shown.
    pub bearer: Option<&'a str>,
}

impl Machines {
    /// The tree that somebody asks for; with `exactly`, if it is still that one. Takes a moment.
    ///
    /// # Errors
    /// By cause, in words for whoever asks.
    pub async fn offer(
        self: &Arc<Self>,
        asker: &Asker<'_>,
        what: &What,
        exactly: Option<GenerationId>,
    ) -> Result<Arc<Flat>, SyncRefused> {
        let site = self.site();
        let own = self.own(&site, asker.peer);
        let meant = self.may_have(&site, asker, what, exactly, own)?;
        let view = match meant {
            Meant::Machine(mac) => self.next_view(&site, mac, what).await?,
            Meant::Profile(name, which) => self.view_of(site, name, which, what.clone()).await?,
        };
        let machines = self.clone();
        let flat = tokio::task::spawn_blocking(move || machines.flats.of(&view)).await;
        let flat = flat.map_err(|_| Error::Contended)??;
        match exactly {
            Some(exactly) if flat.index.generation() != exactly => Err(SyncRefused::Changed(what.clone())),
            _ => Ok(flat),
        }
    }

    /// The NIC of the machine that asks, if it is one, and as root.
    fn own(&self, site: &Site, peer: SocketAddr) -> Option<Mac> {
        if peer.port() >= FIRST_UNPRIVILEGED_PORT {
            return None;
        }
        let index = self.index();
        let mac = index.running_at(peer.ip()).map(|pin| pin.mac).or_else(|| index.mac_at(peer.ip()))?;
        drop(index);
        // What an address is worth is told by whoever gives it, as it is for a boot's script; on a router's word nobody has a
        // tree.
        (self.asker(site, peer.ip(), mac) == Some(crate::access::mounts::Asker::Vouched)).then_some(mac)
    }

    fn may_have(
        &self,
        site: &Site,
        asker: &Asker<'_>,
        what: &What,
        exactly: Option<GenerationId>,
        own: Option<Mac>,
    ) -> Result<Meant, SyncRefused> {
        // What is asked for by all of its name is asked for itself, whatever the head is by now; and by that it is judged.
        let exact = |which: &Which| exactly.map_or_else(|| which.clone(), all_of);
        let meant = match what {
            What::Own => Meant::Machine(own.ok_or(SyncRefused::NobodyKnown)?),
            What::Named(name, which) => match (site.profiles.contains_key(name), site.machines.get(name)) {
                (true, _) => Meant::Profile(name.clone(), exact(which)),
                (false, Some(machine)) if *which == Which::Head => {
                    let mac = machine.macs.first().copied();
                    Meant::Machine(mac.ok_or_else(|| absent(what, "it has no MAC to boot by"))?)
                }
                _ if asker.bearer.is_none() => return Err(SyncRefused::NobodyKnown),
                _ => return Err(absent(what, "no profile and no machine has the name")),
            },
        };
        match (&meant, own) {
            (Meant::Machine(mac), Some(own)) if same(site, *mac, own) => return Ok(meant),
            _ => {}
        }
        let bearer = asker.bearer.ok_or(SyncRefused::NobodyKnown)?;
        if site.server.https.is_some() && !asker.secured {
            return Err(SyncRefused::Bare);
        }
        let granted = self.token(asker.peer.ip(), bearer)?;
        within(site, &granted, meant).ok_or_else(|| SyncRefused::NotYours(what.clone()))
    }

    /// What a profile's generation looks like.
    async fn view_of(
        self: &Arc<Self>,
        site: Arc<Site>,
        name: String,
        which: Which,
        what: What,
    ) -> Result<Arc<View>, SyncRefused> {
        let machines = self.clone();
        let found = move || {
            let reference = reference(&site.home, &Part::Profile { name })?;
            let history = machines.planner.store().history(&reference).map_err(Error::from)?;
            let all = history.all();
            let one = match &which {
                Which::Head => all.first(),
                Which::Back(back) => all.get(*back),
                Which::Generation(begin) => {
                    all.iter().find(|staged| staged.generation.to_string().starts_with(begin))
                }
            };
            let generation = one.ok_or_else(|| absent(&what, "it has no such generation"))?.generation;
            Ok(machines.planner.views.of(&[generation]).map_err(Error::from)?)
        };
        tokio::task::spawn_blocking(found).await.map_err(|_| Error::Contended)?
    }

    /// What a machine would boot now, worked out as a boot's plan is; nothing of it is kept.
    async fn next_view(
        self: &Arc<Self>,
        site: &Arc<Site>,
        mac: Mac,
        what: &What,
    ) -> Result<Arc<View>, SyncRefused> {
        let asked = match self.known_of(mac) {
            (claims, Some(address)) => Asked::at(mac, address).telling(Arc::new(claims)),
            (claims, None) => Asked::by(mac).telling(Arc::new(claims)),
        };
        let catalogue = Catalogue::of(site).at(self.host.now());
        let said = self.program_says(site, &catalogue, &asked, Ask::Whole).await;
        let catalogue = said.as_ref().map_or(catalogue, |gives| catalogue.told(gives));
        let decision = match decide(&catalogue, &asked).map_err(Error::from)? {
            Decided::Profile(decision) => *decision,
            Decided::Other(other) => return Err(absent(what, &format!("it {}", other.way.in_words()))),
        };
        let facts = Facts::of(&catalogue, &decision, &asked);
        let (machines, home) = (self.clone(), site.home.clone());
        let stacked = move || machines.planner.stack(&home, &decision, &facts);
        let stacked = tokio::task::spawn_blocking(stacked).await.map_err(|_| Error::Contended)??;
        Ok(stacked.view.clone())
    }

    /// Appends an object from `at` on, if that is not more than `most`; else its file, which is open then. Takes a moment.
    ///
    /// # Errors
    /// The system's; `UnexpectedEof` for an object that is shorter than its index says.
    pub fn read_object(
        &self,
        object: ObjectId,
        at: u64,
        size: u64,
        most: usize,
        to: &mut Vec<u8>,
    ) -> io::Result<Option<Arc<File>>> {
        let file = self.planner.store().object(object)?;
        let left = usize::try_from(size - at).unwrap_or(usize::MAX);
        if left > most {
            return Ok(Some(Arc::new(file)));
        }
        let start = to.len();
        to.resize(start + left, 0);
        file.read_exact_at(to.get_mut(start..).unwrap_or_default(), at)?;
        Ok(None)
    }

    /// A tree's packed index, against an older one that the asker has. Takes a moment.
    ///
    /// # Errors
    /// The store's.
    pub async fn packed(
        self: &Arc<Self>,
        flat: &Arc<Flat>,
        have: Option<GenerationId>,
    ) -> Result<Arc<[u8]>, SyncRefused> {
        let (machines, flat) = (self.clone(), flat.clone());
        let packed = move || machines.flats.packed(machines.planner.store(), &flat, have);
        Ok(tokio::task::spawn_blocking(packed).await.map_err(|_| Error::Contended)??)
    }
}

/// Whose tree is meant.
enum Meant {
    Machine(Mac),
    Profile(String, Which),
}

/// A generation by all of its name.
fn all_of(generation: GenerationId) -> Which {
    Which::Generation(generation.to_string())
}

/// What is meant, if a token is for it. One that is for a generation gives that one, and no other that begins as it does.
fn within(site: &Site, granted: &Granted, meant: Meant) -> Option<Meant> {
    match &meant {
        Meant::Machine(mac) => {
            let (name, _) = site.machine(*mac)?;
            granted.covers(&TokenView::Machine(name.to_owned())).then_some(meant)
        }
        Meant::Profile(name, _) if granted.covers(&TokenView::Profile(name.clone())) => Some(meant),
        Meant::Profile(name, Which::Generation(begin)) => granted.views.iter().find_map(|view| match view {
            TokenView::Generation { profile, generation }
                if profile == name && generation.to_string().starts_with(begin) =>
            {
                Some(Meant::Profile(name.clone(), all_of(*generation)))
            }
            _ => None,
        }),
        Meant::Profile(..) => None,
    }
}

fn absent(what: &What, why: &str) -> SyncRefused {
    SyncRefused::NotThere(what.clone(), why.to_owned())
}

/// Whether two NICs are of one machine.
fn same(site: &Site, one: Mac, other: Mac) -> bool {
    let named = |mac| site.machine(mac).map(|(name, _)| name);
    one == other || (named(one).is_some() && named(one) == named(other))
}
