//! `weft demo` as people see it: starts the mesh and the load, shows what goes on, ends everything.

use super::{
    Ground,
    load_run::LoadRun,
    mesh::{Mesh, Options},
    metrics::{Figures, Page},
    model::{ControlPlane, Model},
    plain,
    screen::Screen,
    topology,
};
use crate::{load::Report, workload::Pod};
use anyhow::Context as _;
use futures_util::future::join_all;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::MissedTickBehavior,
};

/// Between two looks at the proxies.
const SCRAPE: Duration = Duration::from_secs(1);
/// Between two blocks of plain lines.
const PLAIN: Duration = Duration::from_secs(5);
/// How long a control plane that was killed stays away.
const AWAY: Duration = Duration::from_secs(10);
/// How long the first request may take, once everything runs.
const FIRST: Duration = Duration::from_secs(20);

/// When it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// When told to.
    Told,
    /// After this time, if one is given; else when told to.
    After(Option<Duration>),
}

/// Runs it. Whether all went well: requests were made, and none failed.
///
/// # Errors
/// The mesh or the load could not be started.
pub async fn run(options: &Options, ground: &Ground, live: bool, ending: &Ending) -> anyhow::Result<bool> {
    let started = Instant::now();
    let mut stop = Stop::new()?;
    let say = |text: &str| plain::say(&format!("{:>5.1} s  {text}", started.elapsed().as_secs_f64()));
    say(&format!("weft demo on {}", ground.name));
    for missing in &ground.missing {
        say(&format!("       {missing}"));
    }
    let mesh = tokio::select! {
        mesh = Mesh::start(options, |done| say(done)) => mesh?,
        () = stop.wait() => return Ok(false),
    };
    for line in &mesh.swept {
        say(line);
    }
    let outcome = shown(&mut stop, mesh, ground, live, ending, started).await;
    let (mesh, model) = outcome?;
    let well = plain::summary(&model, started.elapsed());
    plain::say(&mesh.stop().await);
    Ok(well)
}

/// Load and view, until the end.
async fn shown(
    stop: &mut Stop,
    mut mesh: Mesh,
    ground: &Ground,
    live: bool,
    ending: &Ending,
    started: Instant,
) -> anyhow::Result<(Mesh, Model)> {
    let mut model = Model::default();
    model.ground = ground.name.to_owned();
    let shown = topology::workloads();
    model.expect(shown.iter().map(|workload| (workload.pod.clone(), workload.speaks.to_owned())));
    model.control_plane = ControlPlane::Up(mesh.control_plane.pid());
    let client = mesh.pod(topology::CLIENT)?;
    let load = LoadRun::start(&client.place, &topology::load(&mesh.client_addresses()?))?;
    let first = first_request(&load).await.map(|()| started.elapsed());
    match first {
        Some(after) => {
            model.tell(format!("first meshed request {:.1} s after the start", after.as_secs_f64()))
        }
        None => model.tell(format!("no request has succeeded within {FIRST:?}")),
    }
    hints(&mut model, &mesh);
    let mut screen = if live { Some(Screen::open().context("could not use the terminal")?) } else { None };
    if !live {
        plain::begin(&model, &mesh);
    }
    let ended = follow(stop, &mut mesh, &mut model, &load, screen.as_mut(), ending, started).await;
    drop(screen);
    ended?;
    // Requests on their way may end; what they were is counted.
    let counted = load.stop().await?;
    model.reported(Report { ms: 0, last: true, targets: counted });
    Ok((mesh, model))
}

/// Takes what happens into the model and shows it, until the end.
async fn follow(
    stop: &mut Stop,
    mesh: &mut Mesh,
    model: &mut Model,
    load: &LoadRun,
    mut screen: Option<&mut Screen>,
    ending: &Ending,
    started: Instant,
) -> anyhow::Result<()> {
    let shown_from = Instant::now();
    let end = match ending {
        Ending::After(Some(time)) => Some(tokio::time::Instant::from_std(shown_from + *time)),
        _ => None,
    };
    let mut reports = load.reports();
    let mut scrapes = tokio::time::interval(SCRAPE);
    let mut lines = tokio::time::interval_at((shown_from + PLAIN).into(), PLAIN);
    for interval in [&mut scrapes, &mut lines] {
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let mut away: Option<Instant> = None;
    loop {
        model.elapsed = started.elapsed();
        if let Some(since) = away {
            model.control_plane = ControlPlane::Down(AWAY.saturating_sub(since.elapsed()));
        }
        if let Some(screen) = screen.as_deref_mut() {
            screen.draw(model)?;
        }
        tokio::select! {
            () = stop.wait() => return Ok(()),
            () = until(end) => return Ok(()),
            quit = keys(screen.as_deref_mut()) => if quit { return Ok(()) },
            changed = reports.changed() => {
                // It ends before us only if it was killed.
                changed.context("the load generator ended")?;
                model.reported(reports.borrow_and_update().clone());
            }
            _ = scrapes.tick() => scrape(mesh, model).await,
            _ = lines.tick(), if screen.is_none() => plain::lines(model),
            status = mesh.control_plane.ended(), if away.is_none() => {
                model.tell(format!("the control plane ended with {status}; traffic goes on without it"));
                away = Some(Instant::now());
            }
            () = until(away.map(|since| (since + AWAY).into())), if away.is_some() => {
                mesh.control_plane.restart().await?;
                away = None;
                model.control_plane = ControlPlane::Up(mesh.control_plane.pid());
                model.tell("the control plane is back, with all it knew");
                hints(model, mesh);
            }
        }
    }
}

/// Waits until some request succeeded.
async fn first_request(load: &LoadRun) -> Option<()> {
    let mut reports = load.reports();
    let some = |report: &Report| report.targets.values().any(|tally| tally.ok > 0);
    tokio::time::timeout(FIRST, reports.wait_for(some)).await.ok()?.ok().map(|_| ())
}

async fn until(end: Option<tokio::time::Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

async fn keys(screen: Option<&mut Screen>) -> bool {
    match screen {
        Some(screen) => screen.quit().await,
        None => std::future::pending().await,
    }
}

async fn scrape(mesh: &Mesh, model: &mut Model) {
    let pages = join_all(mesh.pods.iter().map(async |pod| (pod.spec.name.clone(), figures(pod).await))).await;
    for (pod, figures) in pages {
        model.scraped(&pod, figures);
    }
}

async fn figures(pod: &Pod) -> Result<Figures, String> {
    let (status, text) = pod.proxy.page(&pod.place, "/metrics").await.map_err(|e| e.to_string())?;
    if !status.is_success() {
        return Err(format!("its metrics page answers {status}"));
    }
    Ok(Page::parse(&text).map_err(|e| e.to_string())?.figures())
}

/// What can be typed in another terminal. Every line works as it is.
fn hints(model: &mut Model, mesh: &Mesh) {
    let weft = std::env::current_exe().map_or_else(|_| "weft".into(), |path| path.display().to_string());
    let state = mesh.control_plane.state().display();
    let mut hints = BTreeMap::new();
    if mesh.site.network().is_some() {
        hints.insert(
            1,
            (
                "ask the shop, through both proxies: it is told who asks",
                format!("{weft} exec client -- curl -s http://shop:8080/whoami"),
            ),
        );
        hints.insert(
            2,
            ("a proxy's metrics", format!("{weft} exec shop-0 -- curl -s http://127.0.0.1:4191/metrics")),
        );
    } else if let (Ok(shop), Ok(pod)) = (mesh.target(topology::CLIENT, "shop"), mesh.pod("shop-0")) {
        hints.insert(
            1,
            (
                "ask the shop, through both proxies: it is told who asks",
                format!("curl -s http://{shop}/whoami"),
            ),
        );
        hints.insert(2, ("a proxy's metrics", format!("curl -s http://{}:4191/metrics", pod.place.ip())));
    }
    hints
        .insert(3, ("what the control plane knows", format!("{weft} get workloads -o wide --state {state}")));
    hints.insert(
        4,
        (
            "kill the control plane: nothing breaks, and it comes back",
            format!("kill -9 {}", mesh.control_plane.pid()),
        ),
    );
    model.hints = hints.into_values().map(|(what, command)| (what.to_owned(), command)).collect();
}

/// What ends it from outside.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Stop {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("could not listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
