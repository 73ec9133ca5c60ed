//! What must survive a crash: leases, assignments, pins, the handle key.
