//! Keeps sockets on the interfaces that they belong to, by name, whatever becomes of these.
//!
//! A socket that is bound to an interface is bound to its number, and is deaf for ever once that is gone. It is bound anew
//! here when an interface has the name again: the same socket, so its port is never free for somebody else meanwhile, no
//! task has to be told, and nothing is opened.
//!
//! After the start this needs CAP_NET_RAW, for `SO_BINDTODEVICE` of a socket that has an interface already (socket(7));
//! `setsockopt` for that and for IPv6 groups; and `sendto` and `recvfrom` on two NETLINK_ROUTE sockets, which
//! are open by then.
//!
//! What the kernel says is taken as a hint that something is different, and everything is looked at again: an event that
//! was lost, or a message of a shape that nobody knows, costs nothing.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use oneroot_bootconf::Site;
use rustix::io::Errno;
use socket2::Socket;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::interfaces::{Interfaces, Seen, Trouble, via};
use super::routing::{Link, Routing};
use super::{OR_WAIT, link, netlink, no_address};

/// A bridge that is deleted, or made again, goes and comes in several steps. They are looked at together, and said as one.
const SETTLED: Duration = Duration::from_millis(200);
/// Where links come and go without end they are looked at all the same.
const AT_LAST: Duration = Duration::from_secs(1);
/// When to try again what could not be done.
const AGAIN: Duration = Duration::from_secs(1);
/// The last number that an interface can have: from here down none has one, for the kernel counts them up from 1. Sockets wait
/// there for their own, and hear nothing. Not on the loopback behind a filter: newer kernels let TCP sockets have one with
/// CAP_NET_ADMIN alone.
const NOWHERE: NonZeroU32 = NonZeroU32::new(i32::MAX.unsigned_abs()).unwrap();

/// A socket that belongs to an interface.
struct KeptSocket {
    interface: String,
    /// The same socket as its user has; both have to let go of it before it is closed.
    socket: Socket,
    /// A group that it hears there.
    group: Option<Ipv6Addr>,
}

impl KeptSocket {
    /// Binds it to its interface, and lets it hear.
    fn attach(&self, index: u32) -> io::Result<()> {
        self.socket.bind_device(Some(self.interface.as_bytes()))?;
        // Without IPv6 there is no group to join, and when the interface is only up again it is joined already.
        if let Some(Err(cause)) = self.group.map(|group| self.socket.join_multicast_v6(&group, index))
            && Errno::from_io_error(&cause) != Some(Errno::ADDRINUSE)
        {
            tracing::debug!(interface = self.interface, %cause, "did not join an IPv6 group");
        }
        Ok(())
    }

    /// Lets it hear nothing: its interface is not there, and its number may soon be another's.
    fn park(&self) -> io::Result<()> {
        // A place for each: on one and the same, two sockets could not have the same port.
        let own = NOWHERE.get().saturating_sub(self.socket.as_raw_fd().unsigned_abs());
        // The same option for both families on Linux (SO_BINDTOIFINDEX), which does not ask whether there is one.
        self.socket.bind_device_by_index_v6(NonZeroU32::new(own))
    }
}

/// Watches interfaces and addresses, and keeps sockets where they belong.
pub struct Keeper {
    routing: Routing,
    news: AsyncFd<Socket>,
    interfaces: Arc<Interfaces>,
    held: Mutex<Vec<KeptSocket>>,
    said: Mutex<Announced>,
}

impl Keeper {
    /// Looks at the site's interfaces, which all have to be there unless the site waits for them. No privilege is needed.
    pub fn open(site: &Site) -> Result<Self> {
        let no_netlink = "cannot ask the kernel for interfaces (NETLINK_ROUTE)";
        let keeper = Self {
            // What changes after this is heard, so what is looked at below can't be out of date for long.
            news: link::registered(netlink::news().context(no_netlink)?)?,
            routing: Routing::open().context(no_netlink)?,
            interfaces: Arc::default(),
            held: Mutex::default(),
            said: Mutex::default(),
        };
        keeper.look(site).context(no_netlink)?;
        for name in &site.server.interfaces {
            match keeper.interfaces.trouble(name) {
                Some(Trouble::NotThere) if !site.server.wait_for_interfaces => bail!(
                    "no interface {name}; see `ip link`, or say `wait_for_interfaces = true` in [server] if it comes later"
                ),
                Some(Trouble::NotEthernet) => bail!("{name} is not an Ethernet interface"),
                _ => {}
            }
        }
        let missing = keeper.interfaces.missing(site);
        if let Some(missing) = missing.into_iter().find(|address| !site.starts_without(*address)) {
            bail!("{}; {OR_WAIT}", no_address(site, missing, &keeper.interfaces.host()));
        }
        Ok(keeper)
    }

    /// What is known of the interfaces, now and later.
    pub fn interfaces(&self) -> Arc<Interfaces> {
        self.interfaces.clone()
    }

    /// Binds a socket to an interface from now on, before it is bound to a port. While there is no such interface it hears
    /// nothing. `group` is one that it is to hear there.
    pub fn hold(&self, interface: &str, socket: &Socket, group: Option<Ipv6Addr>) -> io::Result<()> {
        let held = KeptSocket { interface: interface.to_owned(), socket: socket.try_clone()?, group };
        match &self.interfaces.seen(interface).link {
            Some(link) => held.attach(link.index)?,
            None => held.park()?,
        }
        lock(&self.held).push(held);
        Ok(())
    }

    /// Watches for ever.
    pub async fn watch(self, mut sites: watch::Receiver<Arc<Site>>) {
        let mut failed = false;
        loop {
            let site = sites.borrow_and_update().clone();
            let unbound =
                site.server.interfaces.iter().any(|name| self.interfaces.seen(name).unbound.is_some());
            tokio::select! {
                () = self.hear() => {}
                Ok(()) = sites.changed() => {}
                () = sleep(AGAIN), if failed || unbound => {}
            }
            let site = sites.borrow_and_update().clone();
            let looked = self.look(&site);
            if let Err(cause) = &looked {
                tracing::debug!(%cause, "the interfaces could not be looked at");
            }
            failed = looked.is_err();
            lock(&self.said).tell(&self.interfaces, &site);
        }
    }

    /// Says what hinders the interfaces when service begins.
    pub fn tell(&self, site: &Site) {
        lock(&self.said).tell(&self.interfaces, site);
    }

    /// Waits until something has changed, and then until it has settled.
    async fn hear(&self) {
        self.message().await;
        let quiet = async { while timeout(SETTLED, self.message()).await.is_ok() {} };
        let _ = timeout(AT_LAST, quiet).await;
    }

    /// Waits for one message of the kernel's. That some were lost is a message too.
    async fn message(&self) {
        let heard =
            self.news.async_io(Interest::READABLE, |socket| netlink::receive(socket.as_fd()).map(drop)).await;
        match heard {
            Err(cause) if Errno::from_io_error(&cause) != Some(Errno::NOBUFS) => {
                tracing::debug!(%cause, "news of interfaces");
                sleep(AGAIN).await;
            }
            _ => {}
        }
    }

    /// Looks at everything, and binds what is not where it belongs.
    fn look(&self, site: &Site) -> io::Result<()> {
        let addresses = self.routing.addresses()?;
        for name in &site.server.interfaces {
            let link = self.routing.named(name)?;
            let before = self.interfaces.seen(name);
            let unbound = self.bind(name, &before, link.as_ref()).err().map(|cause| cause.to_string());
            let index = link.as_ref().map(|link| link.index);
            let own: Vec<_> =
                addresses.iter().filter(|one| Some(one.index) == index).map(|one| one.address).collect();
            let via = link.as_ref().map_or_else(Vec::new, |_| via(name, &own, site));
            self.interfaces.put(name, Seen { addresses: own, link, via, unbound });
        }
        self.interfaces.put_host(addresses);
        Ok(())
    }

    /// Binds an interface's sockets anew where that is needed.
    fn bind(&self, name: &str, before: &Seen, now: Option<&Link>) -> io::Result<()> {
        let same = |link: &Link| (link.index, link.up);
        if before.unbound.is_none() && before.link.as_ref().map(same) == now.map(same) {
            return Ok(());
        }
        let mut result = Ok(());
        for held in lock(&self.held).iter().filter(|held| held.interface == name) {
            let bound = now.map_or_else(|| held.park(), |link| held.attach(link.index));
            result = result.and(bound);
        }
        result
    }
}

/// What was said of interfaces and addresses: each thing is said once.
#[derive(Default)]
struct Announced {
    /// Those that have served, for which to come is to come back.
    served: HashSet<String>,
    /// Those that have never had an address in a network of the site while they were there: only relays' messages come.
    relays: HashSet<String>,
    troubles: HashMap<String, Trouble>,
    missing: HashSet<IpAddr>,
}

impl Announced {
    fn tell(&mut self, interfaces: &Interfaces, site: &Site) {
        for name in &site.server.interfaces {
            // An interface to which nothing is connected is as good as any: a bridge whose first machine is yet to come.
            let trouble = interfaces.trouble(name).filter(|trouble| *trouble > Trouble::NoCarrier);
            self.interface(name, trouble);
        }
        let missing = interfaces.missing(site);
        for address in site.server_addresses() {
            let is_missing = missing.contains(&address);
            if is_missing && self.missing.insert(address) {
                tracing::warn!(
                    "{address} is not an address of this host: TFTP, HTTP and NFS can't be reached there"
                );
            } else if !is_missing && self.missing.remove(&address) {
                tracing::info!(
                    "{address} is an address of this host: TFTP, HTTP and NFS can be reached there"
                );
            }
        }
    }

    fn interface(&mut self, interface: &str, trouble: Option<Trouble>) {
        match self.news(interface, trouble) {
            Some(News::Gone) => {
                tracing::warn!(
                    interface,
                    "{interface} is gone: no machine is answered there until it is back"
                );
            }
            Some(News::Hindered(trouble)) => tracing::warn!(interface, "{interface} {trouble}"),
            Some(News::Serves(word)) => {
                tracing::info!(interface, "{interface} is {word}: machines are answered there");
            }
            Some(News::Relays) => {
                tracing::info!(
                    interface,
                    "{interface} is back, without an address in a network of the site, as before"
                );
            }
            None => {}
        }
    }

    /// Only what is worse than what was said: an interface that is made again is there first, then has an address, and is up
    /// last, and nobody needs to read of each step. One that never had an address is back without one.
    fn news(&mut self, interface: &str, trouble: Option<Trouble>) -> Option<News> {
        let said = self.troubles.get(interface);
        match trouble {
            None if said.is_none() => {
                self.served.insert(interface.to_owned());
                None
            }
            None => {
                self.troubles.remove(interface);
                self.relays.remove(interface);
                let first = self.served.insert(interface.to_owned());
                Some(News::Serves(if first { "there" } else { "back" }))
            }
            Some(trouble) if said.is_none_or(|said| *said < trouble) => {
                let known = self.served.contains(interface) || self.relays.contains(interface);
                if trouble == Trouble::NoAddress && !self.served.contains(interface) {
                    self.relays.insert(interface.to_owned());
                }
                self.troubles.insert(interface.to_owned(), trouble.clone());
                let gone = trouble == Trouble::NotThere && known;
                Some(if gone { News::Gone } else { News::Hindered(trouble) })
            }
            Some(Trouble::NoAddress)
                if said != Some(&Trouble::NoAddress) && self.relays.contains(interface) =>
            {
                self.troubles.insert(interface.to_owned(), Trouble::NoAddress);
                Some(News::Relays)
            }
            Some(_) => None,
        }
    }
}

/// What is new of an interface.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Gone,
    Hindered(Trouble),
    /// It is there, or back.
    Serves(&'static str),
    /// It is back without an address, which it never had.
    Relays,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(said: &mut Announced, troubles: impl IntoIterator<Item = Option<Trouble>>) -> Vec<News> {
        troubles.into_iter().filter_map(|trouble| said.news("br0", trouble)).collect()
    }

    #[test]
    fn an_interface_that_never_had_an_address_is_said_to_be_back_without_one() {
        let mut said = Announced::default();
        let (none, gone) = (Some(Trouble::NoAddress), Some(Trouble::NotThere));
        let first = told(&mut said, [none.clone(), none.clone()]);
        assert_eq!(first, [News::Hindered(Trouble::NoAddress)]);
        for _ in 0..2 {
            let again = told(&mut said, [gone.clone(), gone.clone(), none.clone(), none.clone()]);
            assert_eq!(again, [News::Gone, News::Relays]);
        }
    }

    #[test]
    fn an_interface_that_has_served_is_back_when_it_has_its_address() {
        let mut said = Announced::default();
        let steps = [None, Some(Trouble::NotThere), Some(Trouble::Down), Some(Trouble::NoAddress), None];
        assert_eq!(told(&mut said, steps), [News::Gone, News::Serves("back")]);
    }

    #[test]
    fn an_interface_that_comes_late_is_there() {
        let mut said = Announced::default();
        let steps = [Some(Trouble::NotThere), Some(Trouble::NoAddress), None];
        assert_eq!(told(&mut said, steps), [News::Hindered(Trouble::NotThere), News::Serves("there")]);
    }
}
