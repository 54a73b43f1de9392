//! What systemd is told of the daemon (sd_notify(3)), where it listens: lines in one datagram to `$NOTIFY_SOCKET`.
//!
//! The crate for it, sd-notify 0.5, knows no abstract sockets (`@…`) and waits where the queue is full.

use std::{
    env,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::{Duration, Instant},
};

/// The line to systemd; does nothing where larder was not started by it.
#[derive(Debug)]
pub(super) struct Systemd {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often systemd wants to hear that the daemon lives.
    watchdog: Option<Duration>,
    told: Option<Instant>,
    status: String,
}

impl Systemd {
    /// As the environment says.
    pub(super) fn from_env() -> Self {
        let usec = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
        let meant = usec("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        Self::new(
            env::var("NOTIFY_SOCKET").ok().as_deref(),
            usec("WATCHDOG_USEC").filter(|_| meant),
        )
    }

    fn new(path: Option<&str>, watchdog_us: Option<u64>) -> Self {
        let address = path.and_then(|path| match path.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).ok(),
            None => SocketAddr::from_pathname(path).ok(),
        });
        let socket = address.and_then(|address| {
            let socket = UnixDatagram::unbound().ok()?;
            // A full queue must not hold the daemon up.
            socket.set_nonblocking(true).ok()?;
            Some((socket, address))
        });
        Self {
            socket,
            // Twice as often as it is wanted, as sd_watchdog_enabled(3) advises.
            watchdog: watchdog_us.map(|us| Duration::from_micros(us / 2)),
            told: None,
            status: String::new(),
        }
    }

    fn tell(&self, lines: &str) {
        if let Some((socket, address)) = &self.socket
            && let Err(error) = socket.send_to_addr(lines.as_bytes(), address)
        {
            tracing::debug!(%error, "Could not tell systemd");
        }
    }

    /// The daemon is at work.
    pub(super) fn ready(&self) {
        self.tell("READY=1");
    }

    /// The configuration is being read; [`Self::ready`] ends it.
    pub(super) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let us = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={us}"));
    }

    /// The daemon is about to end.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// What the daemon does, in one line; told when it changes.
    pub(super) fn status(&mut self, status: &str) {
        if self.status != status {
            status.clone_into(&mut self.status);
            self.tell(&format!("STATUS={}", status.replace('\n', " ")));
        }
    }

    /// The daemon lives.
    pub(super) fn alive(&mut self) {
        let Some(often) = self.watchdog else { return };
        if self.told.is_none_or(|told| told.elapsed() >= often) {
            self.told = Some(Instant::now());
            self.tell("WATCHDOG=1");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemd_hears_what_it_wants_to_hear() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let mut systemd = Systemd::new(path.to_str(), Some(60_000_000));
        systemd.ready();
        systemd.status("1 job at work");
        systemd.status("1 job at work");
        systemd.alive();
        systemd.alive();
        systemd.reloading();
        systemd.stopping();
        let mut heard = Vec::new();
        let mut buffer = [0; 256];
        for _ in 0..5 {
            let n = socket.recv(&mut buffer).expect("a datagram");
            heard.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
        }
        assert!(
            heard[3].starts_with("RELOADING=1\nMONOTONIC_USEC="),
            "{heard:?}"
        );
        heard.remove(3);
        assert_eq!(
            heard,
            [
                "READY=1",
                "STATUS=1 job at work",
                "WATCHDOG=1",
                "STOPPING=1"
            ]
        );
        // Nobody listens: nothing happens.
        Systemd::new(None, None).ready();
        Systemd::new(Some("/nowhere/at/all"), None).ready();
    }
}
