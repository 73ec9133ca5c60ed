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
use crate::machine::{Halt, Held, Machine};
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
/// When the machine is to be started again, or the link is gone.
pub fn take(machine: &mut Machine<'_>, link: &Link) -> Result<(), Halt> {
    machine.teller.begin(Phase::Address);
    let mut how = "leased for this boot";
    let (address, server) = match machine.settings.address.clone() {
        None => {
            how = "by DHCP";
            discover(machine, link, false)?
        }
        Some(leased) => match keep(machine, link, &leased, &Asked::first(machine)) {
            // What the site says of its router counts; where it says nothing, a relay may be the way (option 3 of its answer).
            Kept::Ours(address, server) => {
                (Address { router: leased.router.or(address.router), ..address }, Some(server))
            }
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
/// When the machine is to be started again, or the link is gone.
pub fn renew(machine: &mut Machine<'_>) -> Result<(), Halt> {
    let now = machine.kernel.now();
    let Some(held) = machine.held.clone().filter(|held| held.ask.is_some_and(|ask| ask <= now)) else {
        return Ok(());
    };
    machine.has(&held.link)?;
    let ours = machine.settings.address.is_some();
    let since = held.asks_since.unwrap_or(now);
    // From then on it is anybody's to extend (T2, §4.4.5), but where the site has said whose it is.
    let is_anybodys =
        !ours && held.end.is_some_and(|end| end.saturating_sub(now) <= lasts(&held.address) / 8);
    let asked = Asked { of: held.server, is_anybodys, since };
    let (new, server) = match keep(machine, &held.link, &held.address, &asked) {
        Kept::Ours(address, server) => (address, Some(server)),
        Kept::Lost => {
            // Whose it is now may be speaking from it, however long it takes until there is another.
            remove(machine, &held);
            discover(machine, &held.link, ours)?
        }
        Kept::Silence => match another(machine, &held, ours, since) {
            Some(found) => found,
            None => {
                let left = held.end.map_or(Duration::ZERO, |end| end.saturating_sub(now));
                let soonest = if left.is_zero() { SOONEST } else { soonest(held.address.lease) };
                let ask = Some(now + soonest.max(left / 2));
                machine.held = Some(Held { ask, asks_since: Some(since), ..held });
                return Ok(());
            }
        },
    };
    let terms = |address: &Address| (address.address, address.prefix, address.router);
    let is_as_before = machine.held.is_some() && terms(&new) == terms(&held.address);
    if !is_as_before {
        remove(machine, &held);
        configure(machine, &held.link, &new)?;
    }
    hold(machine, &held.link, new, server);
    Ok(())
}

/// Any address in the place of one that has ended. A server that has forgotten a client says nothing of what it holds (§4.3.2), so one
/// that is asked for any may answer. If none does, none gives this one to another either.
fn another(
    machine: &Machine<'_>,
    held: &Held,
    ours: bool,
    since: Duration,
) -> Option<(Address, Option<Ipv4Addr>)> {
    held.end.filter(|end| *end <= machine.kernel.now())?;
    let port = machine.kernel.open_port(&held.link.name).ok()?;
    lease(machine, &*port, ours, AGAIN, &Exchange::since(machine, since))
}

/// Takes away the address that is held. What can't be taken away stays, and the kernel speaks from the older of two.
fn remove(machine: &mut Machine<'_>, held: &Held) {
    let Address { address, prefix, .. } = held.address;
    let _ = machine.kernel.remove_address(held.link.index, address, prefix);
    machine.held = None;
}

/// How long a lease is.
fn lasts(address: &Address) -> Duration {
    Duration::from_secs(address.lease.into())
}

/// The shortest time between two questions about a lease of so many seconds.
fn soonest(lease: u32) -> Duration {
    Duration::from_secs((lease / 4).into()).clamp(SOONEST_OF_ALL, SOONEST)
}

/// Takes note of an address that was given just now; a NIC that is plugged anew asks for it, and not for what another has by now.
fn hold(machine: &mut Machine<'_>, link: &Link, address: Address, server: Option<Ipv4Addr>) {
    let now = machine.kernel.now();
    let lease = Some(lasts(&address)).filter(|_| !ENDLESS.contains(&address.lease));
    let ask = lease.map(|lease| now + soonest(address.lease).max(lease / 2));
    let end = lease.map(|lease| now + lease);
    if machine.settings.address.is_some() {
        machine.settings.address = Some(address.clone());
    }
    machine.held = Some(Held { link: link.clone(), address, server, ask, asks_since: None, end });
}

enum Kept {
    /// It is, as this server says, on these terms.
    Ours(Address, Ipv4Addr),
    Lost,
    Silence,
}

/// Of whom it is asked whether an address is still ours.
struct Asked {
    /// Who has given it, where that is known, beside the servers in the settings.
    of: Option<Ipv4Addr>,
    /// Whether anybody may say that it is. That it is not is theirs alone to say.
    is_anybodys: bool,
    /// When that was asked first.
    since: Duration,
}

impl Asked {
    fn first(machine: &Machine<'_>) -> Self {
        Self { of: None, is_anybodys: false, since: machine.kernel.now() }
    }
}

/// Asks whether an address is still ours.
fn keep(machine: &Machine<'_>, link: &Link, held: &Address, asked: &Asked) -> Kept {
    let Ok(port) = machine.kernel.open_port(&link.name) else { return Kept::Silence };
    let (question, exchange) = (Question::Keep(held.address), Exchange::since(machine, asked.since));
    for within in KEEP {
        let heard =
            ask(machine, &*port, (question, exchange.seconds(machine)), &exchange, within, |answer| {
                let is_theirs = is_ours(machine, answer.server) || asked.of == Some(answer.server);
                let extends = asked.is_anybodys && answer.kind == Kind::Ack && answer.address == held.address;
                (is_theirs || extends) && answer.kind != Kind::Offer
            });
        match heard {
            Some(answer) if answer.kind == Kind::Ack && answer.address == held.address => {
                let lease = answer.lease.unwrap_or(held.lease);
                let router = match &answer.routes {
                    Some(routes) => router(machine, routes, held.address, held.prefix).or(held.router),
                    None => held.router,
                };
                return Kept::Ours(Address { lease, router, ..held.clone() }, answer.server);
            }
            Some(_) => return Kept::Lost,
            None => {}
        }
    }
    Kept::Silence
}

/// Asks for any address until there is one. `ours` where only our own servers count.
fn discover(machine: &mut Machine<'_>, link: &Link, ours: bool) -> Result<(Address, Option<Ipv4Addr>), Halt> {
    let (mut tries, exchange) = (0, Exchange::since(machine, machine.kernel.now()));
    loop {
        let pause = machine.pause(tries);
        let begun = machine.kernel.now();
        let port = machine.kernel.open_port(&link.name);
        let found = port.map(|port| lease(machine, &*port, ours, pause, &exchange));
        tries += 1;
        match found {
            Ok(Some(found)) => return Ok(found),
            // A first DISCOVER is lost on many a switch that has just seen the link come up.
            Ok(None) if tries < 3 => {}
            Ok(None) => {
                let trouble = Trouble::NoLease { link: link.name.clone() };
                // One that offers and refuses answers at once.
                let waited = machine.kernel.now().saturating_sub(begun);
                machine.waits_over(link, &trouble, pause.saturating_sub(waited))?;
            }
            Err(errno) => {
                let trouble = Trouble::Link { link: link.name.clone(), what: "asked over by DHCP", errno };
                machine.waits_over(link, &trouble, pause)?;
            }
        }
    }
}

/// One DISCOVER, and all that may follow, which says the same of how long was waited (§3.1, 3).
fn lease(
    machine: &Machine<'_>,
    port: &dyn Port,
    ours: bool,
    within: Duration,
    exchange: &Exchange,
) -> Option<(Address, Option<Ipv4Addr>)> {
    let seconds = exchange.seconds(machine);
    let offer = ask(machine, port, (Question::Discover, seconds), exchange, within, |answer| {
        answer.kind == Kind::Offer && (!ours || is_ours(machine, answer.server))
    })?;
    let question = Question::Take(offer.address, offer.server);
    for within in TAKE {
        let heard = ask(machine, port, (question, seconds), exchange, within, |answer| {
            answer.server == offer.server && answer.kind != Kind::Offer
        });
        match heard {
            Some(answer) if answer.kind == Kind::Ack && answer.address == offer.address => {
                let prefix = answer.prefix.or(offer.prefix).unwrap_or(PREFIX);
                let routes = answer.routes.or(offer.routes).unwrap_or_default();
                let address = Address {
                    address: answer.address,
                    prefix,
                    router: router(machine, &routes, answer.address, prefix),
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
    fn since(machine: &Machine<'_>, begun: Duration) -> Self {
        // The low half of a number that nobody can guess is one that nobody can guess.
        let number = u32::try_from(machine.kernel.random() & u64::from(u32::MAX)).unwrap_or(0);
        Self { number, begun }
    }

    /// How long it takes by now.
    fn seconds(&self, machine: &Machine<'_>) -> u16 {
        let waited = machine.kernel.now().saturating_sub(self.begun);
        u16::try_from(waited.as_secs()).unwrap_or(u16::MAX)
    }
}

/// Sends a question and waits for an answer to it that is wanted.
fn ask(
    machine: &Machine<'_>,
    port: &dyn Port,
    (question, seconds): (Question, u16),
    exchange: &Exchange,
    within: Duration,
    is_wanted: impl Fn(&Answer) -> bool,
) -> Option<Answer> {
    let kernel = machine.kernel;
    let (mac, begun, number) = (machine.settings.mac, kernel.now(), exchange.number);
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

/// The router of those ways on the way to the root, for who has this address.
fn router(machine: &Machine<'_>, routes: &[wire::Route], address: Ipv4Addr, prefix: u8) -> Option<Ipv4Addr> {
    wire::router(routes, root_server(machine).filter(|root| !is_one_network(*root, address, prefix)))
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

fn configure(machine: &mut Machine<'_>, link: &Link, address: &Address) -> Result<(), Halt> {
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

/// Does something to the link until it succeeds, or that is gone.
fn tried(
    machine: &mut Machine<'_>,
    link: &Link,
    what: &'static str,
    act: &dyn Fn(&dyn Kernel) -> crate::kernel::Result<()>,
) -> Result<(), Halt> {
    let mut tries = 0;
    while let Err(errno) = act(machine.kernel) {
        let trouble = Trouble::Link { link: link.name.clone(), what, errno };
        let pause = machine.pause(tries);
        machine.waits_over(link, &trouble, pause)?;
        tries += 1;
    }
    Ok(())
}
