//! The command line, read once: every problem is found before anything is done.

use crate::{
    apply::{Backend, Tools, Variant},
    log::{Format, Level, LogOptions},
    plan::{MAX_ENTRIES, PortRange, Redirection},
    validate,
};
use clap::{Args, Parser, Subcommand};
use std::{
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
};
use weft_names::{Cidr, Port};

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Redirect connections to the proxy.
    Redirect(Box<Options>),
    /// See whether connections are redirected.
    Validate(validate::Options),
}

/// How to redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What is redirected.
    pub redirection: Redirection,
    /// By which means.
    pub means: Means,
    /// What to do with the rules.
    pub mode: Mode,
    /// The network namespace to do it in; the own one if not given.
    pub netns: Option<PathBuf>,
    /// Whether to wait for other users of x_tables.
    pub wait: bool,
    /// What to set `nf_conntrack_tcp_timeout_close_wait` to, seconds.
    pub close_wait_secs: Option<u32>,
    /// How to log.
    pub log: LogOptions,
}

/// What to do with the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Put them in force.
    Apply,
    /// Print them.
    Simulate,
    /// Remove them.
    Cleanup,
}

/// By which means rules get into the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// `--backend`: this and nothing else.
    Exactly(Choice),
    /// Linkerd's flags: this if it is installed, else another one.
    Rather(Variant),
}

/// A back end by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// `nft-netlink`
    Netlink,
    /// `iptables-nft`, `iptables-legacy`, `iptables`
    Iptables(Variant),
}

/// Why nothing is to be done.
#[derive(Debug)]
pub enum Usage {
    /// Help or version, or flags that are not there: clap's text.
    Clap(clap::Error),
    /// Values that make no sense, all of them.
    Problems(Vec<Problem>),
}

/// A flag with a value that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The flag.
    pub flag: &'static str,
    /// Its value; `None` if it is missing.
    pub value: Option<String>,
    /// What was expected.
    pub expected: String,
}

#[derive(Debug, Parser)]
#[command(
    name = "weft-init",
    version,
    about = "Redirects the connections of a network namespace to the proxy in it",
    long_about = "Redirects the connections of a network namespace to the proxy in it.\n\n\
        Takes the flags of linkerd2-proxy-init. Rules go to the kernel over netlink unless another back end is asked for: \
        nothing needs to be installed. Exit code 0: done and read back; 64: a flag makes no sense; 1: it could not be done \
        and no rule was changed.",
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(flatten)]
    redirect: RedirectArgs,
    #[command(subcommand)]
    command: Option<Sub>,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// Checks that outbound connections are redirected (exit code 95 if they are not)
    Validate(ValidateArgs),
}

/// Everything is text here: clap would stop at the first value that does not parse.
#[derive(Debug, Args)]
struct RedirectArgs {
    /// Port of the proxy to redirect incoming connections to
    #[arg(short = 'p', long, value_name = "PORT", allow_negative_numbers = true)]
    incoming_proxy_port: Option<String>,
    /// Port of the proxy to redirect outgoing connections to
    #[arg(short = 'o', long, value_name = "PORT", allow_negative_numbers = true)]
    outgoing_proxy_port: Option<String>,
    /// User of the proxy, whose own connections are left alone [default: none]
    #[arg(short = 'u', long, value_name = "UID", allow_negative_numbers = true)]
    proxy_uid: Option<String>,
    /// Group of the proxy, whose own connections are left alone [default: none]
    #[arg(short = 'g', long, value_name = "GID", allow_negative_numbers = true)]
    proxy_gid: Option<String>,
    /// Mark on the proxy's sockets, whose connections are left alone: where the proxy cannot have a user of its own
    /// [default: none]
    #[arg(long, value_name = "MARK")]
    proxy_mark: Option<String>,
    /// Incoming ports to redirect [default: all]
    #[arg(short = 'r', long, value_name = "PORT,…", value_delimiter = ',')]
    ports_to_redirect: Vec<String>,
    /// Incoming ports and ranges (A-B) to leave alone
    #[arg(long, value_name = "PORT,…", value_delimiter = ',')]
    inbound_ports_to_ignore: Vec<String>,
    /// Outgoing ports and ranges (A-B) to leave alone
    #[arg(long, value_name = "PORT,…", value_delimiter = ',')]
    outbound_ports_to_ignore: Vec<String>,
    /// Networks whose incoming connections are left alone
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    subnets_to_ignore: Vec<String>,
    /// Print the rules, change nothing
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    simulate: Option<String>,
    /// Remove the rules
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    cleanup: Option<String>,
    /// Network namespace to work in, a path such as /proc/PID/ns/net [default: the own one]
    #[arg(long, value_name = "PATH")]
    netns: Option<String>,
    /// Let iptables wait for its lock
    #[arg(short = 'w', long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    use_wait_flag: Option<String>,
    /// Set nf_conntrack_tcp_timeout_close_wait, seconds [default: leave it]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    timeout_close_wait_secs: Option<String>,
    /// How rules get into the kernel: nft-netlink, iptables-nft, iptables-legacy, iptables [default: nft-netlink]
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
    /// Which iptables to use if it is installed: legacy, nft, plain; overrides the two flags below
    #[arg(long, value_name = "MODE")]
    iptables_mode: Option<String>,
    /// Which iptables to use if it is installed: iptables-legacy, iptables-nft, iptables
    #[arg(long, value_name = "NAME")]
    firewall_bin_path: Option<String>,
    /// The iptables-save that belongs to it
    #[arg(long, value_name = "NAME")]
    firewall_save_bin_path: Option<String>,
    /// Redirect IPv6 too [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    ipv6: Option<String>,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Args)]
struct LogArgs {
    /// plain or json [default: plain]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

#[derive(Debug, Args)]
struct ValidateArgs {
    /// Address to connect to: any that is not reachable unless it is redirected [default: 192.0.2.2:1404]
    #[arg(long, value_name = "ADDR")]
    connect_addr: Option<String>,
    /// Address connections are redirected to [default: 0.0.0.0:4140]
    #[arg(long, value_name = "ADDR")]
    listen_addr: Option<String>,
    /// How long it may take: a number and ms, s, m, h or d [default: 10s]
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
    #[command(flatten)]
    log: LogArgs,
}

/// Reads a command line, the program's name included. A program called `linkerd2-network-validator` validates.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, Usage> {
    let mut args: Vec<_> = args.into_iter().collect();
    let name = args.first().and_then(|a| Path::new(a).file_name()).map(OsStr::to_owned);
    if name.is_some_and(|n| n == "linkerd2-network-validator") {
        args.insert(1, "validate".into());
    }
    let cli = Cli::try_parse_from(args).map_err(Usage::Clap)?;
    let mut problems = Problems::default();
    let command = match cli.command {
        Some(Sub::Validate(args)) => Command::Validate(args.check(&mut problems)),
        None => Command::Redirect(Box::new(cli.redirect.check(&mut problems))),
    };
    if problems.0.is_empty() { Ok(command) } else { Err(Usage::Problems(problems.0)) }
}

// === impl Means ===

impl Means {
    /// Finds the programs, if programs are needed. The second value is a warning: something else than asked for.
    pub fn backend(
        self,
        path: &OsStr,
        options: &Options,
    ) -> Result<(Backend, Option<String>), crate::apply::ToolsError> {
        let find = |v| {
            Tools::find(v, path, options.redirection.ipv6)
                .map(|t| Backend::Iptables(t.with_wait(options.wait)))
        };
        match self {
            Self::Exactly(Choice::Netlink) => Ok((Backend::Netlink, None)),
            Self::Exactly(Choice::Iptables(variant)) => Ok((find(variant)?, None)),
            Self::Rather(variant) => {
                if let Ok(backend) = find(variant) {
                    return Ok((backend, None));
                }
                let backend = Variant::ALL.into_iter().find_map(|v| find(v).ok()).unwrap_or(Backend::Netlink);
                let warning = format!("{} is not installed, using {backend}", variant.name());
                Ok((backend, Some(warning)))
            }
        }
    }
}

// === checks ===

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, flag: &'static str, value: impl Into<Option<String>>, expected: impl Into<String>) {
        self.0.push(Problem { flag, value: value.into(), expected: expected.into() });
    }

    /// Parses a value if it is there.
    fn read<T>(
        &mut self,
        flag: &'static str,
        value: &Option<String>,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = value.as_ref()?;
        let parsed = parse(text.trim());
        if parsed.is_none() {
            self.add(flag, text.clone(), expected);
        }
        parsed
    }

    /// Parses each entry of a list.
    fn list<T>(
        &mut self,
        flag: &'static str,
        values: &[String],
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let mut parsed = Vec::new();
        for text in values.iter().map(|v| v.trim()).filter(|v| !v.is_empty()) {
            match parse(text) {
                Some(value) => parsed.push(value),
                None => self.add(flag, text.to_owned(), expected),
            }
        }
        if parsed.len() > MAX_ENTRIES {
            self.add(flag, format!("{} entries", parsed.len()), format!("at most {MAX_ENTRIES}; use ranges"));
        }
        parsed
    }

    fn flag(&mut self, flag: &'static str, value: &Option<String>, default: bool) -> bool {
        // What Go's flag package takes for a truth value.
        self.read(flag, value, "true or false", |t| match t {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        })
        .unwrap_or(default)
    }
}

impl RedirectArgs {
    fn check(self, p: &mut Problems) -> Options {
        let log = self.log.check(p);
        let cleanup = p.flag("--cleanup", &self.cleanup, false);
        let simulate = p.flag("--simulate", &self.simulate, false);
        let standard = Redirection::standard();
        let mut port = |flag, value: &Option<String>, unused: Port| {
            if value.is_none() && !cleanup {
                p.add(flag, None, "a port from 1 to 65535; it has no default");
            }
            p.read(flag, value, "a port from 1 to 65535", |t| t.parse::<Port>().ok()).unwrap_or(unused)
        };
        let inbound_port = port("--incoming-proxy-port", &self.incoming_proxy_port, standard.inbound_port);
        let outbound_port = port("--outgoing-proxy-port", &self.outgoing_proxy_port, standard.outbound_port);
        let id = "a number from 1 to 4294967295, or -1 for none";
        let ranges = "a port or a range A-B, 0 to 65535";
        let redirection = Redirection {
            inbound_port,
            outbound_port,
            exempt_uid: p.read("--proxy-uid", &self.proxy_uid, id, parse_id).flatten(),
            exempt_gid: p.read("--proxy-gid", &self.proxy_gid, id, parse_id).flatten(),
            exempt_mark: p.read(
                "--proxy-mark",
                &self.proxy_mark,
                "a number from 1 to 4294967295 or 0x1 to 0xffffffff",
                parse_mark,
            ),
            ports_to_redirect: p.list(
                "--ports-to-redirect",
                &self.ports_to_redirect,
                "a port, 0 to 65535",
                |t| t.parse().ok(),
            ),
            skip_inbound_ports: p.list(
                "--inbound-ports-to-ignore",
                &self.inbound_ports_to_ignore,
                ranges,
                parse_range,
            ),
            skip_outbound_ports: p.list(
                "--outbound-ports-to-ignore",
                &self.outbound_ports_to_ignore,
                ranges,
                parse_range,
            ),
            skip_subnets: p.list(
                "--subnets-to-ignore",
                &self.subnets_to_ignore,
                "a network ADDRESS/PREFIX",
                |t| t.contains('/').then(|| t.parse::<Cidr>().ok())?,
            ),
            ipv6: p.flag("--ipv6", &self.ipv6, true),
        };
        let close_wait = p.read(
            "--timeout-close-wait-secs",
            &self.timeout_close_wait_secs,
            "seconds, 0 to 2147483",
            |t| {
                // The kernel counts it in jiffies in an int.
                t.parse::<u32>().ok().filter(|s| *s <= 2_147_483)
            },
        );
        if cleanup && simulate {
            p.add("--cleanup", None, "one of --cleanup and --simulate");
        }
        Options {
            redirection,
            means: self.means(p),
            mode: match (cleanup, simulate) {
                (true, _) => Mode::Cleanup,
                (false, true) => Mode::Simulate,
                (false, false) => Mode::Apply,
            },
            netns: self.netns.filter(|n| !n.is_empty()).map(PathBuf::from),
            wait: p.flag("--use-wait-flag", &self.use_wait_flag, false),
            close_wait_secs: close_wait.filter(|s| *s > 0),
            log,
        }
    }

    fn means(&self, p: &mut Problems) -> Means {
        let backend = p.read(
            "--backend",
            &self.backend,
            "nft-netlink, iptables-nft, iptables-legacy or iptables",
            |t| {
                if t == "nft-netlink" { Some(Choice::Netlink) } else { by_program(t).map(Choice::Iptables) }
            },
        );
        let mode = p.read("--iptables-mode", &self.iptables_mode, "legacy, nft or plain", |t| match t {
            "legacy" => Some(Variant::Legacy),
            "nft" => Some(Variant::Nft),
            "plain" => Some(Variant::Plain),
            _ => None,
        });
        let names = "iptables-legacy, iptables-nft or iptables";
        let legacy_if_empty = |t: &str| if t.is_empty() { Some(Variant::Legacy) } else { by_program(t) };
        let program = p.read("--firewall-bin-path", &self.firewall_bin_path, names, legacy_if_empty);
        p.read(
            "--firewall-save-bin-path",
            &self.firewall_save_bin_path,
            &format!("{names}, each with -save"),
            |t| {
                if t.is_empty() { Some(Variant::Legacy) } else { by_program(t.strip_suffix("-save")?) }
            },
        );
        match (backend, mode.or(program)) {
            (Some(choice), _) => Means::Exactly(choice),
            (None, Some(variant)) => Means::Rather(variant),
            (None, None) => Means::Exactly(Choice::Netlink),
        }
    }
}

impl LogArgs {
    fn check(&self, p: &mut Problems) -> LogOptions {
        let format = p.read("--log-format", &self.log_format, "plain or json", Format::from_name);
        let level =
            p.read("--log-level", &self.log_level, "error, warn, info, debug or trace", Level::from_name);
        LogOptions { format: format.unwrap_or_default(), level: level.unwrap_or_default() }
    }
}

impl ValidateArgs {
    fn check(self, p: &mut Problems) -> validate::Options {
        let standard = validate::Options::default();
        let address = "an address with a port, such as 192.0.2.2:1404 or [fd00::1]:20001";
        let connect = p.read("--connect-addr", &self.connect_addr, address, |t| t.parse().ok());
        let listen = p.read("--listen-addr", &self.listen_addr, address, |t| t.parse().ok());
        let time = "a number and one of ms, s, m, h, d";
        validate::Options {
            connect: connect.unwrap_or(standard.connect),
            listen: listen.unwrap_or(standard.listen),
            timeout: p
                .read("--timeout", &self.timeout, time, validate::parse_timeout)
                .unwrap_or(standard.timeout),
            log: self.log.check(p),
        }
    }
}

/// Linkerd exempts users and groups above 0 and takes anything below for "none".
fn parse_id(text: &str) -> Option<Option<u32>> {
    let n: i64 = text.parse().ok()?;
    if n <= 0 { Some(None) } else { u32::try_from(n).ok().map(Some) }
}

fn parse_mark(text: &str) -> Option<u32> {
    let n = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => text.parse().ok()?,
    };
    (n > 0).then_some(n)
}

fn parse_range(text: &str) -> Option<PortRange> {
    let port = |t: &str| t.bytes().all(|b| b.is_ascii_digit()).then(|| t.parse::<u16>().ok())?;
    let range = match text.split_once('-') {
        Some((low, high)) => PortRange { low: port(low)?, high: port(high)? },
        None => PortRange::one(port(text)?),
    };
    (range.low <= range.high).then_some(range)
}

fn by_program(name: &str) -> Option<Variant> {
    Variant::ALL.into_iter().find(|v| v.name() == name)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} {value:?}: expected {}", self.flag, self.expected),
            None => write!(f, "{}: expected {}", self.flag, self.expected),
        }
    }
}

#[cfg(test)]
mod tests;
