//! Probes on real links, each test in a network of its own.

use super::*;
use oneroot_testkit::{Lab, ip};
use std::os::fd::AsFd as _;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};

/// An address of the lab with a host.
pub const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 9);
/// One without.
pub const NOBODY: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 200);
/// That host's hardware address.
pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 9];

/// A host that stays until this is dropped.
pub struct Host(Child);

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Keeps up the network that the calling thread is in.
fn stay() -> Host {
    Host(Command::new("sleep").arg("60").spawn().unwrap())
}

/// A host on a switch at `address`, with [`MAC`].
pub fn host(lab: &Lab, switch: &str, address: Ipv4Addr) -> Host {
    let come_up = |nic: &str| {
        ip(&format!("link set {nic} address 52:54:00:00:00:09")).unwrap();
        ip(&format!("addr add {address}/24 dev {nic}")).unwrap();
        stay()
    };
    lab.plug(switch, come_up).unwrap()
}

fn mac() -> Mac {
    Mac::new(MAC).unwrap()
}

#[tokio::test]
async fn a_host_on_the_wire_is_found_with_its_mac_and_nobody_is_silent() {
    let lab = Lab::new().unwrap();
    let prober = Prober::open().unwrap();
    let _host = host(&lab, "lab0", HOST);
    assert_eq!(prober.probe(HOST).await, ProbeResult::Mac(mac()));
    assert_eq!(prober.probe(NOBODY).await, ProbeResult::Silent);
    assert_eq!(prober.probe(Ipv4Addr::new(192, 168, 77, 1)).await, ProbeResult::Answered, "our own");
    for nowhere in [[192, 168, 77, 255], [10, 1, 2, 3], [224, 0, 0, 1], [255, 255, 255, 255], [0, 0, 0, 0]] {
        assert_eq!(prober.probe(nowhere.into()).await, ProbeResult::Unable(Reason::NoRoute), "{nowhere:?}");
    }
    assert!(matches!(prober.way(HOST).unwrap(), Way::OnLink(link, _) if link.name == "lab0"));
}

#[tokio::test]
async fn a_host_behind_a_router_answers_without_a_mac() {
    let lab = Lab::new().unwrap();
    let prober = Prober::open().unwrap();
    let route = |nic: &str| {
        ip(&format!("addr add 192.168.77.254/24 dev {nic}")).unwrap();
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        ip("link add near type veth peer name far").unwrap();
        ip("addr add 10.9.9.1/24 dev near").unwrap();
        ip("link set near up").unwrap();
        // A host of its own behind the router, which waits for its end of the cable.
        let words = "until ip link set far up 2>/dev/null; do sleep 0.05; done; ip addr add 10.9.9.9/24 dev far; \
                     ip route add default via 10.9.9.1; exec sleep 60";
        let far = Host(Command::new("unshare").args(["-n", "sh", "-c", words]).spawn().unwrap());
        // It is in another network once it has left ours.
        let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).unwrap();
        while of(&far.0.id().to_string()) == of("thread-self") {
            std::thread::yield_now();
        }
        ip(&format!("link set far netns {}", far.0.id())).unwrap();
        (stay(), far)
    };
    let _router = lab.plug("lab0", route).unwrap();
    ip("route add 10.9.9.0/24 via 192.168.77.254").unwrap();
    let far = Ipv4Addr::new(10, 9, 9, 9);
    assert_eq!(prober.way(far).unwrap(), Way::Routed);
    let mut found = prober.probe(far).await;
    for _ in 0..20 {
        // It may still be coming up.
        if found == ProbeResult::Silent {
            found = prober.probe(far).await;
        }
    }
    assert_eq!(found, ProbeResult::Answered);
    assert_eq!(prober.probe(Ipv4Addr::new(10, 9, 9, 10)).await, ProbeResult::Silent);
}

#[tokio::test]
async fn who_asks_for_the_same_address_shares_one_probe_and_the_sixty_fifth_address_is_not_asked_for() {
    let lab = Lab::new().unwrap();
    let _host = host(&lab, "lab0", HOST);
    let prober = Arc::new(Prober::open().unwrap());
    let ask = |address: Ipv4Addr| {
        let prober = prober.clone();
        tokio::spawn(async move { prober.probe(address).await })
    };
    let mut waiting: Vec<_> = (0..10).map(|_| ask(NOBODY)).collect();
    waiting.extend((100..163).map(|last| ask(Ipv4Addr::new(192, 168, 77, last))));
    // Every task gets its turn.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(prober.shared.under_way().len(), MOST);
    assert_eq!(prober.probe(HOST).await, ProbeResult::Unable(Reason::Busy));
    for probe in waiting {
        assert_eq!(probe.await.unwrap(), ProbeResult::Silent);
    }
    assert_eq!(prober.shared.under_way().len(), 0);
    assert_eq!(prober.probe(HOST).await, ProbeResult::Mac(mac()), "there is room again");
}

#[tokio::test]
async fn who_stops_waiting_leaves_the_others_their_answer() {
    let lab = Lab::new().unwrap();
    let _host = host(&lab, "lab0", HOST);
    let prober = Prober::open().unwrap();
    {
        let mut impatient = std::pin::pin!(prober.probe(HOST));
        std::future::poll_fn(|cx| std::task::Poll::Ready(impatient.as_mut().poll(cx).is_pending())).await;
    }
    assert_eq!(prober.shared.under_way().len(), 1, "it goes on");
    assert_eq!(prober.probe(HOST).await, ProbeResult::Mac(mac()));
}

/// A host that sends ARP replies without end: "ADDRESS is at MAC".
struct Flood {
    _host: Host,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<usize>,
}

impl Flood {
    fn begin(lab: &Lab, switch: &str, addresses: Vec<Ipv4Addr>) -> Self {
        let (host, nic) = lab.plug(switch, |nic| (stay(), nic.to_owned())).unwrap();
        let network = std::fs::File::open(format!("/proc/{}/ns/net", host.0.id())).unwrap();
        let (stop, begun) = (Arc::new(AtomicBool::new(false)), std::sync::mpsc::channel());
        let told = stop.clone();
        let send = move || {
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(network.as_fd(), kind).unwrap();
            let frames = link::Frames::open().unwrap();
            let index = Routing::open().unwrap().named(&nic).unwrap().unwrap().index;
            let mut sent = 0;
            while !told.load(Ordering::Relaxed) {
                for address in &addresses {
                    let mut frame = [&BROADCAST[..], &MAC, &ARP.to_be_bytes()].concat();
                    frame.extend(wire::arp_request(MAC, Some(*address), *address));
                    frame[21] = 2;
                    sent += usize::from(frames.send(index, &frame).is_ok());
                }
                let _ = begun.0.send(());
            }
            sent
        };
        let thread = std::thread::spawn(send);
        begun.1.recv().unwrap();
        Self { _host: host, stop, thread }
    }

    /// How many it has sent.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[tokio::test]
async fn answers_for_other_addresses_without_end_hide_none() {
    let lab = Lab::new().unwrap();
    let prober = Prober::open().unwrap();
    let _host = host(&lab, "lab0", HOST);
    let others = (100..200).map(|last| Ipv4Addr::new(192, 168, 77, last)).collect();
    let flood = Flood::begin(&lab, "lab0", others);
    for _ in 0..5 {
        assert_eq!(prober.probe(HOST).await, ProbeResult::Mac(mac()));
    }
    assert_eq!(prober.probe(NOBODY).await, ProbeResult::Silent);
    assert!(flood.end() > 1000);
}

#[tokio::test]
async fn an_answer_that_comes_by_another_interface_is_none() {
    let lab = Lab::new().unwrap();
    lab.switch("lab1", "192.168.78.1/24").unwrap();
    let prober = Prober::open().unwrap();
    let flood = Flood::begin(&lab, "lab1", vec![NOBODY]);
    assert_eq!(prober.probe(NOBODY).await, ProbeResult::Silent);
    assert!(flood.end() > 100);
    let flood = Flood::begin(&lab, "lab0", vec![NOBODY]);
    assert_eq!(
        prober.probe(NOBODY).await,
        ProbeResult::Mac(mac()),
        "where it was asked, the same answer counts"
    );
    flood.end();
}

#[tokio::test]
async fn an_interface_that_is_made_again_is_asked_on_by_the_same_sockets() {
    let lab = Lab::new().unwrap();
    let prober = Prober::open().unwrap();
    {
        let _host = host(&lab, "lab0", HOST);
        assert_eq!(prober.probe(HOST).await, ProbeResult::Mac(mac()));
    }
    ip("link set lab0 down").unwrap();
    assert!(matches!(prober.probe(HOST).await, ProbeResult::Unable(_)), "the link is down");
    ip("link del lab0").unwrap();
    assert_eq!(prober.probe(HOST).await, ProbeResult::Unable(Reason::NoRoute));
    lab.switch("lab0", "192.168.77.1/24").unwrap();
    let _host = host(&lab, "lab0", HOST);
    assert_eq!(prober.probe(HOST).await, ProbeResult::Mac(mac()));
}
