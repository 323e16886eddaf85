//! Flags, good and bad.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

fn resolve(flags: &str, resolv_conf: &str) -> Result<Config, String> {
    let words = std::iter::once("weft").chain(flags.split_ascii_whitespace());
    let options = Cli::try_parse_from(words).unwrap().options;
    let surroundings = Surroundings { resolv_conf: resolv_conf.to_owned(), ..Surroundings::default() };
    options.resolve("test", &surroundings).map_err(|problems| problems.to_string())
}

#[test]
fn defaults_make_sense() {
    let config =
        resolve("", "# none\nsearch example\nnameserver 192.0.2.53\nnameserver ::1\nnameserver\noptions x\n")
            .unwrap();
    assert_eq!((config.listen, config.advertise), (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()));
    assert_eq!(config.ports, PORTS);
    assert_eq!(config.admin, ADMIN_LISTEN.parse().ok());
    assert_eq!(config.upstreams, ["192.0.2.53:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
    assert_eq!(
        (config.lease_ttl, config.service_linger),
        (Duration::from_secs(15), Duration::from_secs(600))
    );
    assert_eq!(config.state, Path::new("/var/lib/weft"));
    assert_eq!(config.settings.cluster_domain.as_str(), "cluster.local");
    assert!(config.settings.cluster_networks.len() == 5, "both networks are private ones");
    Config::with_state(Path::new("/x"), "test").unwrap();
}

#[test]
fn the_state_is_where_states_are() {
    let path = |path: &str| Some(PathBuf::from(path));
    for (state_home, home, expected) in [
        (path("/s"), path("/h"), "/s/weft"),
        (None, path("/h"), "/h/.local/state/weft"),
        (None, None, "/var/lib/weft"),
    ] {
        let surroundings = Surroundings { state_home, home, ..Surroundings::default() };
        assert_eq!(default_state(&surroundings), Path::new(expected));
    }
}

#[test]
fn every_flag_has_its_effect() {
    let config = resolve(
        "--state /s --listen 0.0.0.0 --advertise 192.0.2.1 -f a -f b --workload-network 192.0.2.0/26 \
         --service-network fd00:1::/64 --cluster-networks 10.0.0.0/8 --cluster-domain mesh.example. --trust-domain td.example \
         --control-plane-namespace weft --default-inbound-policy all-authenticated --allow-l5d-request-headers \
         --lease-ttl 1m30s --service-linger 0s --certificate-lifetime 1h --clock-skew 0s --join-token-ttl 48h \
         --dns-upstream 192.0.2.9 --dns-upstream [::1]:5353 --destination-port 1 --policy-port 2 --identity-port 3 \
         --metrics-port 4 --dns-port 0 --admin-listen off",
        "",
    )
    .unwrap();
    assert_eq!(config.advertise, "192.0.2.1".parse::<IpAddr>().unwrap());
    assert_eq!(config.manifests, [PathBuf::from("a"), PathBuf::from("b")]);
    assert_eq!(config.ports, Ports { destination: 1, policy: 2, identity: 3, metrics: 4, dns: 0 });
    assert_eq!((config.admin, config.lease_ttl), (None, Duration::from_secs(90)));
    assert_eq!(config.upstreams, ["192.0.2.9:53".parse().unwrap(), "[::1]:5353".parse().unwrap()]);
    let settings = &config.settings;
    assert_eq!(settings.cluster_domain.as_str(), "mesh.example");
    assert_eq!(settings.cluster_networks.len(), 3, "both networks are added");
    assert!(settings.allow_l5d_request_headers);
    assert_eq!((&*config.identity.namespace, config.identity.trust_domain.as_str()), ("weft", "td.example"));
    assert_eq!(config.identity.lifetime.validity, Duration::from_secs(3600));
}

#[test]
fn all_problems_are_told_at_once() {
    let problems = resolve(
        "--listen any --workload-network 10.0.0.0/30 --service-network 10.209.1.0/24 --cluster-networks 10.0.0.0/8,x \
         --cluster-domain a..b --trust-domain .. --control-plane-namespace A --default-inbound-policy open --lease-ttl 0s \
         --service-linger soon --certificate-lifetime 5 --dns-upstream none --dns-upstream dns.example --destination-port 70000 \
         --policy-port 8080 --admin-listen 7443",
        "",
    )
    .unwrap_err();
    let expected = "\
--listen any: expected an IP address
--destination-port 70000: expected a port from 0 to 65535; 0 is any free one
--identity-port 8080: expected another port than --policy-port
--admin-listen 7443: expected IP:PORT, or off
--workload-network 10.0.0.0/30: expected a network such as 10.209.0.0/16
--service-network 10.209.1.0/24: expected a network apart from the workload network
--cluster-domain a..b: expected a domain name
--trust-domain ..: expected a domain name
--control-plane-namespace A: expected a namespace: at most 63 lower-case letters, digits and `-`
--default-inbound-policy open: expected one of all-unauthenticated, all-authenticated, cluster-unauthenticated, cluster-authenticated, deny, audit
--cluster-networks 10.0.0.0/8,x: expected networks, separated by commas
--lease-ttl 0s: expected a duration from 1s to 3600s, such as 15s, 10m, 24h
--service-linger soon: expected a duration from 0s to 31536000s, such as 15s, 10m, 24h
--certificate-lifetime 5: expected a duration from 10s to 31536000s, such as 15s, 10m, 24h
--dns-upstream none: expected IP or IP:PORT, or none alone
--dns-upstream dns.example: expected IP or IP:PORT, or none alone";
    assert_eq!(problems, expected, "the problems are now:\n{problems}");
}

#[test]
fn any_address_needs_one_to_tell() {
    for flags in ["--listen ::", "--listen 0.0.0.0", "--advertise 0.0.0.0"] {
        assert_eq!(resolve(flags, "").unwrap_err().lines().count(), 1, "{flags}");
    }
}

#[test]
fn a_resolver_is_not_asked_by_itself() {
    let conf = "nameserver 127.0.0.1\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n";
    assert_eq!(resolve("", conf).unwrap().upstreams.len(), MAX_UPSTREAMS);
    assert!(resolve("", conf).unwrap().upstreams.iter().all(|upstream| !upstream.ip().is_loopback()));
    assert!(resolve("--dns-upstream none", conf).unwrap().upstreams.is_empty());
}
