//! `oneroot pull`: a generation of another server's profile comes into this server's store, as if it had been staged here.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use indicatif::HumanBytes;
use oneroot_bootconf::Site;
use oneroot_bootconf::decision::Part;
use oneroot_ids::GenerationId;
use oneroot_machines::planner::reference;
use oneroot_machines::sync::What;
use oneroot_tree::replica::Incoming;
use oneroot_tree::store::{How, Placed, Staged};
use oneroot_tree::{Error, Index, Store, stream};
use serde::Serialize;

use super::fetch::{Fetch, remote};
use super::patience::patiently;
use super::progress::spinner;
use super::sync::contents;
use crate::cli::sync::PullAsked;
use crate::clock;
use crate::print::{Document, Page};
use crate::remote::{Offered, Remote};

/// What a pull did.
#[derive(Serialize)]
pub struct Pulled {
    profile: String,
    what: String,
    generation: GenerationId,
    /// Whether new boots get it now.
    is_head: bool,
    objects: u64,
    bytes: u64,
    #[serde(skip)]
    held: bool,
}

impl Document for Pulled {
    fn page(&self) -> Page {
        let Self { profile, what, objects, bytes, .. } = self;
        let generation = self.generation.to_string();
        let generation = generation.get(..12).unwrap_or_default();
        let now = if self.is_head && self.held {
            "it is the first one here, so new boots get it all the same"
        } else if self.is_head {
            "new boots get it"
        } else {
            "it waits, and new boots get what they got"
        };
        Page::of_line(format_args!(
            "{profile} is {what} {generation}: {}, {} came; {now}",
            contents(*objects),
            HumanBytes(*bytes)
        ))
    }
}

/// `oneroot pull WHAT`.
pub fn pull(site: &Site, asked: &PullAsked) -> Result<Pulled> {
    let What::Named(name, _) = &asked.what else { bail!("say which profile; a machine has no generations") };
    let profile = asked.profile.clone().unwrap_or_else(|| name.clone());
    ensure!(
        site.profiles.contains_key(&profile),
        "this site has no profile {profile:?}; add one, or say --as PROFILE"
    );
    let store = Store::open(&site.server.store)?;
    let reference = reference(&site.home, &Part::Profile { name: profile.clone() })?;
    let remote = remote(&asked.server)?;
    let bar = spinner(&format!("pull {}", asked.what), asked.output.json);
    let before = store.head(&reference)?.map(|head| head.generation);
    let (index, generation) = patiently(&bar, || index(&store, &remote, &asked.what, before))?;
    let mut incoming = Incoming::open(store.path(), &mut |bytes| {
        bar.set_message(format!("looking at what has come, {}", HumanBytes(bytes)));
    })?;
    let missing = store.missing(&index, &incoming);
    let fetch = Fetch {
        remote: &remote,
        what: &asked.what,
        generation,
        index: &index,
        describes: &|_| None,
        limit: asked.limit,
        bar: &bar,
    };
    let came = fetch.all(&missing, &mut incoming)?;
    bar.set_message("putting it into the store");
    store.receive(&index, &mut incoming)?;
    let staged = Staged { generation, at: clock::since_1970().as_secs(), how: How::Staged };
    let (placed, _) = if asked.hold {
        store.stage_held(&reference, staged)?
    } else {
        store.stage_head(&reference, staged)?
    };
    let is_head = placed != Placed::Waits;
    // Only so does the other server know what is here.
    drop(remote.index(&asked.what, Some(generation)));
    Ok(Pulled {
        profile,
        what: asked.what.to_string(),
        generation,
        is_head,
        objects: came.objects,
        bytes: came.bytes,
        held: asked.hold,
    })
}

/// The generation's index: as it is here, where it is.
fn index(
    store: &Store,
    remote: &Remote,
    what: &What,
    before: Option<GenerationId>,
) -> Result<(Index, GenerationId)> {
    match remote.index(what, before.filter(|before| store.generation(*before).is_ok()))? {
        Offered::Same(generation) => Ok((store.generation(generation)?, generation)),
        Offered::Index(generation, from) => {
            let known = |id| {
                if Some(id) == before {
                    store.generation(id).map(Arc::new)
                } else {
                    Err(Error::NoGeneration(id))
                }
            };
            let index = stream::unpack(from, generation, known);
            Ok((index.with_context(|| format!("asked for {what}"))?, generation))
        }
    }
}
