//! A cable between one machine and the lab's switch that may be a bad one, or end at a port whose frames have a tag (IEEE 802.1Q).
//!
//! In user space: kernels that hosts of virtual machines run often have neither netem nor VLANs. QEMU sends each frame as a datagram
//! (`-netdev socket,udp=`), and the switch's end is a tap, so the host's kernel cuts and sums what it sends.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use oneroot_testkit::Lab;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The longest frame.
const LONGEST: usize = 65_536;
/// Frames on their way in one direction.
const MOST: usize = 4096;
/// Where the tag is, and how it begins.
const TAG_AT: usize = 12;
const TAGGED: [u8; 2] = [0x81, 0];
/// Where a frame without a tag has the address that its IPv4 packet is for.
const IPV4_TO: usize = 30;
/// `TUNSETIFF` of linux/if_tun.h, and its `IFF_TAP | IFF_NO_PI`.
const TUNSETIFF: rustix::ioctl::Opcode = 0x4004_54ca;
const TAP: u16 = 0x1002;

/// What it does to frames.
#[derive(Default)]
struct Ways {
    is_gone: AtomicBool,
    /// One of so many is lost; none where it is 0.
    loses: AtomicU32,
    /// Milliseconds that a frame to the machine takes.
    takes: AtomicU32,
    /// The VLAN whose tag frames have at the machine's end; none where it is 0.
    vlan: AtomicU16,
    /// The IPv4 address to which nothing of the machine's comes; none where it is 0.
    closed: AtomicU32,
}

/// It, as long as it lasts.
pub struct Cable {
    ways: Arc<Ways>,
    /// Ports of UDP: QEMU's, and this end's.
    ports: (u16, u16),
}

impl Cable {
    /// A good one, from a port of the lab's switch. The calling thread's network must be the lab's.
    pub fn new(lab: &Lab) -> Result<Self> {
        let tap = tap(&lab.port()?)?;
        let here = (Ipv4Addr::LOCALHOST, 0);
        let (machine, socket) = (UdpSocket::bind(here)?, UdpSocket::bind(here)?);
        let ports = (machine.local_addr()?.port(), socket.local_addr()?.port());
        // QEMU binds it again.
        drop(machine);
        let ways = Arc::new(Ways::default());
        let (to_tap, to_machine) = (tap.try_clone()?, socket.try_clone()?);
        let qemu = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.0));
        let (by, waits) = (ways.clone(), socket.try_clone()?);
        let strip = move |frame: &[u8]| {
            (untagged(&by, frame).filter(|frame| !is_for_nobody(&by, frame)), Duration::ZERO)
        };
        carry(&ways, 1, waits, move |bytes| socket.recv(bytes), strip, move |frame| (&to_tap).write(frame));
        let (by, waits) = (ways.clone(), tap.try_clone()?);
        let tag = move |frame: &[u8]| {
            let takes = by.takes.load(Ordering::Relaxed);
            (Some(tagged(&by, frame)), Duration::from_millis(takes.into()))
        };
        let send = move |frame: &[u8]| to_machine.send_to(frame, qemu);
        carry(&ways, 2, waits, move |bytes| (&tap).read(bytes), tag, send);
        Ok(Self { ways, ports })
    }

    /// From now on it loses one frame of so many, either way, and one to the machine takes its time.
    pub fn is_bad(&self, loses: u32, takes: Duration) {
        self.ways.loses.store(loses, Ordering::Relaxed);
        self.ways.takes.store(u32::try_from(takes.as_millis()).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// From now on the switch's frames have this VLAN's tag at the machine's end, and of the machine's only those go on that have it.
    pub fn is_tagged(&self, vlan: u16) {
        self.ways.vlan.store(vlan, Ordering::Relaxed);
    }

    /// From now on nothing that the machine sends to this address comes there, and nobody tells it so.
    pub fn is_closed_to(&self, address: Ipv4Addr) {
        self.ways.closed.store(address.to_bits(), Ordering::Relaxed);
    }

    /// QEMU's words for it.
    pub(crate) fn netdev(&self) -> String {
        let (machine, here) = self.ports;
        format!("socket,udp=127.0.0.1:{here},localaddr=127.0.0.1:{machine}")
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.ways.is_gone.store(true, Ordering::Relaxed);
    }
}

/// The other end of a tap that is there.
fn tap(name: &str) -> Result<File> {
    let tap = File::options().read(true).write(true).open("/dev/net/tun")?;
    // `struct ifreq`: a name of 16 bytes with a zero behind it, the flags, and room.
    let mut request = [0; 40];
    request.iter_mut().zip(name.bytes().take(15)).for_each(|(to, byte)| *to = byte);
    request.iter_mut().skip(16).zip(TAP.to_ne_bytes()).for_each(|(to, byte)| *to = byte);
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which has 40 bytes on 64-bit Linux, and `request` is that long and is
    // borrowed for the call; that an array of bytes is aligned as bytes are does no harm, for the kernel copies it.
    unsafe {
        let attach = rustix::ioctl::Updater::<TUNSETIFF, [u8; 40]>::new(&mut request);
        rustix::ioctl::ioctl(&tap, attach)
    }
    .with_context(|| format!("cannot attach to {name}"))?;
    Ok(tap)
}

/// Carries frames one way: one thread takes them in and loses some, another gives them out in their time.
fn carry<R, C, S>(ways: &Arc<Ways>, seed: u32, waits: impl AsFd + Send + 'static, read: R, change: C, send: S)
where
    R: Fn(&mut [u8]) -> io::Result<usize> + Send + 'static,
    C: Fn(&[u8]) -> (Option<Vec<u8>>, Duration) + Send + 'static,
    S: Fn(&[u8]) -> io::Result<usize> + Send + 'static,
{
    let (put, get) = mpsc::sync_channel::<(Instant, Vec<u8>)>(MOST);
    thread::spawn(move || {
        for (due, frame) in get {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // What nobody takes is lost, as on any cable.
            let _ = send(&frame);
        }
    });
    let ways = ways.clone();
    thread::spawn(move || {
        let (mut bytes, mut random) = (vec![0; LONGEST], seed);
        while !ways.is_gone.load(Ordering::Relaxed) {
            let second = Timespec { tv_sec: 1, tv_nsec: 0 };
            let ready = poll(&mut [PollFd::new(&waits, PollFlags::IN)], Some(&second));
            if !ready.is_ok_and(|ready| ready > 0) {
                continue;
            }
            let Ok(length) = read(&mut bytes) else { continue };
            // Numerical Recipes' generator: the same frames are lost in each run, as far as the machines are the same.
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let loses = ways.loses.load(Ordering::Relaxed);
            if loses > 0 && (random >> 8) % loses == 0 {
                continue;
            }
            let (frame, takes) = change(bytes.get(..length).unwrap_or_default());
            if let Some(frame) = frame {
                let _ = put.try_send((Instant::now() + takes, frame));
            }
        }
    });
}

/// A frame as it comes to the machine.
fn tagged(ways: &Ways, frame: &[u8]) -> Vec<u8> {
    let vlan = ways.vlan.load(Ordering::Relaxed);
    match frame.split_at_checked(TAG_AT) {
        Some((addresses, rest)) if vlan != 0 => [addresses, &TAGGED, &vlan.to_be_bytes(), rest].concat(),
        _ => frame.to_vec(),
    }
}

/// A frame of the machine's as it comes to the switch.
fn untagged(ways: &Ways, frame: &[u8]) -> Option<Vec<u8>> {
    let vlan = ways.vlan.load(Ordering::Relaxed);
    if vlan == 0 {
        return Some(frame.to_vec());
    }
    let (addresses, rest) = frame.split_at_checked(TAG_AT)?;
    let [high, low] = vlan.to_be_bytes();
    match *rest.strip_prefix(&TAGGED)? {
        [priority, number, ref rest @ ..] if (priority & 0x0f, number) == (high, low) => {
            Some([addresses, rest].concat())
        }
        _ => None,
    }
}

/// Whether a frame without a tag is for an address to which nothing comes.
fn is_for_nobody(ways: &Ways, frame: &[u8]) -> bool {
    let closed = ways.closed.load(Ordering::Relaxed);
    let is_ipv4 = frame.get(TAG_AT..TAG_AT + 2) == Some(&[8, 0]);
    closed != 0 && is_ipv4 && frame.get(IPV4_TO..IPV4_TO + 4) == Some(&closed.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_its_vlans_tag_at_the_machines_end_alone_and_another_vlans_goes_nowhere() {
        let ways = Ways::default();
        let frame = [&[7; 12][..], &[8, 0], b"hello"].concat();
        assert_eq!((tagged(&ways, &frame), untagged(&ways, &frame)), (frame.clone(), Some(frame.clone())));
        ways.vlan.store(0x102, Ordering::Relaxed);
        let mut with = tagged(&ways, &frame);
        assert_eq!(with[12..18], [0x81, 0, 1, 2, 8, 0]);
        with[14] |= 0xe0;
        assert_eq!(untagged(&ways, &with), Some(frame.clone()), "whatever its priority");
        with[15] = 3;
        assert_eq!((untagged(&ways, &with), untagged(&ways, &frame)), (None, None));
    }

    #[test]
    fn a_closed_address_gets_no_packet_and_all_others_do() {
        let ways = Ways::default();
        let frame = |to: [u8; 4]| [&[7; 12][..], &[8, 0], &[0x45; 16], &to].concat();
        assert!(!is_for_nobody(&ways, &frame([192, 168, 77, 1])));
        ways.closed.store(Ipv4Addr::new(192, 168, 77, 1).to_bits(), Ordering::Relaxed);
        assert!(is_for_nobody(&ways, &frame([192, 168, 77, 1])));
        assert!(!is_for_nobody(&ways, &frame([192, 168, 77, 3])));
        let arp = [&[7; 12][..], &[8, 6], &[0; 16], &[192, 168, 77, 1]].concat();
        assert!(!is_for_nobody(&ways, &arp) && !is_for_nobody(&ways, &arp[..20]));
    }
}
