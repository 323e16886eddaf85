//! Redirection for real: namespaces, links, a proxy that tells what it sees, and each back end.
//!
//! Needs root, and Debian's nftables and iptables for their back ends.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "redirect/world.rs"]
mod world;

use std::{ffi::OsStr, fs, os::unix::fs::PermissionsExt, path::Path, process::Command};
use weft_init::{
    Backend, Plan, PortRange, Redirection,
    apply::{ApplyError, Tools, Variant},
    netlink::{Protocol, Socket},
    nft::{self, Transaction},
    plan::MAX_ENTRIES,
    render, validate,
};
use world::{As, PROXY_MARK, PROXY_UID, World};

const SEARCH: &str = "/usr/sbin:/sbin:/usr/bin:/bin";

fn iptables(variant: Variant) -> Backend {
    Backend::Iptables(Tools::find(variant, OsStr::new(SEARCH), true).expect("Debian's iptables package"))
}

fn plan() -> Plan {
    Plan::new(&Redirection {
        exempt_uid: Some(PROXY_UID),
        exempt_mark: Some(PROXY_MARK),
        skip_inbound_ports: vec![PortRange::one(4190), PortRange { low: 4567, high: 4570 }],
        skip_outbound_ports: vec![PortRange::one(5999)],
        skip_subnets: vec!["10.77.0.3/32".parse().unwrap(), "fd77::3/128".parse().unwrap()],
        ..Redirection::standard()
    })
}

/// What arrives where, from which side, and who is exempt.
fn redirects(backend: &Backend) {
    let world = World::new();
    let (a, b, c) = (&world.pods[0], &world.pods[1], &world.pods[2]);
    a.serve_proxy();
    for (pod, name) in [(a, "app-a"), (b, "app-b")] {
        pod.serve(&[8080, 4569, 5999], name);
    }

    let report = a.ns.run(|| backend.apply(&plan())).unwrap().unwrap();
    assert_eq!(report.rules, plan().inbound.len() + plan().outbound.len());

    let user = As::User(1000);
    for (name, from, who, to, expect) in [
        ("inbound IPv4", b, user, "10.77.0.1:8080", "inbound 10.77.0.1:8080"),
        ("inbound IPv6", b, user, "[fd77::1]:8080", "inbound [fd77::1]:8080"),
        ("outbound IPv4", a, user, "10.77.0.2:8080", "outbound 10.77.0.2:8080"),
        ("outbound IPv6", a, user, "[fd77::2]:8080", "outbound [fd77::2]:8080"),
        ("outbound to an address nobody has", a, user, "10.96.0.10:80", "outbound 10.96.0.10:80"),
        ("root is not exempt", a, As::User(0), "10.77.0.2:8080", "outbound 10.77.0.2:8080"),
        ("the proxy's user is", a, As::User(PROXY_UID), "10.77.0.2:8080", "app-b"),
        ("over IPv6 too", a, As::User(PROXY_UID), "[fd77::2]:8080", "app-b"),
        ("the proxy's mark is", a, As::Marked(PROXY_MARK), "10.77.0.2:8080", "app-b"),
        ("another mark is not", a, As::Marked(PROXY_MARK + 1), "10.77.0.2:8080", "outbound 10.77.0.2:8080"),
        ("loopback", a, user, "127.0.0.1:8080", "app-a"),
        ("loopback IPv6", a, user, "[::1]:8080", "app-a"),
        ("its own address", a, user, "10.77.0.1:8080", "app-a"),
        ("its own IPv6 address", a, user, "[fd77::1]:8080", "app-a"),
        ("a skipped inbound port", b, user, "10.77.0.1:4569", "app-a"),
        ("a skipped inbound port, IPv6", b, user, "[fd77::1]:4569", "app-a"),
        ("a skipped outbound port", a, user, "10.77.0.2:5999", "app-b"),
        ("a port skipped outbound only", b, user, "10.77.0.1:5999", "inbound 10.77.0.1:5999"),
        ("a skipped network", c, user, "10.77.0.1:8080", "app-a"),
        ("a skipped network, IPv6", c, user, "[fd77::1]:8080", "app-a"),
        ("straight to the proxy", b, user, "10.77.0.1:4143", "inbound 10.77.0.1:4143"),
        ("a namespace without rules", b, user, "10.77.0.2:8080", "app-b"),
    ] {
        assert_eq!(from.ask(who, to), expect, "{backend}: {name}");
    }
}

/// Twice is once, other rules are left alone, and a cleanup leaves nothing.
fn is_repeatable(backend: &Backend) {
    let world = World::new();
    let pod = &world.pods[0];
    pod.ns
        .run(|| {
            let foreign = foreign_rules(backend);
            let empty = snapshot(backend);
            backend.apply(&plan()).unwrap();
            let once = snapshot(backend);
            assert_ne!(empty, once);
            for _ in 0..2 {
                backend.apply(&plan()).unwrap();
                assert_eq!(snapshot(backend), once, "{backend}");
                assert_eq!(backend.differences(&plan()).unwrap(), Vec::<String>::new());
            }
            let other = Plan::new(&Redirection { exempt_uid: Some(5), ..Redirection::standard() });
            assert_ne!(backend.differences(&other).unwrap(), Vec::<String>::new());
            backend.apply(&other).unwrap();
            assert_eq!(backend.differences(&other).unwrap(), Vec::<String>::new());
            assert!(snapshot(backend).contains(&foreign), "{backend}: somebody else's rule is gone");

            backend.cleanup().unwrap();
            assert_eq!(snapshot(backend), empty, "{backend}");
            backend.cleanup().unwrap();
        })
        .unwrap();
}

/// A rule that somebody else made.
fn foreign_rules(backend: &Backend) -> String {
    match backend {
        Backend::Netlink => {
            shell(
                "nft add table inet other; nft add chain inet other c; nft add rule inet other c tcp dport 9 drop",
            );
            "tcp dport 9 drop".into()
        }
        Backend::Iptables(tools) => {
            let program = tools.variant().name();
            // Also makes the tool create its tables, so that "nothing of ours" looks the same before and after.
            shell(&format!(
                "{program} -t nat -A OUTPUT -p tcp --dport 9 -j ACCEPT; ip6{} -t nat -S",
                &program[2..]
            ));
            "-p tcp -m tcp --dport 9 -j ACCEPT".into()
        }
    }
}

/// All rules, by a program that is not ours.
fn snapshot(backend: &Backend) -> String {
    let text = match backend {
        Backend::Netlink => shell("nft list ruleset"),
        Backend::Iptables(tools) => {
            let program = tools.variant().name();
            shell(&format!("{program}-save -t nat; ip6{}-save -t nat", &program[2..]))
        }
    };
    // Counters and times change.
    text.lines()
        .filter(|l| !l.starts_with(['#', ':']) || l.contains("PROXY_INIT"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn shell(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).env("PATH", SEARCH).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn netlink_redirects() {
    redirects(&Backend::Netlink);
}

#[test]
fn iptables_nft_redirects() {
    redirects(&iptables(Variant::Nft));
}

#[test]
fn iptables_legacy_redirects() {
    redirects(&iptables(Variant::Legacy));
}

#[test]
fn netlink_is_repeatable() {
    is_repeatable(&Backend::Netlink);
}

#[test]
fn iptables_nft_is_repeatable() {
    is_repeatable(&iptables(Variant::Nft));
}

#[test]
fn iptables_legacy_is_repeatable() {
    is_repeatable(&iptables(Variant::Legacy));
}

#[test]
fn nft_shows_what_was_meant() {
    let world = World::new();
    world.pods[0]
        .ns
        .run(|| {
            Backend::Netlink.apply(&plan()).unwrap();
            let shown = shell("nft -y -u list table inet weft_init");
            let meant = render::nft(&plan()).to_string();
            let lines = |text: &str| {
                text.lines().map(|l| l.trim().to_owned()).filter(|l| !l.is_empty()).collect::<Vec<_>>()
            };
            assert_eq!(lines(&shown), lines(&meant));
            // And what is printed for --simulate means the same to nft.
            Backend::Netlink.cleanup().unwrap();
            let file = world.directory.join("rules.nft");
            fs::write(&file, &meant).unwrap();
            shell(&format!("nft -f {}", file.display()));
            assert_eq!(Backend::Netlink.differences(&plan()).unwrap(), Vec::<String>::new());
        })
        .unwrap();
}

#[test]
fn a_refused_transaction_changes_nothing() {
    let world = World::new();
    world.pods[0]
        .ns
        .run(|| {
            Backend::Netlink.apply(&plan()).unwrap();
            let before = shell("nft list ruleset");
            let mut table = render::nft(&Plan::new(&Redirection::standard()));
            // Redirecting is for chains of type nat only.
            table.chains[1].kind = nft::Kind::Filter;
            let mut socket = Socket::open(Protocol::Netfilter).unwrap();
            let e = Transaction::new().replace(&table).commit(&mut socket).unwrap_err();
            assert!(
                e.to_string().starts_with(
                    "the kernel refused to add a rule to chain PROXY_INIT_OUTPUT: meta l4proto tcp redirect to :4140"
                ),
                "{e}"
            );
            assert_eq!(shell("nft list ruleset"), before);
            assert_eq!(Backend::Netlink.differences(&plan()).unwrap(), Vec::<String>::new());
        })
        .unwrap();
}

/// The second family's restore fails after the first one's succeeded.
fn a_failing_second_family_leaves_the_first(variant: Variant) {
    let world = World::new();
    let good = iptables(variant);
    let program = variant.name();
    for name in
        [format!("{program}-restore"), format!("{program}-save"), format!("ip6{}-save", &program[2..])]
    {
        std::os::unix::fs::symlink(format!("/usr/sbin/{name}"), world.directory.join(name)).unwrap();
    }
    let broken = world.directory.join(format!("ip6{}-restore", &program[2..]));
    fs::write(
        &broken,
        "#!/bin/sh\ncat >/dev/null\ncase \"$*\" in *--test*) exit 0;; esac\necho no luck >&2\nexit 3\n",
    )
    .unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    let bad = Backend::Iptables(Tools::find(variant, world.directory.as_os_str(), true).unwrap());
    world.pods[0]
        .ns
        .run(|| {
            foreign_rules(&good);
            let empty = snapshot(&good);
            let fails = || {
                let e = bad.apply(&Plan::new(&Redirection::standard())).unwrap_err();
                assert!(e.to_string().contains("no luck"), "{e}");
            };
            // put_back uses the same broken program for IPv6, where there is nothing to put back.
            fails();
            assert_eq!(snapshot(&good), empty, "nothing was there before");
            good.apply(&plan()).unwrap();
            let full = snapshot(&good);
            fails();
            assert_eq!(snapshot(&good), full, "another plan was there before");
        })
        .unwrap();
}

#[test]
fn iptables_nft_is_all_or_nothing() {
    a_failing_second_family_leaves_the_first(Variant::Nft);
}

#[test]
fn iptables_legacy_is_all_or_nothing() {
    a_failing_second_family_leaves_the_first(Variant::Legacy);
}

#[test]
fn the_longest_lists_fit() {
    let range = |n: u16| PortRange { low: n * 100, high: n * 100 + 50 };
    let limit = u16::try_from(MAX_ENTRIES).unwrap();
    let plan = Plan::new(&Redirection {
        ports_to_redirect: (1..=limit).collect(),
        skip_inbound_ports: (1..=limit).map(range).collect(),
        skip_outbound_ports: (1..=limit).map(range).collect(),
        skip_subnets: (0..limit).map(|n| format!("fd77:0:0:{n:x}::/64").parse().unwrap()).collect(),
        exempt_gid: Some(7),
        exempt_mark: Some(8),
        ..Redirection::standard()
    });
    let world = World::new();
    for backend in [Backend::Netlink, iptables(Variant::Nft), iptables(Variant::Legacy)] {
        world.pods[0].ns.run(|| backend.apply(&plan)).unwrap().unwrap();
    }
}

#[test]
fn without_ipv6_only_ipv4_is_redirected() {
    let world = World::new();
    let (a, b) = (&world.pods[0], &world.pods[1]);
    a.serve_proxy();
    b.serve(&[8080], "app-b");
    let plan = Plan::new(&Redirection { ipv6: false, ..Redirection::standard() });
    a.ns.run(|| Backend::Netlink.apply(&plan)).unwrap().unwrap();
    assert_eq!(a.ask(As::User(0), "10.77.0.2:8080"), "outbound 10.77.0.2:8080");
    assert_eq!(a.ask(As::User(0), "[fd77::2]:8080"), "app-b");
}

#[test]
fn without_the_right_to_it_is_refused_with_advice() {
    let world = World::new();
    let e = world.pods[0]
        .ns
        .run(|| {
            world::become_user(1000);
            Backend::Netlink.apply(&plan()).unwrap_err()
        })
        .unwrap();
    assert!(matches!(e, ApplyError::Netlink(_)), "{e}");
    assert!(e.to_string().contains("CAP_NET_ADMIN"), "{e}");
}

/// The program itself: applies in another namespace, validates there, tells with its exit code.
#[test]
fn the_program() {
    let world = World::new();
    let ns = world.pods[0].path();
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_weft-init")).args(args).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let inside = |args: &[&str]| world.pods[0].ns.run(|| run(args)).unwrap();
    let validate =
        ["validate", "--timeout", "300ms", "--listen-addr", "[::]:4140", "--connect-addr", "192.0.2.2:1404"];
    let (code, text) = inside(&validate);
    assert_eq!(code, Some(i32::from(validate::EXIT_CODE)), "{text}");
    assert!(text.contains("outbound connections are not redirected"), "{text}");

    let flags = [
        "-p",
        "4143",
        "-o",
        "4140",
        "-u",
        "2102",
        "--netns",
        ns.to_str().unwrap(),
        "--timeout-close-wait-secs",
        "77",
    ];
    let (code, text) = run(&flags);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("4 rules in force by nft-netlink, read back and compared"), "{text}");
    let close_wait = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait";
    assert_eq!(world.pods[0].ns.run(|| fs::read_to_string(close_wait)).unwrap().unwrap(), "77\n");

    let (code, text) = inside(&validate);
    assert_eq!(code, Some(0), "{text}");
    let (code, _) = inside(&[
        "validate",
        "--timeout",
        "3s",
        "--listen-addr",
        "[::]:4140",
        "--connect-addr",
        "[fd00::1]:20001",
    ]);
    assert_eq!(code, Some(0), "IPv6");

    assert_eq!(run(&["--cleanup", "--netns", ns.to_str().unwrap()]).0, Some(0));
    assert_eq!(inside(&validate).0, Some(95));
    let (code, text) = run(&["-p", "4143", "-o", "4140", "--netns", "/dev/null"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("could not enter the network namespace"), "{text}");
    assert!(Path::new("/dev/null").exists());
}
