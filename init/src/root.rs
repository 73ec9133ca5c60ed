//! The root: NFSv3 by mount(2) with all ports said, so nobody asks a portmapper and no helper is needed. Servers are tried in
//! their order, for ever: a machine whose server is away has nothing better to do, but to keep its address.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use oneroot_initrd::report::Phase;
use oneroot_initrd::settings::Server;

use crate::address;
use crate::kernel::{Errno, Mount};
use crate::machine::{Halt, Machine, Tree};
use crate::trouble::Trouble;

/// Where it is mounted.
pub const ROOT: &str = "/lower";
/// How long a server may take to say that it lives before the next is tried. mount(2) itself would wait for three minutes.
const CONNECT: Duration = Duration::from_secs(5);
/// Nothing that is mounted ever changes, so what was read may be believed for a day.
const CACHE: u32 = 86_400;

/// Mounts it.
///
/// # Errors
/// When the machine is to be started again, or the NIC is gone by which it has its address.
pub fn mount(machine: &mut Machine<'_>) -> Result<(), Halt> {
    machine.teller.begin(Phase::Root);
    if let Err(errno) = machine.kernel.make_directory(ROOT) {
        return Err(machine.is_stuck(&Trouble::Own { target: ROOT.to_owned(), errno }).into());
    }
    let mut tries = 0;
    loop {
        let mut worst: Option<Trouble> = None;
        for server in machine.settings.servers.clone() {
            match mount_from(machine, server) {
                Ok(()) => {
                    machine.gets_on();
                    machine.tree = Some(Tree::At(ROOT));
                    machine.teller.done(&format!("{}:{}", server.address, machine.settings.export));
                    say(machine, ROOT, "init");
                    return Ok(());
                }
                // What a server says tells more than that another one says nothing.
                Err(trouble) if worst.as_ref().is_none_or(Trouble::is_silence) => worst = Some(trouble),
                Err(_) => {}
            }
            if let Some(held) = &machine.held {
                machine.has(&held.link)?;
            }
            // Several servers that are silent take longer than some leases.
            address::renew(machine)?;
        }
        let due = machine.held.as_ref().and_then(|held| held.ask);
        let until = due.map_or(Duration::MAX, |ask| ask.saturating_sub(machine.kernel.now()));
        let pause = machine.pause(tries).min(until);
        tries += 1;
        if let Some(trouble) = worst {
            machine.waits(&trouble, pause)?;
        }
        address::renew(machine)?;
    }
}

fn mount_from(machine: &Machine<'_>, server: Server) -> Result<(), Trouble> {
    let IpAddr::V4(address) = server.address else { return Err(Trouble::NotIpv4(server.address)) };
    let at = SocketAddr::new(server.address, server.nfs);
    machine.kernel.reach(at, CONNECT).map_err(|errno| why(machine, at, errno))?;
    let port = server.nfs;
    let options = format!(
        "addr={address},port={port},mountport={port},mountproto=tcp,proto=tcp,vers=3,nolock,nocto,acregmin={CACHE},\
         acregmax={CACHE},acdirmin={CACHE},acdirmax={CACHE},rsize=1048576,hard"
    );
    let source = format!("{address}:{}", machine.settings.export);
    let mount = Mount {
        source: &source,
        target: ROOT,
        kind: "nfs",
        read_only: true,
        no_suid: false,
        options: &options,
    };
    machine.kernel.mount(&mount).map_err(|errno| why(machine, at, errno))
}

/// What a number means that came of a server.
fn why(machine: &Machine<'_>, server: SocketAddr, errno: Errno) -> Trouble {
    let export = machine.settings.export.clone();
    match errno {
        Errno::ACCESS | Errno::PERM => Trouble::Refused { server, machine: machine.settings.name.clone() },
        Errno::NOENT | Errno::STALE | Errno::NOTDIR => Trouble::NoExport { server, export },
        Errno::NODEV | Errno::PROTONOSUPPORT | Errno::NOSYS => {
            Trouble::NoNfs { release: machine.kernel.release() }
        }
        Errno::CONNREFUSED
        | Errno::CONNRESET
        | Errno::CONNABORTED
        | Errno::PIPE
        | Errno::TIMEDOUT
        | Errno::HOSTUNREACH
        | Errno::HOSTDOWN
        | Errno::PROTO
        | Errno::AGAIN
        | Errno::IO => Trouble::Silent { server, errno },
        errno => Trouble::Mount { server, export, errno },
    }
}

/// Tells the server a word by looking up a name that is never there, as every machine does that has its root from it.
pub fn say(machine: &Machine<'_>, root: &str, word: &str) {
    let _ = machine.kernel.is_there(&format!("{root}/.oneroot/say/{}.{word}", machine.settings.boot));
}
