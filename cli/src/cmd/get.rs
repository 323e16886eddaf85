//! `weft get`: what the control plane knows, over its admin API.

use super::Failure;
use crate::output::{self, Format, Table};
use jiff::{SignedDuration, Timestamp, Unit};
use serde::Serialize;
use std::{path::PathBuf, process::ExitCode};
use weft_admin_client::{
    Client, ClientError, Filter,
    types::{Certificate, Port, Proxy, Readiness, Service, Workload},
};

const EXAMPLES: &str = "\
Examples:
  weft get workloads
  weft get services -o wide
  weft get proxies -o json
  weft get certificates --identity web.default.serviceaccount.identity.linkerd.cluster.local
  weft get readiness --state /var/lib/weft";

/// Arguments of `weft get`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What
    #[arg(value_enum)]
    kind: Kind,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Only of this namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// Only of this identity; certificates alone
    #[arg(long)]
    identity: Option<String>,
    /// At most so many
    #[arg(long)]
    limit: Option<u32>,
    /// The control plane's state directory
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Names that workloads are reached by
    #[value(alias = "service", alias = "svc")]
    Services,
    /// Programs in the mesh
    #[value(alias = "workload", alias = "wl")]
    Workloads,
    /// Proxies that are connected
    #[value(alias = "proxy")]
    Proxies,
    /// Certificates that were issued, newest first
    #[value(alias = "certificate", alias = "certs")]
    Certificates,
    /// Whether the control plane does its work
    Readiness,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let state = match &args.state {
        Some(state) => state.clone(),
        None => super::default_state()?,
    };
    let client = Client::unix(state.join(crate::workload::registry::SOCKET));
    let filter =
        Filter { namespace: args.namespace.clone(), identity: args.identity.clone(), limit: args.limit };
    let runtime = super::runtime()?;
    let now = Timestamp::now();
    let shown = runtime.block_on(async {
        Ok::<_, ClientError>(match args.kind {
            Kind::Services => show(args, &client.services(&filter).await?, services),
            Kind::Workloads => show(args, &client.workloads(&filter).await?, |list| workloads(list, now)),
            Kind::Proxies => show(args, &client.proxies(&filter).await?, |list| proxies(list, now)),
            Kind::Certificates => {
                show(args, &client.certificates(&filter).await?, |list| certificates(list, now))
            }
            Kind::Readiness => {
                let readiness = client.readiness().await?;
                return Ok(
                    output::print(args.output, &readiness, &parts(&readiness)).map(|()| readiness.ready)
                );
            }
        })
    });
    match shown {
        Ok(shown) => Ok(if shown? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Err(error) => Err(refused(error)),
    }
}

/// A list; empty ones say so on standard error, so that nobody takes silence for an error.
fn show<T: Serialize>(args: &Args, list: &[T], table: impl FnOnce(&[T]) -> Table) -> anyhow::Result<bool> {
    let for_people = matches!(args.output, Format::Table | Format::Wide);
    if list.is_empty() && for_people {
        anstream::eprintln!("there are none");
        return Ok(true);
    }
    output::print(args.output, &list, &table(list)).map(|()| true)
}

fn refused(error: ClientError) -> Failure {
    let advice = error.advice().map(str::to_owned);
    let failure = Failure::new(error);
    match advice {
        Some(advice) => failure.next(advice),
        None => failure,
    }
}

fn services(list: &[Service]) -> Table {
    let mut table = Table::new(["NAMESPACE", "NAME", "ADDRESS", "PORTS", "ENDPOINTS"]).wide(["HOST"]);
    for service in list {
        table.row([
            service.namespace.clone(),
            service.name.clone(),
            service.address.clone().unwrap_or_default(),
            ports(&service.ports),
            format!("{}/{} ready", service.ready_endpoints, service.endpoints),
            service.host.clone(),
        ]);
    }
    table
}

fn workloads(list: &[Workload], now: Timestamp) -> Table {
    let mut table = Table::new(["NAMESPACE", "NAME", "SERVICE", "ADDRESS", "READY", "AGE"])
        .wide(["PORTS", "LEASE", "LABELS", "IDENTITY"]);
    for workload in list {
        let labels: Vec<_> = workload.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        table.row([
            workload.namespace.clone(),
            workload.name.clone(),
            workload.service.clone().unwrap_or_default(),
            workload.address.clone(),
            yes(workload.ready),
            workload.created_at.map(|at| span(now.duration_since(at))).unwrap_or_default(),
            ports(&workload.ports),
            workload.lease_until.map(|at| span(at.duration_since(now))).unwrap_or_default(),
            labels.join(","),
            workload.identity.clone(),
        ]);
    }
    table
}

fn proxies(list: &[Proxy], now: Timestamp) -> Table {
    let mut table = Table::new(["NAMESPACE", "NAME", "STREAMS", "CONNECTED", "CERTIFICATE"])
        .wide(["ADDRESS", "IDENTITY"]);
    for proxy in list {
        table.row([
            proxy.namespace.clone(),
            proxy.name.clone(),
            format!("{}+{}", proxy.destination_streams, proxy.policy_streams),
            proxy.connected_at.map(|at| span(now.duration_since(at))).unwrap_or_default(),
            proxy.certificate.as_ref().map(|c| remaining(c.not_after, now)).unwrap_or_default(),
            proxy.address.clone(),
            proxy.identity.clone().unwrap_or_default(),
        ]);
    }
    table
}

fn certificates(list: &[Certificate], now: Timestamp) -> Table {
    let mut table =
        Table::new(["SERIAL", "IDENTITY", "STATE", "EXPIRES"]).wide(["ISSUED", "ISSUER", "REQUESTER"]);
    for certificate in list {
        table.row([
            certificate.serial.clone(),
            certificate.identity.clone(),
            certificate.state.as_str().to_owned(),
            remaining(certificate.not_after, now),
            certificate.issued_at.to_string(),
            certificate.issuer_generation.to_string(),
            certificate.requester.clone(),
        ]);
    }
    table
}

fn parts(readiness: &Readiness) -> Table {
    let mut table = Table::new(["PART", "STATE", "DETAIL"]);
    for check in &readiness.checks {
        table.row([&*check.name, check.state.as_str(), check.detail.as_deref().unwrap_or_default()]);
    }
    for problem in &readiness.problems {
        let line = problem.line.map(|line| format!(":{line}")).unwrap_or_default();
        let object = problem.object.as_ref().map(|object| format!("{object}: ")).unwrap_or_default();
        table.row([
            "manifest".to_owned(),
            "not in force".to_owned(),
            format!("{}{line}: {object}{}", problem.file, problem.message),
        ]);
    }
    table
}

fn ports(ports: &[Port]) -> String {
    let port = |port: &Port| format!("{}/{}", port.port, port.protocol.as_str());
    ports.iter().map(port).collect::<Vec<_>>().join(",")
}

fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

fn remaining(until: Timestamp, now: Timestamp) -> String {
    let left = until.duration_since(now);
    if left.is_negative() { format!("{} ago", span(left.abs())) } else { format!("in {}", span(left)) }
}

/// A duration in its two largest units: `3d4h`, `12m5s`, `0s`.
fn span(duration: SignedDuration) -> String {
    let seconds = duration.round(Unit::Second).unwrap_or(duration).as_secs().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use weft_admin_client::types::Protocol;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn workloads_in_columns() {
        let web = Workload {
            namespace: "default".into(),
            name: "web-0".into(),
            service: Some("web".into()),
            service_account: "web".into(),
            identity: "web.default.serviceaccount.identity.linkerd.cluster.local".into(),
            address: "10.222.0.2".into(),
            ports: vec![Port { port: 8080, name: None, protocol: Protocol::Detect }],
            labels: BTreeMap::from([("app".into(), "web".into()), ("tier".into(), "front".into())]),
            ready: true,
            lease_until: Some(at(9)),
            created_at: Some(at(-3700)),
        };
        let curl = Workload { name: "curl".into(), service: None, ready: false, ..web.clone() };
        let table = workloads(&[web, curl], at(0));
        assert_eq!(
            table.render(false),
            "\
NAMESPACE  NAME   SERVICE  ADDRESS     READY  AGE
default    web-0  web      10.222.0.2  yes    1h1m
default    curl   -        10.222.0.2  no     1h1m
"
        );
        let wide = table.render(true);
        for cell in
            ["PORTS", "8080/detect", "9s", "app=web,tier=front", "web.default.serviceaccount.identity"]
        {
            assert!(wide.contains(cell), "{cell}: {wide}");
        }
    }

    #[test]
    fn spans() {
        for (seconds, expected) in [(0, "0s"), (59, "59s"), (61, "1m1s"), (3_600, "1h0m"), (90_000, "1d1h")] {
            assert_eq!(span(SignedDuration::from_secs(seconds)), expected);
        }
        assert_eq!(remaining(at(-5), at(0)), "5s ago");
        assert_eq!(remaining(at(5), at(0)), "in 5s");
    }
}
