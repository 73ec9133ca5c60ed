//! What is asked of the machines themselves: boots, mounts, words, releases; and what has to be true of each answer.

use super::*;

impl World {
    /// Something is asked of the machines: of one server, or of both at once, whose commits then meet.
    pub(super) async fn operate(&mut self) {
        let first = self.some_operation();
        if !self.chance.one_in(3) {
            let done = first.clone().make().await;
            self.done(&first, done).await;
            return;
        }
        let second = self.some_operation();
        let (held, pause) = (self.memory().hold().await, self.chance.below(30));
        let both = async { tokio::join!(first.clone().make(), second.clone().make()) };
        let opens = async {
            for _ in 0..pause {
                tokio::task::yield_now().await;
            }
            drop(held);
        };
        let ((one, two), ()) = tokio::join!(both, opens);
        self.observe();
        if first.number != second.number {
            self.done(&first, one).await;
            self.done(&second, two).await;
        }
    }

    pub(super) fn some_operation(&mut self) -> Operation {
        let (at, number) = (self.chance.below(2), self.chance.below(self.nics.len()));
        let nic = &self.nics[number];
        let what = match (nic.held, self.chance.below(20)) {
            (Some(_), 0..8) => What::Boot,
            (Some(_), 8..16) if nic.told.is_some() => What::Mount,
            (Some(_), 16..18) if nic.told.is_some() => What::Up,
            (_, 18) => What::Release,
            _ => What::Tick,
        };
        let operation = Operation {
            machines: self.servers[at].machines.clone(),
            what,
            number,
            mac: mac(u8::try_from(number).unwrap()),
            address: nic.held.map_or(Ipv4Addr::UNSPECIFIED, |(address, _)| address),
            told: nic.told.clone(),
        };
        if let What::Release = what {
            let is_its = |record: &&MachineRecord| record.macs.contains(&operation.mac);
            self.seen.released.extend(self.seen.machines.values().find(is_its).map(|record| record.id));
        }
        self.note(
            "asks",
            &format!("NIC {number} {what:?} at {at}, {:?}", operation.told.as_ref().map(|told| told.1)),
        );
        operation
    }

    /// What a client does with the answer, and what has to be in the state for it.
    pub(super) async fn done(&mut self, operation: &Operation, told: Option<String>) {
        let Some(told) = told else { return };
        self.observe();
        match operation.what {
            What::Boot => {
                let Some(path) = told.split_once(":/v/").map(|(_, path)| path) else { return };
                let path: String = path.chars().take_while(|c| c.is_ascii_hexdigit() || *c == '.').collect();
                let (view, boot) = path.split_once('.').unwrap();
                let (view, boot): (ViewId, BootId) = (view.parse().unwrap(), boot.parse().unwrap());
                self.note("boots", &format!("NIC {}: {boot}", operation.number));
                // One that is told again may have been let go of on the other server, of which the watch will tell.
                if !self.seen.ever[0].contains(&boot) {
                    self.fail(&format!("the boot {boot} was told, and never had a pin"));
                }
                self.nics[operation.number].told = Some((format!("/v/{path}"), boot, view));
            }
            What::Mount => {
                let boot = operation.told.as_ref().unwrap().1;
                self.note("mounts", &format!("NIC {}: {boot}", operation.number));
                if !self.seen.ever[1].contains(&boot) {
                    self.fail(&format!("the root of {boot} was mounted, and its pin never ran"));
                }
            }
            What::Up | What::Release | What::Tick => {}
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Boot,
    Mount,
    Up,
    Release,
    Tick,
}

/// Something that one server is asked.
#[derive(Clone)]
pub(super) struct Operation {
    pub(super) machines: Arc<Machines>,
    pub(super) what: What,
    pub(super) number: usize,
    pub(super) mac: Mac,
    pub(super) address: Ipv4Addr,
    pub(super) told: Option<(String, BootId, ViewId)>,
}

impl Operation {
    /// What the client is told; nothing where it is refused.
    pub(super) async fn make(self) -> Option<String> {
        let peer = SocketAddr::new(IpAddr::V4(self.address), 700);
        match (self.what, &self.told) {
            (What::Boot, _) => {
                let name = format!("boot/{}.ipxe", self.mac.dashed());
                let found = self.machines.resource(peer.ip(), &name, Some(""), Via::Http(Ask::Whole)).await;
                match found.ok().flatten()? {
                    Resource::Bytes(bytes) => String::from_utf8(bytes.to_vec()).ok(),
                    Resource::File { .. } | Resource::Joined(_) => None,
                }
            }
            (What::Mount, Some((path, ..))) => {
                self.machines.mount(peer, path.as_bytes()).await.ok().map(|_| String::new())
            }
            (What::Up, Some((_, boot, view))) => {
                self.machines.heard(&ProgressReport { peer, view: *view, text: format!("{boot}.up") }).await;
                None
            }
            (What::Release, _) => {
                self.machines.release(&self.mac.to_string()).await.ok().map(|_| String::new())
            }
            (What::Tick, _) => {
                self.machines.tick().await;
                None
            }
            _ => None,
        }
    }
}
