//! The unit that systemd runs the daemon by: `larder daemon --print-unit`.
//!
//! Everything is closed but what larder needs: the archive's folders to write, the network to ask, nothing else.

use std::path::Path;

use crate::config::{Config, Listen};

/// The text of `larder.service` for this configuration; `program` is larder itself.
pub fn unit(config: &Config, program: &Path, path: &Path) -> String {
    let mut writes = vec![config.archive.path.as_path()];
    if !config.archive.state.starts_with(&config.archive.path) {
        writes.push(&config.archive.state);
    }
    if let Some(Listen::Unix(socket)) = &config.listen
        && let Some(folder) = socket.parent()
        && !writes.iter().any(|path| folder.starts_with(path))
    {
        writes.push(folder);
    }
    let writes: Vec<_> = writes.into_iter().map(quoted).collect();
    let (writes, program, path) = (writes.join(" "), quoted(program), quoted(path));
    format!(
        "# larder daemon --print-unit > /etc/systemd/system/larder.service
# The user `larder` owns the archive and the configuration. Programs of [[notify]] are confined like larder itself.
[Unit]
Description=larder keeps what you bookmarked
Documentation=man:larder(1)
After=network-online.target
Wants=network-online.target

[Service]
Type=notify-reload
User=larder
Group=larder
ExecStart={program} -c {path} --log-format json daemon
Restart=on-failure
RestartSec=30s
# The archive is in use, or the configuration is wrong: a restart would not help.
RestartPreventExitStatus=75 78
WatchdogSec=120s
TimeoutStopSec=20s
LimitNOFILE=65536
UMask=0077
ReadWritePaths={writes}

NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
PrivateIPC=yes
DevicePolicy=closed
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"
    )
}

/// A path as systemd reads it (systemd.syntax(7)): `%` begins a specifier, `$` a variable.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let text = text.replace('%', "%%").replace('$', "$$");
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%$".contains(c);
    if text.chars().all(plain) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_systemd_reads_them() {
        for (path, written) in [
            ("/srv/archive", "/srv/archive"),
            ("/srv/my archive", "\"/srv/my archive\""),
            ("/srv/100%/$x", "/srv/100%%/$$x"),
            ("/a\"b", "\"/a\\\"b\""),
        ] {
            assert_eq!(quoted(Path::new(path)), written);
        }
    }
}
