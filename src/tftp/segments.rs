//! One piece of memory that the kernel makes datagrams of (UDP_SEGMENT, udp(7)): what arrives is what as many calls would have
//! sent, and it is on its way through the host's network once for all of them.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

use libc::c_int;
use rustix::io::Errno;

/// Datagrams that the kernel makes of one call (UDP_MAX_SEGMENTS of Linux before 6.9).
pub const MOST: usize = 64;
/// Bytes of one call: what an IPv6 packet holds, whose length has 16 bits, less the headers.
pub const MOST_BYTES: usize = 65_000;

/// From now on what is sent by this socket and is longer than that becomes datagrams of that length, and a last one of what
/// is left. 0 ends that.
pub fn cut(socket: &impl AsFd, length: usize) -> io::Result<()> {
    let value = c_int::try_from(length).map_err(io::Error::other)?;
    let size = libc::socklen_t::try_from(size_of::<c_int>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open, for it is borrowed for as long as the call takes; the kernel reads `size` bytes from the
    // pointer, which are the whole of `value`, and keeps no pointer.
    let done = unsafe {
        let value = (&raw const value).cast();
        libc::setsockopt(socket.as_fd().as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, value, size)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether it is no fault of the moment: a kernel that has no such option, an interface that can't (EIO), a datagram that is
/// longer than what the path takes in one piece (EINVAL, EMSGSIZE).
pub fn is_refusal(cause: &io::Error) -> bool {
    let refusals = [Errno::IO, Errno::INVAL, Errno::MSGSIZE, Errno::OPNOTSUPP, Errno::NOPROTOOPT];
    Errno::from_io_error(cause).is_some_and(|errno| refusals.contains(&errno))
}
