//! The machine's address. The one that was leased for this boot is in the settings; whether it is still ours is asked, for a boot
//! may have waited long, and that renews the lease. Where there is none, or it is another's by now, DHCP gives one.
//!
//! Where the settings name an address, only the servers in them are listened to: another that answers is none of ours. A server
//! that says nothing does not stop a boot whose address was leased a minute ago.

pub mod wire;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use oneroot_initrd::report::Phase;
use oneroot_initrd::settings::Address;

use crate::kernel::{Kernel, Link, Port};
use crate::machine::{Machine, Over};
use crate::trouble::Trouble;
use wire::{Answer, Kind, Question};

/// How long a server may think over whether an address is still ours, each time that it is asked.
const KEEP: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
/// How long it may take over an address that it has offered.
const TAKE: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
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
    let address = match machine.settings.address.clone() {
        None => {
            how = "by DHCP";
            discover(machine, link, false)?
        }
        Some(leased) => match keep(machine, link, &leased) {
            Kept::Ours => leased,
            Kept::Silence => {
                how = "leased for this boot; its server did not answer";
                leased
            }
            Kept::Lost => {
                how = "by DHCP, for the leased one is another's";
                discover(machine, link, true)?
            }
        },
    };
    configure(machine, link, &address)?;
    machine.gets_on();
    machine.teller.connected();
    let router = address.router.map(|router| format!(", router {router}")).unwrap_or_default();
    machine.teller.done(&format!("{}/{}{router}, {how}", address.address, address.prefix));
    Ok(())
}

enum Kept {
    Ours,
    Lost,
    Silence,
}

/// Asks whether the leased address is still ours.
fn keep(machine: &Machine<'_>, link: &Link, leased: &Address) -> Kept {
    let Ok(port) = machine.kernel.open_port(&link.name) else { return Kept::Silence };
    let question = Question::Keep(leased.address);
    for within in KEEP {
        let heard = ask(machine, &*port, question, within, |answer| {
            is_ours(machine, answer.server) && answer.kind != Kind::Offer
        });
        match heard {
            Some(answer) if answer.kind == Kind::Ack && answer.address == leased.address => {
                return Kept::Ours;
            }
            Some(_) => return Kept::Lost,
            None => {}
        }
    }
    Kept::Silence
}

/// Asks for any address until there is one. `ours` where only our own servers count.
fn discover(machine: &mut Machine<'_>, link: &Link, ours: bool) -> Result<Address, Over> {
    let mut tries = 0;
    loop {
        let pause = machine.pause(tries);
        let found = machine.kernel.open_port(&link.name).map(|port| lease(machine, &*port, ours, pause));
        tries += 1;
        match found {
            Ok(Some(address)) => return Ok(address),
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
fn lease(machine: &Machine<'_>, port: &dyn Port, ours: bool, within: Duration) -> Option<Address> {
    let offer = ask(machine, port, Question::Discover, within, |answer| {
        answer.kind == Kind::Offer && (!ours || is_ours(machine, answer.server))
    })?;
    let question = Question::Take(offer.address, offer.server);
    for within in TAKE {
        let heard = ask(machine, port, question, within, |answer| {
            answer.server == offer.server && answer.kind != Kind::Offer
        });
        match heard {
            Some(answer) if answer.kind == Kind::Ack && answer.address == offer.address => {
                return Some(Address {
                    address: answer.address,
                    prefix: answer.prefix.or(offer.prefix).unwrap_or(PREFIX),
                    router: answer.router.or(offer.router),
                    mtu: answer.mtu,
                    lease: answer.lease.unwrap_or(0),
                });
            }
            Some(_) => return None,
            None => {}
        }
    }
    None
}

/// Sends a question and waits for an answer to it that is wanted.
fn ask(
    machine: &Machine<'_>,
    port: &dyn Port,
    question: Question,
    within: Duration,
    is_wanted: impl Fn(&Answer) -> bool,
) -> Option<Answer> {
    let kernel = machine.kernel;
    let (mac, begun) = (machine.settings.mac, kernel.now());
    // The low half of a number that nobody can guess is one that nobody can guess.
    let number = u32::try_from(kernel.random() & u64::from(u32::MAX)).unwrap_or(0);
    // A datagram that is not sent is one that is lost.
    let _ = port.send(&wire::question(question, number, mac, 0));
    for _ in 0..MOST {
        let left = within.checked_sub(kernel.now().saturating_sub(begun)).filter(|left| !left.is_zero())?;
        let answer = port.receive(left).and_then(|bytes| wire::answer(&bytes, number, mac));
        if let Some(answer) = answer.filter(&is_wanted) {
            return Some(answer);
        }
    }
    None
}

/// Whether it is one of the servers in the settings.
fn is_ours(machine: &Machine<'_>, server: Ipv4Addr) -> bool {
    machine.settings.servers.iter().any(|known| known.address == IpAddr::V4(server))
}

fn configure(machine: &mut Machine<'_>, link: &Link, address: &Address) -> Result<(), Over> {
    let mut tries = 0;
    loop {
        let kernel = machine.kernel;
        let given = give(kernel, link, address);
        let Err((what, errno)) = given else { return Ok(()) };
        let trouble = Trouble::Link { link: link.name.clone(), what, errno };
        let pause = machine.pause(tries);
        machine.waits(&trouble, pause)?;
        tries += 1;
    }
}

fn give(
    kernel: &dyn Kernel,
    link: &Link,
    address: &Address,
) -> Result<(), (&'static str, crate::kernel::Errno)> {
    if let Some(mtu) = address.mtu {
        kernel.set_mtu(link.index, mtu).map_err(|errno| ("given its MTU", errno))?;
    }
    kernel
        .add_address(link.index, address.address, address.prefix)
        .map_err(|errno| ("given its address", errno))?;
    if let Some(router) = address.router {
        kernel.add_router(link.index, router).map_err(|errno| ("given its router", errno))?;
    }
    Ok(())
}
