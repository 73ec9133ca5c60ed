//! systemd: readiness, reloads, and sockets that it has opened for us (sd_notify(3), sd_listen_fds(3)).
//!
//! A socket unit keeps its sockets open over a restart, so machines that connect meanwhile wait instead of being refused.
//! Without systemd all of this does nothing.

use std::net::SocketAddr;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::sync::Mutex;

use sd_notify::NotifyState;
use socket2::{Socket, Type};

/// Sockets that we were started with, until somebody takes them.
static INHERITED: Mutex<Vec<Socket>> = Mutex::new(Vec::new());

/// Takes charge of the sockets that systemd passes. Called once, before any other thread runs.
pub fn inherit() {
    let Ok(descriptors) = sd_notify::listen_fds() else { return };
    let sockets = descriptors.map(|descriptor| {
        // SAFETY: systemd has opened this descriptor for us, and says so with our process id in LISTEN_PID. It is looked at
        // here alone and once, before any other thread runs, so nobody else owns it or closes it.
        Socket::from(unsafe { OwnedFd::from_raw_fd(descriptor) })
    });
    INHERITED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(sockets);
}

/// The passed socket for an address, if there is one: of this kind and port, and bound to the address or to all.
pub fn passed(address: SocketAddr, kind: Type) -> Option<Socket> {
    take(|socket| {
        is_of(socket, kind).is_some_and(|bound| {
            let all = bound.ip().is_unspecified()
                && (bound.is_ipv4() == address.is_ipv4() || socket.only_v6().is_ok_and(|only| !only));
            bound.port() == address.port() && (bound.ip() == address.ip() || all)
        })
    })
}

/// The passed IPv6 sockets of this kind and port, whatever their addresses.
pub fn passed_v6(port: u16, kind: Type) -> Vec<Socket> {
    let fits =
        |socket: &Socket| is_of(socket, kind).is_some_and(|bound| bound.is_ipv6() && bound.port() == port);
    std::iter::from_fn(|| take(fits)).collect()
}

/// Where a socket is bound, if it is of this kind.
fn is_of(socket: &Socket, kind: Type) -> Option<SocketAddr> {
    let bound = socket.local_addr().ok()?.as_socket()?;
    socket.r#type().is_ok_and(|found| found == kind).then_some(bound)
}

fn take(fits: impl Fn(&Socket) -> bool) -> Option<Socket> {
    let mut sockets = INHERITED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let place = sockets.iter().position(fits)?;
    Some(sockets.swap_remove(place))
}

/// Closes what nobody took: a connection to it would wait for ever.
pub fn close_the_rest() {
    for socket in INHERITED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).drain(..) {
        let address = socket.local_addr().ok().and_then(|address| address.as_socket());
        tracing::warn!(
            ?address,
            "systemd passed a socket that the site has no use for; see `systemctl edit oneroot.socket`"
        );
    }
}

/// Everything is served.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A new site is being read.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// It goes down.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(cause) = sd_notify::notify(states) {
        tracing::debug!(%cause, "systemd could not be told");
    }
}
