//! What a DHCP reply has room for. Whatever does not fit is left out, and no machine would say that it misses it: so a site
//! whose name servers, time servers and domain can't reach every machine is refused.

use std::net::Ipv4Addr;

use crate::site::report::Span;
use crate::site::section::{Diagnostics, Located};

/// Bytes of options in a reply to a client that says nothing of its size: a datagram of 576 bytes (RFC 2131 §2), less IP and
/// UDP, the fixed part with its cookie, and the end mark.
const ROOM: usize = 576 - 28 - 240 - 1;
/// What goes before name servers and domain, with code and length: kind and server (3 + 6), three times (18), mask and router
/// (12), iPXE's hint (5), `HTTPClient` (12), the boot script's URL (57), a host's name (65).
const BEFORE: usize = 3 + 6 + 18 + 12 + 5 + 12 + 57 + 65;
/// What is left for the values of the two and for time servers, in bytes. Where a relay adds words of its own, it is less: the
/// broadcast address goes first, then time servers, then the domain.
const LEFT: usize = ROOM - BEFORE - 4;

/// Notes name servers, time servers and a domain that are too long together.
pub(crate) fn fits(
    dns: &[Located<Ipv4Addr>],
    ntp: &[Located<Ipv4Addr>],
    domain: Option<&Located<String>>,
    span: &Span,
    diagnostics: &mut Diagnostics,
) {
    let length = domain.map_or(0, |at| at.value.len());
    // Code and length of the time servers' option, which most networks have not.
    let times = if ntp.is_empty() { 0 } else { 2 + ntp.len() * 4 };
    let needed = dns.len() * 4 + times + length;
    if needed > LEFT {
        let span = dns.last().or(ntp.last()).map(|at| &at.span).or(domain.map(|at| &at.span)).unwrap_or(span);
        let count = dns.len();
        let too = if ntp.is_empty() { String::new() } else { format!(", {} time servers", ntp.len()) };
        diagnostics.note(
            span,
            format!(
                "{count} name servers of 4 bytes{too} and a domain of {length} take {needed} bytes, and a DHCP reply has {LEFT} for them; name fewer servers (clients ask three at most), or a shorter domain"
            ),
        );
    }
}
