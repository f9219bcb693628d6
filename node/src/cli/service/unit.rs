//! The text that systemd and launchd are given: a hardened service with a user of its own. Pure.

use std::path::{Path, PathBuf};

use crate::core::limits;

/// What the service is called, for both managers.
pub(super) const NAME: &str = "fednode";
/// launchd's word for it.
pub(super) const LABEL: &str = "io.github.fednode";
/// Whom it runs as under systemd.
pub(super) const USER: &str = "fednode";
/// Where its data are if nothing else is said: systemd makes this folder and gives it to the service's user.
pub(super) const STATE_DIR: &str = "/var/lib/fednode";
/// Until a service that was told to stop is killed: its answers are finished, its last writes done, its engines ended.
const STOP_S: u64 = 90;
const _: () = assert!(STOP_S * 1000 > 2 * limits::DRAIN.as_millis(), "what is being answered can be finished");

/// What the service may do. The line for memory that is written and run is left to the caller.
const MAY: &str = "\
# It sees the system and changes nothing but its own data. Home directories can be read, as far as their owners let this user, so
# that models can be published from there.
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateMounts=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RemoveIPC=yes
CapabilityBoundingSet=
AmbientCapabilities=
LockPersonality=yes
";
/// The rest of it.
const MAY_NOT: &str = "\
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @setuid
SystemCallErrorNumber=EPERM
";
/// Devices of GPUs.
const DEVICES: &str = "\
# No devices but GPUs.
DevicePolicy=closed
DeviceAllow=char-drm rw
DeviceAllow=char-kfd rw
DeviceAllow=char-nvidia* rw
";

/// What is to be run, and within what bounds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Unit {
    /// The program.
    pub program: PathBuf,
    /// The data directory.
    pub data_dir: PathBuf,
    /// What follows `fednode up`.
    pub args: Vec<String>,
    /// Of all memory, what the service and its engines may take together.
    pub memory_percent: u64,
    /// Groups that may use GPUs, of those that this system has.
    pub groups: Vec<String>,
    /// This build computes on GPUs, whose drivers write programs at run time.
    pub gpus: bool,
    /// launchd: whom it runs as.
    pub user: String,
}

/// The whole machine less half of what managers leave to the system anyway: other programs keep the other half, and the page cache of
/// weights, which counts as the service's, stays without being fought over.
pub(super) fn memory_percent(total_bytes: u64, reserve_bytes: u64) -> u64 {
    let rest = total_bytes.saturating_sub(reserve_bytes / 2);
    let percent = u128::from(rest) * 100 / u128::from(total_bytes.max(1));
    u64::try_from(percent).unwrap_or(100).clamp(50, 100)
}

/// The unit file of systemd.
pub(super) fn systemd(unit: &Unit) -> String {
    let line = command(unit).iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let (data, stop, files) = (unit.data_dir.display(), STOP_S, limits::OPEN_FILES_WANTED * 16);
    let own = unit.data_dir == Path::new(STATE_DIR);
    let state = match own {
        true => format!("StateDirectory={NAME}\nStateDirectoryMode=0700\n"),
        false => format!("ReadWritePaths={}\n", quoted(&data.to_string())),
    };
    let groups = match unit.groups.is_empty() {
        true => String::new(),
        false => format!("SupplementaryGroups={}\n", unit.groups.join(" ")),
    };
    // Programs that drivers of GPUs write at run time must be let run.
    let write_execute = if unit.gpus { "" } else { "MemoryDenyWriteExecute=yes\n" };
    let hardening = format!("{MAY}{write_execute}{MAY_NOT}");
    let percent = unit.memory_percent;
    format!(
        "\
# Written by `fednode service install`, which writes it anew; `fednode service uninstall` removes it.
# Settings of your own belong into `systemctl edit {NAME}`.
[Unit]
Description=fednode, a personal federation that hosts large language models
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=exec
ExecStart={line}
User={USER}
Group={USER}
{groups}{state}UMask=0077

# It is asked once to end: it finishes the answers that have begun, then its engines. Whatever is left after that is killed.
KillSignal=SIGTERM
KillMode=mixed
TimeoutStopSec={stop}
Restart=on-failure
RestartSec=5

# Engines are its children and count with it. An engine that needs more than there is ends; the node says so and goes on.
MemoryMax={percent}%
MemorySwapMax=0
OOMPolicy=continue
LimitMEMLOCK=infinity
LimitNOFILE={files}

{hardening}
{DEVICES}
[Install]
WantedBy=multi-user.target
"
    )
}

/// The property list of launchd.
pub(super) fn launchd(unit: &Unit) -> String {
    let words: String = command(unit).iter().map(|word| format!("    <string>{}</string>\n", escaped(word))).collect();
    let (user, data) = (escaped(&unit.user), escaped(&unit.data_dir.display().to_string()));
    let (stop, files) = (STOP_S, limits::OPEN_FILES_WANTED * 16);
    format!(
        "\
<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">
<!-- Written by `fednode service install`; `fednode service uninstall` removes it. -->
<plist version=\"1.0\">
<dict>
  <key>Label</key>
  <string>{LABEL}</string>
  <key>ProgramArguments</key>
  <array>
{words}  </array>
  <key>UserName</key>
  <string>{user}</string>
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <dict>
    <key>SuccessfulExit</key>
    <false/>
  </dict>
  <key>ExitTimeOut</key>
  <integer>{stop}</integer>
  <key>Umask</key>
  <integer>63</integer>
  <key>SoftResourceLimits</key>
  <dict>
    <key>NumberOfFiles</key>
    <integer>{files}</integer>
  </dict>
  <key>StandardErrorPath</key>
  <string>{data}/fednode.log</string>
</dict>
</plist>
"
    )
}

fn command(unit: &Unit) -> Vec<String> {
    let mut words = vec![unit.program.display().to_string(), "--data-dir".to_owned()];
    words.push(unit.data_dir.display().to_string());
    words.push("up".to_owned());
    words.extend(unit.args.iter().cloned());
    words
}

/// A word of a command line of systemd: `%` and `$` mean something there, and spaces end a word.
fn quoted(word: &str) -> String {
    let plain = |sign: char| sign.is_ascii_alphanumeric() || "/-_.:=,+@".contains(sign);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut out = String::from("\"");
    for sign in word.chars() {
        match sign {
            '"' | '\\' => out.extend(['\\', sign]),
            '%' | '$' => out.extend([sign, sign]),
            sign => out.push(sign),
        }
    }
    out.push('"');
    out
}

/// As the text of an XML element.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_program_as_they_are() {
        assert_eq!(quoted("--memory=24GiB"), "--memory=24GiB");
        assert_eq!(quoted("my desk"), "\"my desk\"");
        assert_eq!(quoted("100%$HOME\"\\"), "\"100%%$$HOME\\\"\\\\\"");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(escaped("<a&b>"), "&lt;a&amp;b&gt;");
    }

    #[test]
    fn the_limit_leaves_the_system_half_of_the_reserve() {
        for (total_gib, reserve_gib, expect) in [(32, 4, 93), (128, 10, 96), (2, 2, 50), (0, 0, 50)] {
            assert_eq!(memory_percent(total_gib << 30, reserve_gib << 30), expect, "{total_gib}");
        }
    }
}
