use super::*;
use std::time::Duration;

fn read(line: &str) -> Result<Command, Usage> {
    parse(iter_args("weft-init", line))
}

fn iter_args(name: &str, line: &str) -> Vec<OsString> {
    std::iter::once(name).chain(line.split(' ').filter(|w| !w.is_empty())).map(OsString::from).collect()
}

fn redirect(line: &str) -> Options {
    match read(line) {
        Ok(Command::Redirect(options)) => *options,
        other => panic!("{line}: {other:?}"),
    }
}

fn problems(line: &str) -> Vec<String> {
    match read(line) {
        Err(Usage::Problems(problems)) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn what_a_stock_injector_passes() {
    let options = redirect(
        "--ipv6=false --incoming-proxy-port 4143 --outgoing-proxy-port 4140 --proxy-uid 2102 \
         --inbound-ports-to-ignore 4190,4191,4567,4568 --outbound-ports-to-ignore 4567,4568 \
         --firewall-bin-path iptables-nft --firewall-save-bin-path iptables-nft-save",
    );
    let one = PortRange::one;
    assert_eq!(
        options.redirection,
        Redirection {
            skip_inbound_ports: vec![one(4190), one(4191), one(4567), one(4568)],
            skip_outbound_ports: vec![one(4567), one(4568)],
            ipv6: false,
            ..Redirection::standard()
        }
    );
    assert_eq!(options.means, Means::Rather(Variant::Nft));
    assert_eq!(options.mode, Mode::Apply);
}

#[test]
fn defaults_and_short_flags() {
    let options = redirect("-p 1 -o 2");
    assert_eq!(
        (options.redirection.exempt_uid, options.redirection.exempt_gid, options.redirection.exempt_mark),
        (None, None, None)
    );
    assert!(
        options.redirection.ipv6
            && !options.wait
            && options.netns.is_none()
            && options.close_wait_secs.is_none()
    );
    assert_eq!(options.means, Means::Exactly(Choice::Netlink));
    assert_eq!(options.log, LogOptions::default());

    let options = redirect(
        "-p 1 -o 2 -u 3 -g 4 -r 80,443 -r 8080 -w --proxy-mark 0x10 --netns /proc/1/ns/net --timeout-close-wait-secs 3600 \
         --subnets-to-ignore 10.0.0.0/8,fd00::/8 --outbound-ports-to-ignore 0-1023 --simulate --log-format json --log-level debug",
    );
    let r = &options.redirection;
    assert_eq!((r.exempt_uid, r.exempt_gid, r.exempt_mark), (Some(3), Some(4), Some(16)));
    assert_eq!(r.ports_to_redirect, [80, 443, 8080]);
    assert_eq!(r.skip_subnets.len(), 2);
    assert_eq!(r.skip_outbound_ports, [PortRange { low: 0, high: 1023 }]);
    assert_eq!((options.wait, options.mode, options.close_wait_secs), (true, Mode::Simulate, Some(3600)));
    assert_eq!(options.netns.as_deref(), Some(Path::new("/proc/1/ns/net")));
    assert_eq!(options.log, LogOptions { format: Format::Json, level: Level::Debug });
}

#[test]
fn ids_below_one_are_none() {
    let options = redirect("-p 1 -o 2 -u 0 -g -1");
    assert_eq!((options.redirection.exempt_uid, options.redirection.exempt_gid), (None, None));
}

#[test]
fn back_ends() {
    for (flags, expect) in [
        ("", Means::Exactly(Choice::Netlink)),
        ("--backend nft-netlink --iptables-mode legacy", Means::Exactly(Choice::Netlink)),
        ("--backend iptables-legacy", Means::Exactly(Choice::Iptables(Variant::Legacy))),
        ("--iptables-mode plain --firewall-bin-path iptables-nft", Means::Rather(Variant::Plain)),
        ("--firewall-bin-path iptables-legacy", Means::Rather(Variant::Legacy)),
        ("--firewall-bin-path=", Means::Rather(Variant::Legacy)),
        (
            "--firewall-bin-path iptables --firewall-save-bin-path iptables-save",
            Means::Rather(Variant::Plain),
        ),
    ] {
        assert_eq!(redirect(&format!("-p 1 -o 2 {flags}")).means, expect, "{flags}");
    }
}

#[test]
fn what_is_not_installed_is_replaced_only_where_linkerd_replaces_it() {
    let nowhere = OsStr::new("/no/such/directory");
    let options = redirect("-p 1 -o 2 --iptables-mode legacy");
    let (backend, warning) = options.means.backend(nowhere, &options).unwrap();
    assert_eq!(backend, Backend::Netlink);
    assert_eq!(warning.as_deref(), Some("iptables-legacy is not installed, using nft-netlink"));
    let exactly = redirect("-p 1 -o 2 --backend iptables-legacy");
    let e = exactly.means.backend(nowhere, &exactly).unwrap_err();
    assert!(e.to_string().starts_with("iptables-legacy-restore is not on the search path"), "{e}");
}

#[test]
fn all_problems_at_once() {
    assert_eq!(
        problems(
            "-p 0 -u x -g 5000000000 --proxy-mark 0 -r 80,http --inbound-ports-to-ignore 90-80,1-2-3,+5 \
             --subnets-to-ignore 10.0.0.0/33,10.0.0.1 --ipv6=maybe --timeout-close-wait-secs -1 --backend pf \
             --iptables-mode fast --firewall-bin-path /sbin/iptables --firewall-save-bin-path iptables \
             --log-format xml --log-level loud",
        ),
        [
            "--log-format \"xml\": expected plain or json",
            "--log-level \"loud\": expected error, warn, info, debug or trace",
            "--incoming-proxy-port \"0\": expected a port from 1 to 65535",
            "--outgoing-proxy-port: expected a port from 1 to 65535; it has no default",
            "--proxy-uid \"x\": expected a number from 1 to 4294967295, or -1 for none",
            "--proxy-gid \"5000000000\": expected a number from 1 to 4294967295, or -1 for none",
            "--proxy-mark \"0\": expected a number from 1 to 4294967295 or 0x1 to 0xffffffff",
            "--ports-to-redirect \"http\": expected a port, 0 to 65535",
            "--inbound-ports-to-ignore \"90-80\": expected a port or a range A-B, 0 to 65535",
            "--inbound-ports-to-ignore \"1-2-3\": expected a port or a range A-B, 0 to 65535",
            "--inbound-ports-to-ignore \"+5\": expected a port or a range A-B, 0 to 65535",
            "--subnets-to-ignore \"10.0.0.0/33\": expected a network ADDRESS/PREFIX",
            "--subnets-to-ignore \"10.0.0.1\": expected a network ADDRESS/PREFIX",
            "--ipv6 \"maybe\": expected true or false",
            "--timeout-close-wait-secs \"-1\": expected seconds, 0 to 2147483",
            "--backend \"pf\": expected nft-netlink, iptables-nft, iptables-legacy or iptables",
            "--iptables-mode \"fast\": expected legacy, nft or plain",
            "--firewall-bin-path \"/sbin/iptables\": expected iptables-legacy, iptables-nft or iptables",
            "--firewall-save-bin-path \"iptables\": expected iptables-legacy, iptables-nft or iptables, each with -save",
        ]
    );
}

#[test]
fn lists_have_an_end() {
    let ports = |n: u16| (1..=n).map(|p| p.to_string()).collect::<Vec<_>>().join(",");
    let limit = u16::try_from(MAX_ENTRIES).unwrap();
    redirect(&format!("-p 1 -o 2 --inbound-ports-to-ignore {}", ports(limit)));
    assert_eq!(
        problems(&format!("-p 1 -o 2 --inbound-ports-to-ignore {}", ports(limit + 1))),
        ["--inbound-ports-to-ignore \"129 entries\": expected at most 128; use ranges"]
    );
}

#[test]
fn cleanup_needs_no_ports() {
    assert_eq!(redirect("--cleanup").mode, Mode::Cleanup);
    assert_eq!(problems("--cleanup --simulate"), ["--cleanup: expected one of --cleanup and --simulate"]);
}

#[test]
fn validation() {
    let Ok(Command::Validate(options)) = read("validate") else { panic!() };
    assert_eq!(options, validate::Options::default());
    let line = "--log-format plain --log-level debug --connect-addr [fd00::1]:20001 --listen-addr [::]:4140 --timeout 3s";
    let Ok(Command::Validate(named)) = parse(iter_args("/usr/lib/linkerd/linkerd2-network-validator", line))
    else {
        panic!("the program's name decides")
    };
    assert_eq!(named.connect, "[fd00::1]:20001".parse().unwrap());
    assert_eq!(named.timeout, Duration::from_secs(3));
    assert_eq!(problems("validate --timeout 5 --connect-addr web:80").len(), 2);
}

#[test]
fn unknown_flags_and_help() {
    assert!(matches!(read("--no-such-flag"), Err(Usage::Clap(e)) if e.use_stderr()));
    assert!(matches!(read("--help"), Err(Usage::Clap(e)) if !e.use_stderr()));
    assert!(matches!(read("-p 1 validate"), Err(Usage::Clap(_))));
}
