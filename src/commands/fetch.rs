//! What `sync` and `pull` have in common: a server that is asked, and contents that come as one stream, and as another one where
//! that is cut off.

use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use indicatif::{HumanBytes, HumanDuration, ProgressBar};
use oneroot_ids::{GenerationId, ObjectId};
use oneroot_machines::sync::What;
use oneroot_tree::Index;
use oneroot_tree::objects::ObjectSet;
use oneroot_tree::replica::{Describes, Incoming, objects};
use oneroot_tree::wants::Wants;

use super::patience::Patience;
use super::progress::expect;
use crate::cli::sync::{From, Rate};
use crate::print;
use crate::remote::Remote;
use crate::tls::Trust;

/// Bytes after which it is told how far it is.
const TOLD: u64 = 1 << 20;

/// The server that was asked for, with the token that is told for it.
pub fn remote(server: &From) -> Result<Remote> {
    let address = server.from.clone().context("say which server: --from http://SERVER[:PORT]")?;
    let token = match &server.token_file {
        Some(path) => {
            let is_open = std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0);
            if is_open {
                let path = path.display();
                print::trouble(format_args!(
                    "oneroot: {path} is readable by others; chmod 600 {path}, and make a new token"
                ));
            }
            let text = std::fs::read_to_string(path);
            Some(text.with_context(|| format!("cannot read {}", path.display()))?)
        }
        None => std::env::var("ONEROOT_TOKEN").ok(),
    };
    let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
    ensure!(
        server.fingerprint.is_none() || address.secured,
        "--fingerprint is for an https:// URL: nothing that {address} says is sealed"
    );
    Remote::new(address, token, server.fingerprint.map_or(Trust::System, Trust::Pinned))
}

/// A tree whose contents are to come.
pub struct Fetch<'f> {
    /// From where.
    pub remote: &'f Remote,
    /// As it is asked for.
    pub what: &'f What,
    /// Which one it is.
    pub generation: GenerationId,
    /// Its index as the server has it.
    pub index: &'f Index,
    /// What is described as soon as it has come.
    pub describes: Describes<'f>,
    /// Bytes a second at most.
    pub limit: Option<Rate>,
    /// Where it is shown.
    pub bar: &'f ProgressBar,
}

/// What has come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Came {
    /// Contents.
    pub objects: u64,
    /// Bytes on the wire, those of what was cut off too.
    pub bytes: u64,
}

impl Fetch<'_> {
    /// Has all of these come, which are in the order of the index.
    pub fn all(&self, missing: &[(ObjectId, u64)], incoming: &mut Incoming) -> Result<Came> {
        let mut missing = missing.to_vec();
        // Sizes are another host's word.
        let total = missing.iter().fold(0u64, |total, (_, size)| total.saturating_add(*size));
        expect(self.bar, total);
        let (mut came, mut patience) = (Came::default(), Patience::default());
        while let Some((first, size)) = missing.first() {
            let (before, had) = (missing.len(), incoming.begun(*first, *size));
            let came_before = came.bytes;
            let streamed = self.stream(&missing, incoming, &mut |bytes| {
                came.bytes += bytes;
                self.bar.inc(bytes);
                let (has, left) = (HumanBytes(self.bar.position()), HumanDuration(self.bar.eta()));
                self.bar.set_message(format!("{has} of {}, {left} left", HumanBytes(total)));
            });
            // Others than the first may have come whole before one that was cut off: they are written side by side.
            missing.retain(|(object, _)| !incoming.has(*object));
            came.objects += (before - missing.len()) as u64;
            let Err(cause) = streamed else { continue };
            let has = missing.first().map_or(0, |(object, size)| incoming.begun(*object, *size));
            if missing.len() < before || has > had {
                patience.has_come(came.bytes - came_before);
            }
            patience.wait(cause, self.bar)?;
        }
        Ok(came)
    }

    fn stream(
        &self,
        missing: &[(ObjectId, u64)],
        incoming: &mut Incoming,
        report: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let wanted: ObjectSet = missing.iter().map(|(object, _)| *object).collect();
        let begun = missing.first().map_or(0, |(first, size)| incoming.begun(*first, *size));
        let all = objects(self.index).map(|(object, _)| object);
        let wants = Wants::of(all, begun, |object| wanted.contains(&object));
        let from = self.remote.objects(self.what, self.generation, &wants)?;
        let mut from = Measured { from, limit: self.limit, since: Instant::now(), bytes: 0, told: 0, report };
        let received = incoming.receive_all(missing, self.describes, &mut from);
        from.tell();
        Ok(received?)
    }
}

/// A stream of which is known how much has come, and that comes no faster than it may.
struct Measured<'r, R> {
    from: R,
    limit: Option<Rate>,
    since: Instant,
    bytes: u64,
    told: u64,
    report: &'r mut dyn FnMut(u64),
}

impl<R> Measured<'_, R> {
    fn tell(&mut self) {
        (self.report)(self.bytes - self.told);
        self.told = self.bytes;
    }
}

impl<R: Read> Read for Measured<'_, R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        // A tenth of a second at a time at most, so that it flows.
        let tenth = |Rate(rate)| usize::try_from(rate / 10).unwrap_or(usize::MAX).max(1);
        let length = to.len().min(self.limit.map_or(usize::MAX, tenth));
        let count = self.from.read(to.get_mut(..length).unwrap_or_default())?;
        self.bytes += count as u64;
        if self.bytes - self.told >= TOLD {
            self.tell();
        }
        if let Some(Rate(rate)) = self.limit {
            std::thread::sleep(due(self.bytes, rate).saturating_sub(self.since.elapsed()));
        }
        Ok(count)
    }
}

/// When so many bytes may have come, at so many a second.
fn due(bytes: u64, rate: u64) -> Duration {
    let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_holds_for_as_much_as_ever_comes() {
        for seconds in [1, 60, 1 << 20] {
            assert_eq!(due(seconds * (20 << 20), 20 << 20), Duration::from_secs(seconds));
        }
        assert_eq!(due(1, 4), Duration::from_millis(250));
    }
}
