//! What a mesh takes beside its traffic: to start, to issue certificates, to tell proxies of a change.

use linkerd2_proxy_api::{
    destination::{GetDestination, Update, destination_client::DestinationClient, update},
    identity::{CertifyRequest, identity_client::IdentityClient},
};
use rcgen::{CertificateParams, KeyPair, SanType};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{Barrier, mpsc};
use tonic::{Streaming, transport::Channel};
use weft_init::{NetNs, netlink::route::Route};

use crate::{
    peers::register,
    process::{Cpu, Running, resident, wait_until},
    site::inside,
    suite::median,
};

/// Proxies that follow the endpoints.
pub const FOLLOWERS: usize = 200;
/// A change must reach them within this.
const LATE: Duration = Duration::from_secs(10);
/// How long the demo may take.
const DEMO: Duration = Duration::from_secs(60);

/// How to measure.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Directory of our programs
    #[arg(long, value_name = "DIR")]
    pub programs: PathBuf,
    /// Write what was measured to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Certificates to issue
    #[arg(long, default_value_t = 200)]
    pub certificates: usize,
    /// Changes to make
    #[arg(long, default_value_t = 50)]
    pub changes: usize,
    /// Starts of the demo
    #[arg(long, default_value_t = 3)]
    pub demos: usize,
}

/// What was measured. Times in milliseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// From the control plane's start until its socket answers, state to be made.
    pub control_plane_start: f64,
    /// Its resident memory then, after 5 s with nothing to do, in MiB.
    pub control_plane_idle: f64,
    /// The same while [`FOLLOWERS`] follow.
    pub control_plane_followed: f64,
    /// A certificate, from call to answer.
    pub certificate: Spread,
    /// CPU of the control plane for a certificate.
    pub certificate_cpu: f64,
    /// From the registration that changes endpoints to the update at a follower; of all followers.
    pub change: Spread,
    /// From the demo's start to the first request that went through the mesh, as it says itself; of some starts.
    pub demo: Vec<f64>,
}

/// Some of many values.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Spread {
    /// Half of them are less.
    pub p50: f64,
    /// 99 of 100 are less.
    pub p99: f64,
    /// All of them are no more.
    pub max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| values.get((values.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
        Self { p50: at(0.5), p99: at(0.99), max: values.last().copied().unwrap_or(f64::NAN) }
    }
}

/// Measures.
///
/// # Errors
/// Something did not work.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let work = tempfile::Builder::new().prefix("weft-bench-").tempdir()?;
    let mut figures = Figures::default();
    control_plane(options, work.path(), &mut figures)?;
    for _ in 0..options.demos {
        figures.demo.push(demo(&options.programs.join("weft"))?);
    }
    if let Some(file) = &options.json {
        fs::write(file, serde_json::to_string_pretty(&figures)? + "\n")?;
    }
    print!("{}", table(&figures));
    Ok(())
}

fn control_plane(options: &Options, work: &Path, figures: &mut Figures) -> anyhow::Result<()> {
    let place = NetNs::create()?;
    inside(&place, || Route::open().and_then(|mut route| route.set_up("lo")))?;
    let (state, log) = (work.join("state"), work.join("control-plane.log"));
    let arguments = ["--dns-upstream", "none", "--state"].map(str::to_owned).into_iter();
    let arguments: Vec<_> = arguments.chain([state.display().to_string()]).collect();
    let socket = state.join("admin.sock");
    let start = Instant::now();
    let program = options.programs.join("weft-controlplane");
    let process = Running::start(&place, 0, &program, &arguments, &[], &log);
    wait_until("the control plane's socket", LATE, || UnixStream::connect(&socket).is_ok());
    figures.control_plane_start = start.elapsed().as_secs_f64() * 1e3;
    std::thread::sleep(Duration::from_secs(5));
    let mib = |pid| resident(pid) as f64 / f64::from(1 << 20);
    figures.control_plane_idle = mib(process.pid());
    inside(&place, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            certificates(options.certificates, &socket, process.pid(), figures).await?;
            changes(options.changes, &socket, figures, || mib(process.pid())).await
        })
    })
}

async fn certificates(count: usize, socket: &Path, pid: u32, figures: &mut Figures) -> anyhow::Result<()> {
    let registration = json!({"serviceAccount": "certified", "ttlSeconds": 3600});
    let answer = register(socket, "certified-0", &registration)?;
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    let (identity, token) = (text("identity"), text("joinToken").into_bytes());
    let mut client = IdentityClient::connect("http://127.0.0.1:8080").await?;
    let mut times = Vec::new();
    let before = Cpu::of(&[pid]);
    for _ in 0..count {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = vec![SanType::DnsName(identity.as_str().try_into()?)];
        let request = CertifyRequest {
            identity: identity.clone(),
            token: token.clone(),
            certificate_signing_request: params.serialize_request(&key)?.der().to_vec(),
        };
        let start = Instant::now();
        client.certify(request).await?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    figures.certificate_cpu = Cpu::of(&[pid]).since(before).total / 1e3 / count as f64;
    figures.certificate = Spread::of(times);
    Ok(())
}

async fn changes(
    count: usize,
    socket: &Path,
    figures: &mut Figures,
    resident: impl Fn() -> f64,
) -> anyhow::Result<()> {
    let registration = |ready: bool, ip: &str| json!({"service": "changing", "ports": [{"port": 8080}], "ip": ip, "ready": ready, "ttlSeconds": 3600});
    register(socket, "changing-0", &registration(true, "10.209.7.1"))?;
    register(socket, "changing-1", &registration(true, "10.209.7.2"))?;
    let (tell, mut told) = mpsc::channel(FOLLOWERS * 2);
    let ready = Arc::new(Barrier::new(FOLLOWERS + 1));
    for _ in 0..FOLLOWERS {
        let channel = Channel::from_static("http://127.0.0.1:8086").connect().await?;
        let get = GetDestination {
            path: "changing.default.svc.cluster.local:8080".into(),
            ..GetDestination::default()
        };
        let updates = DestinationClient::new(channel).get(get).await?.into_inner();
        tokio::spawn(follow(updates, tell.clone(), Arc::clone(&ready)));
    }
    ready.wait().await;
    figures.control_plane_followed = resident();
    let mut times = Vec::new();
    for n in 0..count {
        // The second one leaves and comes back.
        let is_there = n % 2 == 1;
        let start = Instant::now();
        register(socket, "changing-1", &registration(is_there, "10.209.7.2"))?;
        for _ in 0..FOLLOWERS {
            let (added, at) = tokio::time::timeout(LATE, told.recv()).await?.unwrap_or((!is_there, start));
            anyhow::ensure!(added == is_there, "an update of another change");
            times.push(at.duration_since(start).as_secs_f64() * 1e3);
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    figures.change = Spread::of(times);
    Ok(())
}

async fn follow(mut updates: Streaming<Update>, tell: mpsc::Sender<(bool, Instant)>, ready: Arc<Barrier>) {
    let mut seen = 0;
    while let Ok(Some(Update { update: Some(update) })) = updates.message().await {
        let added = match update {
            update::Update::Add(set) => {
                seen += set.addrs.len();
                true
            }
            update::Update::Remove(_) => false,
            update::Update::NoEndpoints(_) => continue,
        };
        match seen {
            0 | 1 => {}
            // Both are there: the changes may begin.
            2 => {
                seen = usize::MAX / 2;
                ready.wait().await;
            }
            _ => {
                if tell.send((added, Instant::now())).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Milliseconds until the demo's first request through the mesh, from the start of its process.
fn demo(program: &Path) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut child = Command::new(program)
        .args(["demo", "--for", "3s"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let out = child.stdout.take().ok_or_else(|| anyhow::anyhow!("no output"))?;
    let mut first = None;
    for line in BufReader::new(out).lines() {
        let line = line?;
        if first.is_none() && line.contains("first meshed request") {
            first = Some(start.elapsed().as_secs_f64() * 1e3);
        }
        anyhow::ensure!(start.elapsed() < DEMO, "the demo does not end");
    }
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "the demo ended with {status}");
    first.ok_or_else(|| anyhow::anyhow!("the demo told of no meshed request"))
}

fn table(figures: &Figures) -> String {
    let spread = |s: &Spread| format!("{:.2} / {:.2} / {:.2}", s.p50, s.p99, s.max);
    let demo = format!("{:.0}", median(figures.demo.clone()));
    let rows = [
        ("`weft demo` to the first meshed request, ms", demo, "3,000"),
        ("control plane, resident, idle, MiB", format!("{:.1}", figures.control_plane_idle), "20"),
        (
            "control plane, resident, 200 followers, MiB",
            format!("{:.1}", figures.control_plane_followed),
            "-",
        ),
        ("control plane, start, ms", format!("{:.0}", figures.control_plane_start), "-"),
        ("certificate, p50 / p99 / max, ms", spread(&figures.certificate), "5"),
        ("certificate, CPU of the control plane, ms", format!("{:.2}", figures.certificate_cpu), "-"),
        ("endpoint change to 200 followers, p50 / p99 / max, ms", spread(&figures.change), "50 (p99)"),
    ];
    let rows = rows.map(|(what, measured, goal)| format!("| {what} | {measured} | {goal} |\n"));
    format!("| mesh | measured | at most |\n|---|---:|---:|\n{}", rows.concat())
}
