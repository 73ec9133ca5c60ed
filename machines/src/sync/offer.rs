//! Who may have which tree as files.
//!
//! Index and objects have what only root may read in them. A machine's root reads its own anyway; its users do not, and they
//! can't have a port below 1024.
//!
//! | who asks | what is had |
//! |---|---|
//! | an address that is a machine's, from a port below 1024 | what that machine would boot, or is to have on its disk: `@self`, or its name |
//! | whoever shows a token | the trees that the token is for; by HTTPS alone, where the site has it |
//! | anybody else | nothing |

use std::fs::File;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, PoisonError};

use oneroot_bootconf::Site;
use oneroot_bootconf::again::Ask;
use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::decided::Decided;
use oneroot_bootconf::decision::{Part, tree_of};
use oneroot_bootconf::facts::Facts;
use oneroot_ids::{GenerationId, Mac, ObjectId};
use oneroot_nfsd::FIRST_UNPRIVILEGED_PORT;
use oneroot_tree::View;

use super::what::{What, Which};
use crate::credentials::record::Granted;
use crate::credentials::view::TokenView;
use crate::error::Error;
use crate::index::copies::{Copy, Holder};
use crate::machines::Machines;
use crate::order::blocking::blocking;
use crate::planner::reference;
use crate::views::flats::Objects;

/// Why a tree is not had.
#[derive(Debug, thiserror::Error)]
pub enum SyncRefused {
    /// Nothing says who asks.
    #[error(
        "show a token (`oneroot token new` on the server makes one), or ask as the machine itself: as root, for @self"
    )]
    NobodyKnown,
    /// A token that is none, or none any more: which of the two stands in the log.
    #[error("that token is good for nothing here (any more)")]
    Token,
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
    /// Others are before him, and he has waited long enough.
    #[error("as many trees as this server makes at once are being made; ask again in a moment")]
    Busy,
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

/// What is wanted of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Its index, told against this one where there is one.
    Index(Option<GenerationId>),
    /// Contents, if it is still this one.
    Contents(GenerationId),
}

/// A tree that somebody may have.
pub struct Offered {
    /// Its name.
    pub generation: GenerationId,
    /// Who that is.
    pub holder: Holder,
    /// What was wanted of it.
    pub given: Given,
}

/// What somebody gets of a tree.
pub enum Given {
    /// Nothing: it is the tree that is there already.
    Same,
    /// Its index, packed.
    Index(Arc<[u8]>),
    /// The objects that both sides count by.
    Contents(Objects),
}

/// A tree that somebody may have, before it is made: its view, and what of it he may know already.
struct Allowed {
    view: Arc<View>,
    holder: Holder,
    /// Profiles whose generations he may have, too, if this tree is one of them.
    profiles: Vec<String>,
}

impl Machines {
    /// What somebody wants of a tree. Takes a moment; `patience` is how long he waits where others are before him: until it is
    /// looked up, and until it can be made.
    ///
    /// # Errors
    /// By cause, in words for whoever asks.
    pub async fn offer(
        self: &Arc<Self>,
        asker: &Asker<'_>,
        what: &What,
        wanted: Wanted,
        patience: impl Future<Output = ()>,
    ) -> Result<Offered, SyncRefused> {
        let site = self.site();
        let mut patience = pin!(patience);
        let asked = tokio::select! {
            biased;
            asked = self.allowed(&site, asker, what, wanted) => asked?,
            () = &mut patience => return Err(SyncRefused::Busy),
        };
        let holder = asked.holder.clone();
        let (generation, given) = match self.given_at_once(&asked, wanted) {
            Some(given) => given,
            None => {
                let room = self.flats.rooms.clone().acquire_owned();
                let room = tokio::select! {
                    biased;
                    room = room => room.map_err(|_| Error::Contended)?,
                    () = &mut patience => return Err(SyncRefused::Busy),
                };
                let machines = self.clone();
                let given = blocking(room, move || machines.given(&site, &asked, wanted));
                tokio::select! {
                    biased;
                    given = given => given.map_err(|_| Error::Contended)??,
                    () = &mut patience => return Err(SyncRefused::Busy),
                }
            }
        };
        let given = given.ok_or_else(|| SyncRefused::Changed(what.clone()))?;
        self.flats.tell(&holder, generation);
        Ok(Offered { generation, holder, given })
    }

    /// Whether somebody may have a tree, and which view that is.
    async fn allowed(
        self: &Arc<Self>,
        site: &Arc<Site>,
        asker: &Asker<'_>,
        what: &What,
        wanted: Wanted,
    ) -> Result<Allowed, SyncRefused> {
        let own = self.own(site, asker.peer);
        let granted = self.shown_by(site, asker)?;
        if own.is_none() && granted.is_none() {
            return Err(SyncRefused::NobodyKnown);
        }
        // Before anything is looked up: what is not there, and what is somebody else's, have one answer.
        if !may_ask(site, what, own, granted.as_ref()) {
            return Err(SyncRefused::NotYours(what.clone()));
        }
        let exactly = if let Wanted::Contents(generation) = wanted { Some(generation) } else { None };
        let meant = self.meant(site, what, own, exactly).await?;
        let is_own = own.zip(meant.mac()).is_some_and(|(own, mac)| same(site, own, mac));
        let granted = granted.filter(|granted| granted.covers(&meant.view(what)));
        let holder = match (own.filter(|_| is_own), &granted) {
            (Some(mac), _) => Holder::Machine(self.name_of(mac)),
            (None, Some(granted)) => Holder::Token(granted.name.clone()),
            (None, None) => return Err(SyncRefused::NotYours(what.clone())),
        };
        match meant {
            Meant::Machine(mac) => {
                // A machine that asks is where it is; of another is known where it last was.
                let address = is_own.then(|| asker.peer.ip());
                let (view, profiles) = self.next_view(site, mac, address, what).await?;
                Ok(Allowed { view, holder, profiles })
            }
            Meant::Profile(name, generation) => {
                let machines = self.clone();
                let view = self.with_a_turn(move || Ok(machines.planner.views.of(&[generation])?)).await?;
                // A token of one generation is good for no other.
                let all = TokenView::Profile(name.clone());
                let has_all = granted.is_some_and(|granted| granted.covers(&all));
                Ok(Allowed { view, holder, profiles: if has_all { vec![name] } else { Vec::new() } })
            }
        }
    }

    /// What is wanted of a tree, where nothing has to be made or read for it.
    fn given_at_once(&self, asked: &Allowed, wanted: Wanted) -> Option<(GenerationId, Option<Given>)> {
        let tree = self.flats.name(asked.view.id())?;
        let given = match wanted {
            Wanted::Index(Some(have)) if have == tree => Some(Given::Same),
            Wanted::Index(have) => {
                // Of a tree that he may know of by another way, the store has to be asked.
                if have.is_some_and(|have| !self.flats.has_told(&asked.holder, have)) {
                    return None;
                }
                Some(Given::Index(self.flats.packed_before(tree, have)?))
            }
            Wanted::Contents(exactly) if exactly != tree => None,
            Wanted::Contents(_) => Some(Given::Contents(self.flats.held(asked.view.id())?.objects.clone())),
        };
        Some((tree, given))
    }

    /// A tree's name, and what is wanted of it; nothing where other contents are. Takes a moment.
    fn given(
        &self,
        site: &Site,
        asked: &Allowed,
        wanted: Wanted,
    ) -> Result<(GenerationId, Option<Given>), Error> {
        let flat = self.flats.of(&asked.view)?;
        let generation = flat.index.generation();
        let given = match wanted {
            Wanted::Index(Some(have)) if have == generation => Some(Given::Same),
            Wanted::Index(have) => {
                let may_know = have.map(|have| self.may_know(site, asked, generation, have)).transpose()?;
                let have = have.filter(|_| may_know == Some(true));
                Some(Given::Index(self.flats.packed(self.planner.store(), &flat, have)?))
            }
            Wanted::Contents(exactly) => {
                (exactly == generation).then(|| Given::Contents(flat.objects.clone()))
            }
        };
        Ok((generation, given))
    }

    /// Whether somebody may learn that a generation is known here: he was told it, or it is one of a profile that he may have and
    /// that this tree is of. Of any other, it costs nothing and is as if nobody knew it. Blocks on the disk.
    fn may_know(
        &self,
        site: &Site,
        asked: &Allowed,
        tree: GenerationId,
        have: GenerationId,
    ) -> Result<bool, Error> {
        if self.flats.has_told(&asked.holder, have) {
            return Ok(true);
        }
        for name in &asked.profiles {
            let reference = reference(&site.home, &Part::Profile { name: name.clone() })?;
            let history = self.planner.store().history(&reference)?;
            let has = |one: GenerationId| history.all().iter().any(|staged| staged.generation == one);
            if has(tree) && has(have) {
                return Ok(true);
            }
        }
        Ok(false)
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

    /// Whether nothing says that somebody may not have this, as far as can be told without looking anything up: asked before he is
    /// told when to come again, for others come by what he is told.
    pub fn may_ask(&self, asker: &Asker<'_>, what: &What) -> bool {
        let (site, own) = (self.site(), self.own(&self.site(), asker.peer));
        self.shown_by(&site, asker).is_ok_and(|granted| may_ask(&site, what, own, granted.as_ref()))
    }

    /// What a token is good for that is shown; none where none is shown.
    fn shown_by(&self, site: &Site, asker: &Asker<'_>) -> Result<Option<Granted>, SyncRefused> {
        let Some(bearer) = asker.bearer else { return Ok(None) };
        if site.server.https.is_some() && !asker.secured {
            return Err(SyncRefused::Bare);
        }
        self.token(asker.peer.ip(), bearer).map(Some).map_err(|_| SyncRefused::Token)
    }

    /// Whose tree is meant: nothing is said of one that is not there to who may have nothing.
    async fn meant(
        self: &Arc<Self>,
        site: &Arc<Site>,
        what: &What,
        own: Option<Mac>,
        exactly: Option<GenerationId>,
    ) -> Result<Meant, SyncRefused> {
        let What::Named(name, which) = what else {
            return own.map(Meant::Machine).ok_or(SyncRefused::NobodyKnown);
        };
        // As `export` and `token new` take a name that a machine and a profile have.
        if let Some(machine) = site.machines.get(name).filter(|_| *which == Which::Head) {
            let mac = machine.macs.first().copied();
            return mac.map(Meant::Machine).ok_or_else(|| absent(what, "it has no MAC to boot by"));
        }
        if !site.profiles.contains_key(name) {
            return Err(absent(what, "no profile and no machine has the name"));
        }
        // What is asked for by all of its name is asked for itself, whatever the head is by now. One with whiteouts is told
        // without them, by a name that no history has.
        let exactly = exactly.map(|exactly| Which::Generation(exactly.to_string()));
        let (machines, site, profile, which) = (self.clone(), site.clone(), name.clone(), which.clone());
        let found = self.with_a_turn(move || {
            let of = |which: &Which| machines.generation_of(&site, &profile, which);
            match exactly.as_ref().map(of).transpose()?.flatten() {
                None => of(&which),
                found => Ok(found),
            }
        });
        let found = found.await?;
        let lists = format!(
            "it has no such generation; `oneroot generations {name}` on the server shows those that it has"
        );
        let generation = found.ok_or_else(|| absent(what, &lists))?;
        Ok(Meant::Profile(name.clone(), generation))
    }

    /// A generation that a profile has or had. Blocks on the disk.
    fn generation_of(
        &self,
        site: &Site,
        profile: &str,
        which: &Which,
    ) -> Result<Option<GenerationId>, Error> {
        let reference = reference(&site.home, &Part::Profile { name: profile.to_owned() })?;
        let history = self.planner.store().history(&reference)?;
        let all = history.all();
        let one = match which {
            Which::Head => all.first(),
            Which::Back(back) => all.get(*back),
            Which::Generation(begin) => {
                all.iter().find(|staged| staged.generation.to_string().starts_with(begin))
            }
        };
        Ok(one.map(|staged| staged.generation))
    }

    /// The tree that a machine has: what it would boot, or, where it boots its own disk, what is to lie there; and the profiles in
    /// it. Worked out as a boot's plan is, and nothing of it is kept.
    async fn next_view(
        self: &Arc<Self>,
        site: &Arc<Site>,
        mac: Mac,
        address: Option<IpAddr>,
        what: &What,
    ) -> Result<(Arc<View>, Vec<String>), SyncRefused> {
        let (claims, asked_from) = self.known_of(mac);
        let asked = address.or(asked_from).map_or_else(|| Asked::by(mac), |address| Asked::at(mac, address));
        let asked = asked.telling(Arc::new(claims));
        let catalogue = Catalogue::of(site).at(self.host.now());
        let said = self.program_says(site, &catalogue, &asked, Ask::Whole).await;
        let catalogue = said.as_ref().map_or(catalogue, |gives| catalogue.told(gives));
        let decision = match tree_of(&catalogue, &asked).map_err(Error::from)? {
            Decided::Profile(decision) => *decision,
            Decided::Other(other) => return Err(absent(what, &format!("it {}", other.way.in_words()))),
        };
        let facts = Facts::of(&catalogue, &decision, &asked);
        let profiles = decision.parts.iter().filter_map(|part| match part {
            Part::Profile { name } => Some(name.clone()),
            _ => None,
        });
        let profiles = profiles.collect();
        let (machines, home) = (self.clone(), site.home.clone());
        let stacked = self.with_a_turn(move || machines.planner.stack(&home, &decision, &facts)).await?;
        Ok((stacked.view.clone(), profiles))
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
        let end = to.len() + left;
        to.reserve(left);
        while to.len() < end {
            let read = size - (end - to.len()) as u64;
            // As much as there is room for, and not a byte of it is zeroed first: an object ends where its index says.
            if rustix::io::pread(&file, rustix::buffer::spare_capacity(to), read)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if to.len() > end {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is longer than its index says"));
        }
        Ok(None)
    }

    /// Somebody who asks for a tree has this of it.
    pub fn copied(&self, asker: &Asker<'_>, what: &What, offered: &Offered, generation: GenerationId) {
        let copy = Copy {
            holder: offered.holder.clone(),
            address: asker.peer.ip(),
            what: what.to_string(),
            generation,
            offered: offered.generation,
            at: self.host.now(),
        };
        self.copies.lock().unwrap_or_else(PoisonError::into_inner).heard(copy);
    }

    /// All copies that this server has heard of.
    pub fn copies(&self) -> Vec<Copy> {
        let copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        copies.all().map(|copy| Copy { at: self.host.shown(copy.at), ..copy.clone() }).collect()
    }

    /// Does what takes a disk for a moment, when it is its turn: hundreds that wait for a tree take no thread of those that boots need.
    async fn with_a_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        // The turns are never closed.
        let turn = self.flats.turns.clone().acquire_owned().await.map_err(|_| Error::Contended)?;
        blocking(turn, work).await.map_err(|_| Error::Contended)?
    }
}

/// Whose tree is meant.
enum Meant {
    /// That of the machine with this NIC.
    Machine(Mac),
    /// A profile's generation.
    Profile(String, GenerationId),
}

impl Meant {
    fn mac(&self) -> Option<Mac> {
        match self {
            Self::Machine(mac) => Some(*mac),
            Self::Profile(..) => None,
        }
    }

    /// What a token has to be good for.
    fn view(&self, what: &What) -> TokenView {
        match (self, what) {
            (Self::Machine(_), What::Named(name, _)) => TokenView::Machine(name.clone()),
            // No machine has such a name.
            (Self::Machine(_), What::Own) => TokenView::Machine(String::new()),
            (Self::Profile(name, _), What::Named(_, Which::Head)) => TokenView::Profile(name.clone()),
            (Self::Profile(name, generation), _) => {
                TokenView::Generation { profile: name.clone(), generation: *generation }
            }
        }
    }
}

/// Whether this can be for somebody: a machine's own for itself, a profile's or a machine's for who has a token of it. What takes a
/// look into a history is left open.
fn may_ask(site: &Site, what: &What, own: Option<Mac>, granted: Option<&Granted>) -> bool {
    let What::Named(name, which) = what else { return own.is_some() };
    let is_own = own.and_then(|mac| site.machine(mac)).is_some_and(|(own, _)| own == name);
    let is_machine = *which == Which::Head && site.machines.contains_key(name);
    let may_be = |view: &TokenView| match view {
        TokenView::Machine(machine) => *which == Which::Head && machine == name,
        TokenView::Profile(profile) => !is_machine && profile == name,
        TokenView::Generation { profile, generation } => {
            profile == name
                && match which {
                    Which::Head => false,
                    Which::Back(_) => true,
                    Which::Generation(_) => what.may_be(*generation),
                }
        }
    };
    is_own || granted.is_some_and(|granted| granted.views.iter().any(may_be))
}

fn absent(what: &What, why: &str) -> SyncRefused {
    SyncRefused::NotThere(what.clone(), why.to_owned())
}

/// Whether two NICs are of one machine.
fn same(site: &Site, one: Mac, other: Mac) -> bool {
    let named = |mac| site.machine(mac).map(|(name, _)| name);
    one == other || (named(one).is_some() && named(one) == named(other))
}

#[cfg(test)]
mod tests;
