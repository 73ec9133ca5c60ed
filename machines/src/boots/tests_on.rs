//! Two servers' machines on one state in memory, for tests.

use std::net::IpAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use oneroot_ids::Mac;
use oneroot_state::{Backend as _, Event, Memory, State, Watch};
use oneroot_tree::Store;

use crate::boots::unknown::tests::{mac, site};
use crate::guest;
use crate::host::still::{NOW, Still};
use crate::machines::Machines;
use crate::planner::Planner;
use crate::planner::renderer::Here;

/// Has somebody else do something in the midst of what is under way here, unless that holds them up: then they do it later.
pub fn meanwhile(act: impl FnOnce() + Send + 'static) {
    let (other, begun) = (std::thread::spawn(act), Instant::now());
    while !other.is_finished() && begun.elapsed() < Duration::from_millis(300) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// One of them, and a NIC that both know at its address.
pub struct Server {
    pub machines: Arc<Machines>,
    pub mac: Mac,
    pub clock: Arc<Still>,
    watch: Watch,
}

impl Server {
    /// Takes in all that the watch has to tell by now; how often that was everything anew.
    pub fn hear(&mut self) -> usize {
        let mut snapshots = 0;
        loop {
            // Tokio's budget would let a watch that has news look empty after a number of polls.
            let next = pin!(tokio::task::unconstrained(self.watch.next()));
            let Poll::Ready(event) = next.poll(&mut Context::from_waker(Waker::noop())) else {
                return snapshots;
            };
            let event = event.unwrap();
            snapshots += usize::from(matches!(event, Event::Snapshot(_)));
            self.machines.state_changed(event);
        }
    }

    pub fn memory(&self) -> &Memory {
        match self.machines.state.as_ref() {
            State::Memory(memory) => memory,
            State::Disk(_) => panic!("a disk"),
        }
    }
}

pub async fn two(home: &Path) -> ([Server; 2], IpAddr) {
    let (site, state) = (site(home, true), Arc::new(State::from(Memory::default())));
    let (mac, peer) = (mac(7), IpAddr::from([10, 0, 0, 10]));
    let server = async || {
        let store = Store::open(&site.server.store).unwrap();
        let guest = guest::stage(&store, NOW).unwrap();
        let planner = Planner::new(store, guest, Arc::new(Here));
        let clock = Still::new();
        let opened = Machines::open(
            site.clone(),
            state.clone(),
            clock.clone(),
            planner,
            crate::HandleKeys::of([7; 32]),
        );
        let machines = opened.await.unwrap();
        machines.leased(peer, mac);
        let mut server = Server { machines, mac, clock, watch: state.watch("").await.unwrap() };
        server.hear();
        server
    };
    ([server().await, server().await], peer)
}
