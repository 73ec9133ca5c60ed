//! The machine's address. The one that was leased for this boot is in the settings; whether it is still ours is asked, for a boot
//! may have waited long, and that renews the lease. Where there is none, or it is another's by now, DHCP gives one.
//!
//! Where the settings name an address, only the servers in them are listened to: another that answers is none of ours. A server
//! that says nothing does not stop a boot whose address was leased a minute ago. A machine that waits for its root longer than half
//! of its lease asks again, for what nobody renews is another's some day (RFC 2131 §4.4.5).

pub mod wire;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use oneroot_initrd::report::Phase;
use oneroot_initrd::settings::Address;

use crate::kernel::{Kernel, Link, Port};
use crate::machine::{Held, Machine, Over};
use crate::trouble::Trouble;
use wire::{Answer, Kind, Question};

/// How long a server may think over whether an address is still ours, each time that it is asked.
const KEEP: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// How long it may take over an address that it has offered.
const TAKE: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// The shortest time between two questions whether an address is still ours (RFC 2131 §4.4.5); and the same for a lease so short that it
/// would be over by then.
const SOONEST: Duration = Duration::from_secs(60);
const SOONEST_OF_ALL: Duration = Duration::from_secs(10);
/// How long anybody may take to offer an address in the place of one that has ended.
const AGAIN: Duration = Duration::from_secs(3);
/// A lease that never ends, as DHCP writes it; and one that says nothing of its end.
const ENDLESS: [u32; 2] = [u32::MAX, 0];
/// Datagrams that are read while one answer is waited for: more are somebody's flood.
const MOST: usize = 256;
/// A network whose server says nothing of its size.
const PREFIX: u8 = 24;

/// Gives the link its address.
///
/// # Errors
/// When the machine is to be started again.
pub fn take(machine: &mut Machine<'_>, link: &Link) -> Result<(), Over> {
    machine.teller.begin(Phase::Address);
    let mut how = "leased for this boot";
    let (address, server) = match machine.settings.address.clone() {
        None => {
            how = "by DHCP";
            discover(machine, link, false)?
        }
        Some(leased) => match keep(machine, link, &leased, None) {
            Kept::Ours(address, server) => (address, Some(server)),
            Kept::Silence => {
                how = "leased for this boot; its server did not answer";
                (leased, None)
            }
            Kept::Lost => {
                how = "by DHCP, for the leased one is another's";
                discover(machine, link, true)?
            }
        },
    };
    configure(machine, link, &address)?;
    machine.gets_on();
    let router = address.router.map(|router| format!(", router {router}")).unwrap_or_default();
    machine.teller.done(&format!("{}/{}{router}, {how}", address.address, address.prefix));
    hold(machine, link, address, server);
    Ok(())
}

/// Asks whether the address is still ours, where that is due; and takes another where it is not.
///
/// # Errors
/// When the machine is to be started again.
pub fn renew(machine: &mut Machine<'_>) -> Result<(), Over> {
    let now = machine.kernel.now();
    let Some(held) = machine.held.clone().filter(|held| held.ask.is_some_and(|ask| ask <= now)) else {
        return Ok(());
    };
    let Held { link, address, server, end, .. } = held;
    let ours = machine.settings.address.is_some();
    let (new, server) = match keep(machine, &link, &address, server) {
        Kept::Ours(address, server) => (address, Some(server)),
        Kept::Lost => discover(machine, &link, ours)?,
        Kept::Silence => {
            // A server that has forgotten a client says nothing of what it holds (§4.3.2), so one that is asked for any address may
            // answer. If none does, none gives this one to another either.
            let port =
                machine.kernel.open_port(&link.name).ok().filter(|_| end.is_some_and(|end| end <= now));
            match port.and_then(|port| lease(machine, &*port, ours, AGAIN, &Exchange::new(machine))) {
                Some(found) => found,
                None => {
                    let left = end.map_or(Duration::ZERO, |end| end.saturating_sub(now));
                    let soonest = if left.is_zero() { SOONEST } else { soonest(address.lease) };
                    let ask = Some(now + soonest.max(left / 2));
                    machine.held = Some(Held { link, address, server, ask, end });
                    return Ok(());
                }
            }
        }
    };
    if (new.address, new.prefix) != (address.address, address.prefix) {
        // What can't be taken away stays, and the kernel speaks from the older of two.
        let _ = machine.kernel.remove_address(link.index, address.address, address.prefix);
        configure(machine, &link, &new)?;
    }
    hold(machine, &link, new, server);
    Ok(())
}

/// The shortest time between two questions about a lease of so many seconds.
fn soonest(lease: u32) -> Duration {
    Duration::from_secs((lease / 4).into()).clamp(SOONEST_OF_ALL, SOONEST)
}

/// Takes note of an address that was given just now.
fn hold(machine: &mut Machine<'_>, link: &Link, address: Address, server: Option<Ipv4Addr>) {
    let now = machine.kernel.now();
    let lease = Some(address.lease).filter(|lease| !ENDLESS.contains(lease));
    let lease = lease.map(|seconds| Duration::from_secs(seconds.into()));
    let ask = lease.map(|lease| now + soonest(address.lease).max(lease / 2));
    machine.held =
        Some(Held { link: link.clone(), address, server, ask, end: lease.map(|lease| now + lease) });
}

enum Kept {
    /// It is, as this server says, on these terms.
    Ours(Address, Ipv4Addr),
    Lost,
    Silence,
}

/// Asks whether an address is still ours: of who has given it, where that is known, else of the servers in the settings.
fn keep(machine: &Machine<'_>, link: &Link, held: &Address, server: Option<Ipv4Addr>) -> Kept {
    let Ok(port) = machine.kernel.open_port(&link.name) else { return Kept::Silence };
    let (question, exchange) = (Question::Keep(held.address), Exchange::new(machine));
    for within in KEEP {
        let heard = ask(machine, &*port, (question, &exchange), within, |answer| {
            let is_asked = is_ours(machine, answer.server) || server == Some(answer.server);
            is_asked && answer.kind != Kind::Offer
        });
        match heard {
            Some(answer) if answer.kind == Kind::Ack && answer.address == held.address => {
                let lease = answer.lease.unwrap_or(held.lease);
                return Kept::Ours(Address { lease, ..held.clone() }, answer.server);
            }
            Some(_) => return Kept::Lost,
            None => {}
        }
    }
    Kept::Silence
}

/// Asks for any address until there is one. `ours` where only our own servers count.
fn discover(machine: &mut Machine<'_>, link: &Link, ours: bool) -> Result<(Address, Option<Ipv4Addr>), Over> {
    let (mut tries, exchange) = (0, Exchange::new(machine));
    loop {
        let pause = machine.pause(tries);
        let port = machine.kernel.open_port(&link.name);
        let found = port.map(|port| lease(machine, &*port, ours, pause, &exchange));
        tries += 1;
        match found {
            Ok(Some(found)) => return Ok(found),
            // A first DISCOVER is lost on many a switch that has just seen the link come up.
            Ok(None) if tries < 3 => {}
            Ok(None) => {
                let trouble = Trouble::NoLease { link: link.name.clone() };
                machine.waits(&trouble, Duration::ZERO)?;
            }
            Err(errno) => {
                let trouble = Trouble::Link { link: link.name.clone(), what: "asked over by DHCP", errno };
                machine.waits(&trouble, pause)?;
            }
        }
    }
}

/// One DISCOVER, and all that may follow.
fn lease(
    machine: &Machine<'_>,
    port: &dyn Port,
    ours: bool,
    within: Duration,
    exchange: &Exchange,
) -> Option<(Address, Option<Ipv4Addr>)> {
    let offer = ask(machine, port, (Question::Discover, exchange), within, |answer| {
        answer.kind == Kind::Offer && (!ours || is_ours(machine, answer.server))
    })?;
    let question = Question::Take(offer.address, offer.server);
    for within in TAKE {
        let heard = ask(machine, port, (question, exchange), within, |answer| {
            answer.server == offer.server && answer.kind != Kind::Offer
        });
        match heard {
            Some(answer) if answer.kind == Kind::Ack && answer.address == offer.address => {
                let prefix = answer.prefix.or(offer.prefix).unwrap_or(PREFIX);
                let routes = answer.routes.or(offer.routes).unwrap_or_default();
                let far = root_server(machine).filter(|root| !is_one_network(*root, answer.address, prefix));
                let address = Address {
                    address: answer.address,
                    prefix,
                    router: wire::router(&routes, far),
                    mtu: answer.mtu,
                    lease: answer.lease.unwrap_or(0),
                };
                return Some((address, Some(answer.server)));
            }
            Some(_) => return None,
            None => {}
        }
    }
    None
}

/// Questions about one thing, which have one number: an answer to the first is one to the second, too.
struct Exchange {
    number: u32,
    /// When the first was asked. Who helps another server out looks at how long a client has waited, as relays do.
    begun: Duration,
}

impl Exchange {
    fn new(machine: &Machine<'_>) -> Self {
        // The low half of a number that nobody can guess is one that nobody can guess.
        let number = u32::try_from(machine.kernel.random() & u64::from(u32::MAX)).unwrap_or(0);
        Self { number, begun: machine.kernel.now() }
    }
}

/// Sends a question and waits for an answer to it that is wanted.
fn ask(
    machine: &Machine<'_>,
    port: &dyn Port,
    (question, exchange): (Question, &Exchange),
    within: Duration,
    is_wanted: impl Fn(&Answer) -> bool,
) -> Option<Answer> {
    let kernel = machine.kernel;
    let (mac, begun, number) = (machine.settings.mac, kernel.now(), exchange.number);
    let seconds = u16::try_from(begun.saturating_sub(exchange.begun).as_secs()).unwrap_or(u16::MAX);
    // A datagram that is not sent is one that is lost.
    let _ = port.send(&wire::question(question, number, mac, seconds));
    for _ in 0..MOST {
        let left = within.checked_sub(kernel.now().saturating_sub(begun)).filter(|left| !left.is_zero())?;
        let answer = port.receive(left).and_then(|bytes| wire::answer(&bytes, number, mac));
        if let Some(answer) = answer.filter(&is_wanted) {
            return Some(answer);
        }
    }
    None
}

/// Whom the root is asked of first: the link has one router, and that is the one on the way there.
fn root_server(machine: &Machine<'_>) -> Option<Ipv4Addr> {
    machine.settings.servers.iter().find_map(|known| match known.address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })
}

fn is_one_network(one: Ipv4Addr, other: Ipv4Addr, prefix: u8) -> bool {
    (u32::from(one) ^ u32::from(other)) & wire::mask(prefix) == 0
}

/// Whether it is one of the servers in the settings.
fn is_ours(machine: &Machine<'_>, server: Ipv4Addr) -> bool {
    machine.settings.servers.iter().any(|known| known.address == IpAddr::V4(server))
}

fn configure(machine: &mut Machine<'_>, link: &Link, address: &Address) -> Result<(), Over> {
    // The site's is what its network has; one that DHCP offers is any server's word. The link may carry neither.
    let (mtu, what) = match machine.settings.mtu {
        Some(mtu) => (Some(mtu), "given its MTU"),
        None => (address.mtu, "given the MTU that DHCP offers"),
    };
    if let Some(Err(errno)) = mtu.map(|mtu| machine.kernel.set_mtu(link.index, mtu)) {
        machine.teller.note(&Trouble::Link { link: link.name.clone(), what, errno });
    }
    tried(machine, link, "given its address", &|kernel| {
        kernel.add_address(link.index, address.address, address.prefix)
    })?;
    // From here on it can tell what is wrong.
    machine.teller.connected();
    let Some(router) = address.router else { return Ok(()) };
    let is_near = |other| is_one_network(other, address.address, address.prefix);
    let (what, on_link) = ("given its router", !is_near(router));
    match machine.kernel.add_router(link.index, router, on_link) {
        Ok(()) => Ok(()),
        // A root that is on the link needs none.
        Err(errno) if root_server(machine).is_some_and(is_near) => {
            machine.teller.note(&Trouble::Link { link: link.name.clone(), what, errno });
            Ok(())
        }
        Err(_) => tried(machine, link, what, &|kernel| kernel.add_router(link.index, router, on_link)),
    }
}

/// Does something to the link until it succeeds.
fn tried(
    machine: &mut Machine<'_>,
    link: &Link,
    what: &'static str,
    act: &dyn Fn(&dyn Kernel) -> crate::kernel::Result<()>,
) -> Result<(), Over> {
    let mut tries = 0;
    while let Err(errno) = act(machine.kernel) {
        let trouble = Trouble::Link { link: link.name.clone(), what, errno };
        let pause = machine.pause(tries);
        machine.waits(&trouble, pause)?;
        tries += 1;
    }
    Ok(())
}
