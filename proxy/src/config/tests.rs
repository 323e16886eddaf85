//! What a stock injector sets, and what happens when it is wrong.

use super::*;
use std::collections::BTreeMap;

const NAME: &str = "web.default.serviceaccount.identity.linkerd.cluster.local";

fn cpus() -> NonZeroUsize {
    NonZeroUsize::new(8).unwrap()
}

/// The variables without which a proxy does not start.
fn minimal() -> BTreeMap<String, String> {
    [
        ("DESTINATION_SVC_ADDR", "linkerd-dst-headless.linkerd.svc.cluster.local.:8086"),
        ("DESTINATION_SVC_NAME", "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"),
        ("POLICY_SVC_ADDR", "linkerd-policy.linkerd.svc.cluster.local.:8090"),
        ("POLICY_SVC_NAME", "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local"),
        ("IDENTITY_SVC_ADDR", "localhost.:8080"),
        ("POLICY_WORKLOAD", "{\"ns\":\"default\",\"pod\":\"web-0\"}\n"),
        ("IDENTITY_LOCAL_NAME", NAME),
        ("IDENTITY_TRUST_ANCHORS", "-----BEGIN CERTIFICATE-----\n"),
        ("IDENTITY_TOKEN_FILE", "/var/run/secrets/tokens/linkerd-identity-token"),
    ]
    .into_iter()
    .map(|(name, value)| (format!("{PREFIX}{name}"), value.to_owned()))
    .collect()
}

fn with(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut env = minimal();
    env.extend(variables.iter().map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned())));
    env
}

fn problems(env: &BTreeMap<String, String>) -> Vec<String> {
    Config::from_env(env, cpus())
        .unwrap_err()
        .0
        .into_iter()
        .map(|problem| problem.variable.replace(PREFIX, ""))
        .collect()
}

#[test]
fn defaults_are_linkerds() {
    let config = Config::from_env(&minimal(), cpus()).unwrap();
    assert_eq!(config.cores.get(), 1);
    assert_eq!(config.outbound.side.listen, ["127.0.0.1:4140".parse().unwrap()]);
    assert_eq!(config.inbound.side.listen, ["0.0.0.0:4143".parse().unwrap()]);
    assert_eq!(config.admin_listen, "127.0.0.1:4191".parse().unwrap());
    assert_eq!(config.outbound.side.connect_timeout, Duration::from_secs(1));
    assert_eq!(config.inbound.side.connect_timeout, Duration::from_millis(300));
    assert_eq!(config.outbound.side.connect_backoff.max, Duration::from_secs(60));
    assert_eq!(config.inbound.side.connect_backoff.max, Duration::from_secs(10));
    assert_eq!(
        (config.outbound.side.failfast_timeout, config.inbound.side.failfast_timeout),
        (Duration::from_secs(3), Duration::from_secs(1))
    );
    assert_eq!(config.shutdown_grace, Duration::from_secs(120));
    assert!(config.unknown.is_empty());
    assert_eq!(config.control.identity.name, None, "loopback is spoken to in plaintext");
    assert_eq!(config.identity.local.to_string(), NAME);
}

#[test]
fn what_the_chart_sets_is_taken() {
    let config = Config::from_env(
        &with(&[
            ("LOG", "warn,linkerd=info,hickory=error,[{headers}]=off,[{request}]=off"),
            ("LOG_FORMAT", "JSON"),
            ("OUTBOUND_LISTEN_ADDRS", "127.0.0.1:4140,[::1]:4140"),
            ("INBOUND_LISTEN_ADDR", "[::]:4143"),
            ("CONTROL_LISTEN_ADDR", "[::]:4190"),
            ("ADMIN_LISTEN_ADDR", "[::]:4191"),
            ("INBOUND_IPS", "10.1.2.3,fd00::5"),
            ("INBOUND_PORTS", "8080,9000-9002"),
            ("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", "25,3306"),
            ("DESTINATION_PROFILE_NETWORKS", "10.0.0.0/8,fd00::/8"),
            ("DESTINATION_PROFILE_SUFFIXES", "svc.cluster.local."),
            ("INBOUND_DEFAULT_POLICY", "cluster-authenticated"),
            ("POLICY_CLUSTER_NETWORKS", "10.0.0.0/8"),
            ("INBOUND_CONNECT_TIMEOUT", "100ms"),
            ("INBOUND_SERVER_HTTP2_KEEP_ALIVE_INTERVAL", "10s"),
            ("INBOUND_SERVER_HTTP2_KEEP_ALIVE_TIMEOUT", "3s"),
            ("CONTROL_STREAM_INITIAL_TIMEOUT", "3s"),
            ("CONTROL_STREAM_IDLE_TIMEOUT", "5m"),
            ("CONTROL_STREAM_LIFETIME", "1h"),
            ("CORES_MIN", "2"),
            ("CORES_MAX_RATIO", "0.5"),
            ("INBOUND_METRICS_AUTHORITY_LABELS", "unsafe"),
        ]),
        cpus(),
    )
    .unwrap();
    assert!(config.log.json);
    assert_eq!(config.cores.get(), 4);
    assert_eq!(config.outbound.side.listen.len(), 2);
    assert_eq!(config.inbound.ips.len(), 2);
    assert!(config.inbound.opaque_ports.to_string().contains("3306"));
    assert_eq!(config.control.stream_lifetime, Some(Duration::from_secs(3600)));
    assert!(config.unknown.is_empty(), "{:?}", config.unknown);
}

#[test]
fn all_problems_are_told_at_once() {
    let env = with(&[
        ("OUTBOUND_CONNECT_TIMEOUT", "soon"),
        ("INBOUND_DEFAULT_POLICY", "maybe"),
        ("CORES", "0"),
        ("SHUTDOWN_ENDPOINT_ENABLED", "yes"),
        ("POLICY_SVC_ADDR", "nowhere"),
    ]);
    let mut found = problems(&env);
    found.sort();
    assert_eq!(
        found,
        [
            "CORES",
            "INBOUND_DEFAULT_POLICY",
            "OUTBOUND_CONNECT_TIMEOUT",
            "POLICY_SVC_ADDR",
            "SHUTDOWN_ENDPOINT_ENABLED"
        ]
    );
    let text = Config::from_env(&env, cpus()).unwrap_err().to_string();
    assert!(text.contains("LINKERD2_PROXY_OUTBOUND_CONNECT_TIMEOUT=\"soon\": expected a duration"), "{text}");
}

#[test]
fn missing_variables_are_named() {
    let found = problems(&BTreeMap::new());
    for name in [
        "DESTINATION_SVC_ADDR",
        "POLICY_SVC_ADDR",
        "IDENTITY_SVC_ADDR",
        "POLICY_WORKLOAD",
        "IDENTITY_TRUST_ANCHORS",
        "IDENTITY_TOKEN_FILE",
    ] {
        assert!(found.iter().any(|found| found == name), "{name} in {found:?}");
    }
}

#[test]
fn a_service_elsewhere_needs_a_name() {
    let mut env = minimal();
    env.remove("LINKERD2_PROXY_POLICY_SVC_NAME");
    assert_eq!(problems(&env), ["POLICY_SVC_NAME"]);
}

#[test]
fn values_that_contradict_each_other_are_problems() {
    for (variables, variable) in [
        (vec![("IDENTITY_MIN_REFRESH", "2m"), ("IDENTITY_MAX_REFRESH", "1m")], "IDENTITY_MIN_REFRESH"),
        (
            vec![("CONTROL_STREAM_IDLE_TIMEOUT", "2h"), ("CONTROL_STREAM_LIFETIME", "1h")],
            "CONTROL_STREAM_LIFETIME",
        ),
        (vec![("INBOUND_DEFAULT_POLICY", "cluster-authenticated")], "POLICY_CLUSTER_NETWORKS"),
        (vec![("OUTBOUND_CONNECT_EXP_BACKOFF_MIN", "2m")], "OUTBOUND_CONNECT_EXP_BACKOFF_MAX"),
        (vec![("IDENTITY_DISABLED", "1")], "IDENTITY_DISABLED"),
        (vec![("INGRESS_MODE", "true")], "INGRESS_MODE"),
    ] {
        assert_eq!(problems(&with(&variables)), [variable], "{variables:?}");
    }
}

#[test]
fn unknown_variables_are_listed_for_a_warning() {
    let config = Config::from_env(&with(&[("OUTBOUND_LISTEN_ADR", "127.0.0.1:1")]), cpus()).unwrap();
    assert_eq!(config.unknown, ["LINKERD2_PROXY_OUTBOUND_LISTEN_ADR"]);
}
