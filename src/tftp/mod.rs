//! TFTP: a thread that has port 69 and the ports of all transfers, and what it asks of the rest of the server.
//!
//! A transfer is a long row of short waits, and what a block costs is mostly how one is woken up. So nothing of it goes through
//! tasks: one thread waits for all sockets, asks the engine and sends (docs/decisions/0017). It never waits for anything
//! else: names are looked up by tasks, and files are read by threads of their own where that takes the disk.

mod ahead;
mod bell;
mod port;
mod segments;
mod server;

use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::{oneshot, watch};

use oneroot_machines::Machines;
use server::Server;

/// Serves until `stop` changes.
pub async fn serve(machines: Arc<Machines>, socket: UdpSocket, mut stop: watch::Receiver<bool>) {
    let made = socket.into_std().and_then(|socket| Server::new(machines, socket));
    let (ended, end) = oneshot::channel::<()>();
    let started = made.and_then(|(server, stopper)| {
        let run = move || {
            server.run();
            drop(ended);
        };
        std::thread::Builder::new().name("tftp".to_owned()).spawn(run).map(|_| stopper)
    });
    match started {
        // When the thread has ended by itself, so has the service.
        Ok(stopper) => {
            tokio::pin!(end);
            tokio::select! {
                _ = stop.changed() => {
                    stopper.stop().await;
                    let _ = end.await;
                }
                _ = &mut end => {}
            }
        }
        Err(cause) => tracing::error!(%cause, "cannot serve TFTP"),
    }
}
