//! `weft run`: any program, meshed.

use super::{Failure, exec::xdg_runtime_dir, up};
use crate::{
    machine::{
        MachineError, Network, Owner, Privilege, Program, Uplink, User,
        owner::{own_runtime_directory, sweep},
        privilege::Exempt,
        probe,
    },
    workload::{
        Pod, Registry, Site, Spec,
        environment::Listen,
        pod::{PodError, Registered},
        publish::Publish,
        registry::RegistryError,
        site::Ground,
        supervise::{exit_code, signals, supervise},
    },
};
use anyhow::{Context as _, anyhow};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};
use weft_controlplane::registry::api::{Port, Registration};

const EXAMPLES: &str = "\
Examples:
  weft run --name web --port 8080 -- python3 -m http.server 8080
  weft run --name web --port 8080 --publish 8080 -- python3 -m http.server 8080
  weft run --name me -- curl -s http://web:8080/
  weft run --name db --port 5432 --opaque 5432 --user postgres -- postgres -D /var/lib/postgresql/data
  weft exec web-0 -- sh                    another program beside it";

/// How long a program may take to open its ports before that is said.
const PATIENCE: Duration = Duration::from_secs(10);
/// Replicas of one name tried for a free one.
const MAX_REPLICAS: u32 = 1_000;
/// Longest name: its pods are called the same with a dash and a number, and a label of DNS has at most 63 bytes.
const MAX_NAME_LEN: usize = 58;

/// Arguments of `weft run`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The name it is known by; with a port, the service that others reach it by
    #[arg(long, value_parser = name)]
    name: String,
    /// A port it serves; may be given more than once
    #[arg(long = "port", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    ports: Vec<u16>,
    /// A port on which nothing is to be looked at: the server speaks first, or in a protocol of its own
    #[arg(long = "opaque", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    opaque: Vec<u16>,
    /// Which replica of the service it is [default: the first free one]
    #[arg(long, value_name = "N")]
    replica: Option<u32>,
    /// A port on this machine for programs that are not meshed: PORT, HERE:PORT or IP:HERE:PORT
    #[arg(long, value_name = "PUBLISH")]
    publish: Vec<Publish>,
    /// A label, by which policies can mean it
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// A variable of the program's environment
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Whom it runs as
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Its namespace
    #[arg(long, default_value = "default", value_parser = name)]
    namespace: String,
    /// The service account of its identity [default: its name]
    #[arg(long, value_name = "NAME", value_parser = name)]
    service_account: Option<String>,
    /// The control plane's state directory
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Filter of its proxy's log
    #[arg(long, value_name = "FILTER")]
    proxy_log: Option<String>,
    /// Say nothing but what goes wrong
    #[arg(short, long)]
    quiet: bool,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    published_ports(args)?;
    let Privilege::Namespaces(exempt @ Exempt::User(_)) = probe() else {
        let error = anyhow!(
            "only root can run programs meshed: they get network namespaces with a link to this machine"
        );
        return Err(Failure::new(error).next("sudo weft run ...").next("weft demo, which needs no root"));
    };
    let user = args.user.as_deref().map(user).transpose()?;
    let state = match &args.state {
        Some(state) => state.clone(),
        None => super::default_state()?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("could not start the runtime")?.block_on(meshed(
        args,
        exempt,
        user,
        &Registry::in_state(&state),
    ))
}

async fn meshed(
    args: &Args,
    exempt: Exempt,
    user: Option<User>,
    registry: &Registry,
) -> Result<ExitCode, Failure> {
    // From here on signals are for the program.
    let signals = signals().context("could not listen for signals")?;
    let spec = spec(args, registry).await.map_err(no_control_plane)?;
    let registered = Registered::new(registry, &spec).await.map_err(no_control_plane)?;
    let name = spec.name.clone();
    let site = match site(&registered, exempt, registry, &args.name) {
        Ok(site) => site,
        Err(failure) => {
            registered.withdraw().await;
            return Err(failure);
        }
    };
    let ipv6 = site.ipv6;
    let mut pod = Pod::create(&site, spec, registered, |_| Listen::standard(ipv6))
        .await
        .map_err(|e| no_pod(e, &name))?;
    let started = start(args, user, &site, &mut pod).await;
    let _published = match started {
        Ok(published) => published,
        Err(failure) => {
            pod.stop(Duration::ZERO).await;
            return Err(failure);
        }
    };
    if !args.quiet && !args.ports.is_empty() {
        let service =
            pod.answer.service_ip.map(|ip| format!("; service {} at {ip}", args.name)).unwrap_or_default();
        anstream::eprintln!("weft run: {name} at {}, {}{service}", pod.place.ip(), pod.answer.identity);
    }
    let quiet = args.quiet || args.ports.is_empty();
    let mut say = |text: &str| {
        if !quiet || !text.ends_with("takes traffic") {
            anstream::eprintln!("weft run: {text}");
        }
    };
    let status = supervise(pod, &site, signals, PATIENCE, &mut say).await;
    Ok(status.map_or(ExitCode::FAILURE, |status| ExitCode::from(exit_code(status))))
}

/// Publishes ports, waits for the certificate and starts the program.
async fn start(
    args: &Args,
    user: Option<User>,
    site: &Site,
    pod: &mut Pod,
) -> Result<Vec<crate::workload::publish::Published>, Failure> {
    let mut published = Vec::new();
    for publish in &args.publish {
        let listening = publish.start(pod.place.ip()).await;
        published.push(
            listening.with_context(|| format!("cannot listen on {} (--publish {publish})", publish.here))?,
        );
    }
    let name = pod.spec.name.clone();
    pod.ready().await.map_err(|e| no_pod(e, &name))?;
    let mut program = Program::new(args.command.iter().cloned());
    program.env = args.env.iter().map(|(name, value)| (name.into(), value.into())).collect();
    program.user = user;
    program.contain = true;
    pod.start(program).map_err(|e| no_pod(e, &name))?;
    if let Some(program) = &pod.program {
        site.owner().set_program(&name, program).map_err(Failure::new)?;
    }
    Ok(published)
}

/// What is registered, under a name that no other replica has.
async fn spec(args: &Args, registry: &Registry) -> Result<Spec, RegistryError> {
    let replica = match args.replica {
        Some(replica) => replica,
        None => {
            let taken: BTreeSet<_> = registry.list().await?.into_iter().collect();
            let free = |n: &u32| !taken.contains(&(args.namespace.clone(), pod_name(&args.name, *n)));
            (0..MAX_REPLICAS).find(free).unwrap_or(MAX_REPLICAS)
        }
    };
    Ok(Spec {
        namespace: args.namespace.clone(),
        name: pod_name(&args.name, replica),
        registration: registration(args),
        proxy_log: args.proxy_log.clone(),
    })
}

fn pod_name(name: &str, replica: u32) -> String {
    format!("{name}-{replica}")
}

fn registration(args: &Args) -> Registration {
    let all: BTreeSet<u16> = args.ports.iter().chain(&args.opaque).copied().collect();
    let port = |port| Port { port, opaque: args.opaque.contains(&port), ..Port::default() };
    let account = args.service_account.clone().unwrap_or_else(|| args.name.clone());
    let app = BTreeMap::from([("app".to_owned(), args.name.clone())]);
    Registration {
        service: (!all.is_empty()).then(|| args.name.clone()),
        service_account: Some(account),
        ports: all.into_iter().map(port).collect(),
        labels: app.into_iter().chain(args.labels.iter().cloned()).collect(),
        ..Registration::default()
    }
}

/// This machine's network, as the control plane has it.
fn site(registered: &Registered, exempt: Exempt, registry: &Registry, name: &str) -> Result<Site, Failure> {
    let answer = &registered.answer;
    let identity = answer.addresses.identity.address;
    if identity.ip().is_loopback() {
        let error = anyhow!(
            "the control plane tells workloads to find it at {identity}, which is loopback in their own namespaces"
        );
        return Err(Failure::new(error).next("weft up, as root and without --listen"));
    }
    let make = || -> Result<Site, MachineError> {
        let base = own_runtime_directory(xdg_runtime_dir().as_deref());
        for line in sweep(&base)? {
            anstream::eprintln!("weft run: {line}");
        }
        let network = answer.networks.workloads.parse().map_err(|_| MachineError::Address {
            address: "every address".into(),
            network: answer.networks.workloads.clone(),
        })?;
        let layout = up::layout(&network)?;
        let mut owner = Owner::claim(&base, &format!("run {name}"))?;
        let network = Network::shared(&mut owner, layout)?;
        let uplink = Uplink::open(&mut owner, &network)?;
        let mut site = Site::new(owner, Ground::Namespaces(network, exempt), registry.clone())?;
        site.hold(uplink);
        Ok(site)
    };
    make().context("could not make this machine's network of workloads").map_err(Failure::new)
}

fn no_control_plane(error: RegistryError) -> Failure {
    let absent = matches!(error, RegistryError::Absent { .. });
    let failure = Failure::new(error);
    if absent {
        failure
            .next("weft up, as root in another terminal")
            .next("weft run --state DIR, if its state is elsewhere")
    } else {
        failure
    }
}

fn no_pod(error: PodError, name: &str) -> Failure {
    Failure::new(anyhow::Error::new(error).context(format!("{name} cannot be run")))
}

/// A user by name or number, with its group.
fn user(text: &str) -> Result<User, Failure> {
    let found = match text.parse::<u32>() {
        Ok(uid) => nix::unistd::User::from_uid(uid.into()),
        Err(_) => nix::unistd::User::from_name(text),
    };
    match found {
        Ok(Some(user)) => Ok(User { uid: user.uid.as_raw(), gid: user.gid.as_raw() }),
        _ => {
            Err(Failure::usage(format!("--user {text}: expected a user of this machine, by name or number")))
        }
    }
}

/// What is published is served.
fn published_ports(args: &Args) -> Result<(), Failure> {
    let served: BTreeSet<u16> = args.ports.iter().chain(&args.opaque).copied().collect();
    match args.publish.iter().find(|publish| !served.contains(&publish.port)) {
        None => Ok(()),
        Some(publish) => {
            let (port, name) = (publish.port, &args.name);
            let failure = Failure::usage(format!(
                "--publish {publish} publishes port {port} of {name}, which it does not serve"
            ));
            Err(failure.next(match served.first() {
                Some(first) => format!("--publish {}:{first}", publish.here.port()),
                None => format!("--port {port}, if {name} serves it"),
            }))
        }
    }
}

/// A label of DNS, short enough to be part of others.
fn name(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let ends = text.starts_with('-') || text.ends_with('-');
    if text.is_empty() || text.len() > MAX_NAME_LEN || ends || !text.bytes().all(allowed) {
        return Err(format!(
            "expected at most {MAX_NAME_LEN} lower-case letters, digits and dashes, with no dash at the ends, found {text:?}"
        ));
    }
    Ok(text.to_owned())
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("expected NAME=VALUE, found {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn args(line: &str) -> Args {
        let words = std::iter::once("weft").chain(line.split(' '));
        match super::super::Cli::try_parse_from(words).unwrap().command {
            super::super::Command::Run(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_server_is_a_service_and_a_client_is_none() {
        let server =
            registration(&args("run --name web --port 8080 --opaque 2525 --label tier=front -- x -y"));
        assert_eq!(server.service.as_deref(), Some("web"));
        let ports: Vec<_> = server.ports.iter().map(|port| (port.port, port.opaque)).collect();
        assert_eq!(ports, [(2525, true), (8080, false)]);
        assert_eq!(
            server.labels,
            BTreeMap::from([("app".into(), "web".into()), ("tier".into(), "front".into())])
        );
        let client = registration(&args("run --name me -- curl http://web"));
        assert_eq!((client.service, client.service_account.as_deref()), (None, Some("me")));
    }

    #[test]
    fn what_is_published_must_be_served() {
        let said = |line| published_ports(&args(line)).err().map(|failure| failure.to_string());
        assert_eq!(said("run --name web --port 80 --opaque 25 --publish 8080:80 --publish 25 -- x"), None);
        let wrong = said("run --name web --port 8080 --publish 18080 -- x").unwrap();
        assert!(wrong.contains("port 18080 of web") && wrong.contains("--publish 18080:8080"), "{wrong}");
        let wrong = said("run --name web --publish 80 -- x").unwrap();
        assert!(wrong.contains("--port 80"), "{wrong}");
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for line in [
            "run --name web --port 0 -- x",
            "run --name web --port http -- x",
            "run --name web --publish x -- x",
            "run --name web --label tier -- x",
            "run --name web --port 80",
            "run --port 80 -- x",
            "run --name Web -- x",
            "run --name web_1 -- x",
            "run --name -web -- x",
            "run --name web --namespace a.b -- x",
        ] {
            let words = std::iter::once("weft").chain(line.split(' '));
            assert!(super::super::Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}
