//! How a machine connects from a port of its own, again and again.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// How long a port may stay taken, and how long whoever reads waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connects from there, by a socket that buffers so many bytes of what nobody reads where that is said. It ends with a reset,
/// so that its port can be used again: there are not many below 1024.
pub fn dial(from: SocketAddr, to: SocketAddr, buffered: Option<usize>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(from), Type::STREAM, None)?;
    // Of ports that are the kernel's to choose none may be another connection's still.
    socket.set_reuse_address(from.port() != 0)?;
    socket.set_linger(Some(Duration::ZERO))?;
    if let Some(buffered) = buffered {
        socket.set_recv_buffer_size(buffered)?;
    }
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.bind(&from.into())?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}

/// The same by a port that was let go of just now. A program that another test starts holds everything that is open here until its
/// `execve`, and a port with it: it is waited for.
pub fn dial_again(from: SocketAddr, to: SocketAddr, buffered: Option<usize>) -> io::Result<TcpStream> {
    let begun = Instant::now();
    loop {
        match dial(from, to, buffered) {
            Err(cause) if is_taken(cause.kind()) && begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            dialled => return dialled,
        }
    }
}

fn is_taken(cause: ErrorKind) -> bool {
    matches!(cause, ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_port_that_a_child_still_holds_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let first = dial(([127, 0, 0, 1], 0).into(), to, None).unwrap();
        let from = first.local_addr().unwrap();
        // As a child has it.
        let held = first.try_clone().unwrap();
        drop(first);
        let lets_go = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            drop(held);
        });
        assert_eq!(dial_again(from, to, Some(4096)).unwrap().local_addr().unwrap(), from);
        lets_go.join().unwrap();
    }
}
