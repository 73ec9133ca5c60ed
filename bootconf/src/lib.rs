//! Policy, no sockets: site files to a checked Site; which machine gets which boot plan, and why.
