//! The control thread's part: answers to the workers' questions, from streams of the control plane, and the certificate.
//!
//! A worker asks ([`Question`]); the first question about a subject starts a task that follows its streams
//! (`control/subjects.rs`); what the streams come to goes to every worker that asked, now and at each change. When the last of them
//! forgets the subject, the task ends. A dead control plane changes nothing: tasks reconnect with backoff and what they
//! published stays in force.

mod channel;
mod follow;
pub mod identity;
mod schedule;
mod subjects;

use crate::{
    config::Config,
    runtime::{Handle, Questions},
    telemetry::{
        Source,
        text::{Kind, Labels, Page},
    },
};
pub use channel::Secure;
use follow::{StreamCounts, StreamLimits};
use identity::IdentityStats;
use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tokio::{sync::watch, task::AbortHandle};
use tonic::{Status, transport::Channel};
use weft_engine::io::{Answer, Question, Subject};
use weft_names::Cidr;
use weft_net::tls::{Identity, Roots};

/// Subjects followed at a time. One more is not answered: its connections fail by their time-outs.
pub const MAX_SUBJECTS: usize = 20_000;

/// What all tasks of the control thread share.
pub struct Shared {
    destination: Channel,
    policy: Channel,
    limits: StreamLimits,
    destination_context: String,
    workload: String,
    profile_networks: Vec<Cidr>,
    counts: Counts,
    identity_stats: IdentityStats,
    identity: watch::Sender<Option<Arc<Identity>>>,
    followed: Mutex<Followed>,
    refused: AtomicU64,
}

#[derive(Default)]
struct Counts {
    profiles: StreamCounts,
    outbound_policies: StreamCounts,
    destinations: StreamCounts,
    inbound_policies: StreamCounts,
}

#[derive(Default)]
struct Followed {
    subjects: HashMap<Subject, Entry>,
    /// Set once the workers run.
    workers: Option<Handle>,
}

struct Entry {
    workers: BTreeSet<u32>,
    latest: Option<Answer>,
    task: Option<AbortHandle>,
}

impl Shared {
    /// Channels to the control plane, lazily connected.
    ///
    /// # Errors
    /// When an address makes no URI.
    pub fn new(config: &Config, roots: &Roots) -> Result<Self, tonic::transport::Error> {
        let (identity, _) = watch::channel(None);
        let secure = Secure::new(roots.clone(), identity.subscribe()).proving();
        let (side, mark) = (&config.outbound.side, config.socket_mark);
        Ok(Self {
            destination: channel::channel(&config.control.destination, side, mark, secure.clone())?,
            policy: channel::channel(&config.control.policy, side, mark, secure)?,
            limits: StreamLimits {
                initial: config.control.stream_initial_timeout,
                idle: config.control.stream_idle_timeout,
                lifetime: config.control.stream_lifetime,
                backoff: config.outbound.side.connect_backoff,
            },
            destination_context: config.control.destination_context.clone(),
            workload: config.control.policy_workload.clone(),
            profile_networks: config.outbound.profile_networks.clone(),
            counts: Counts::default(),
            identity_stats: IdentityStats::default(),
            identity,
            followed: Mutex::new(Followed::default()),
            refused: AtomicU64::new(0),
        })
    }

    /// A channel to the identity service, which is spoken to before there is a certificate.
    ///
    /// # Errors
    /// When its address makes no URI.
    pub fn identity_channel(
        &self,
        config: &Config,
        roots: &Roots,
    ) -> Result<Channel, tonic::transport::Error> {
        let secure = Secure::new(roots.clone(), self.identity.subscribe());
        channel::channel(&config.control.identity, &config.outbound.side, config.socket_mark, secure)
    }

    /// The latest certificate.
    pub fn identity(&self) -> watch::Receiver<Option<Arc<Identity>>> {
        self.identity.subscribe()
    }

    /// A new certificate: for channels, the admin server and all workers, which accept from the first one on.
    fn install(&self, identity: Identity) {
        let identity = Arc::new(identity);
        if let Some(workers) = &self.followed().workers {
            if let Err(error) = workers.identity(&identity) {
                tracing::error!(error = %crate::error_chain(&error), "the certificate is not installed");
                return;
            }
            workers.accept();
        }
        self.identity.send_replace(Some(identity));
    }

    /// Where answers and certificates go.
    pub fn serve(&self, workers: Handle) {
        self.followed().workers = Some(workers);
    }

    /// Answers questions, for ever.
    pub async fn answer(self: Arc<Self>, mut questions: Questions) {
        loop {
            let (worker, question) = questions.next().await;
            match question {
                Question::Discover { target } => self.subscribe(worker, Subject::Target(target)),
                Question::Resolve { path } => self.subscribe(worker, Subject::Path(path)),
                Question::Port { port } => self.subscribe(worker, Subject::Port(port)),
                Question::Forget(subject) => self.forget(worker, &subject),
            }
        }
    }

    fn subscribe(self: &Arc<Self>, worker: u32, subject: Subject) {
        let mut followed = self.followed();
        if let Some(entry) = followed.subjects.get_mut(&subject) {
            entry.workers.insert(worker);
            if let (Some(answer), Some(workers)) = (entry.latest.clone(), &followed.workers) {
                workers.answer(worker, answer);
            }
            return;
        }
        if followed.subjects.len() >= MAX_SUBJECTS {
            self.refused.fetch_add(1, Relaxed);
            return;
        }
        // The entry is there before its task can publish.
        followed
            .subjects
            .insert(subject.clone(), Entry { workers: BTreeSet::from([worker]), latest: None, task: None });
        let shared = Arc::clone(self);
        let task = match subject.clone() {
            Subject::Target(target) => tokio::spawn(subjects::target(shared, target)),
            Subject::Path(path) => tokio::spawn(subjects::path(shared, path)),
            Subject::Port(port) => tokio::spawn(subjects::port(shared, port)),
        };
        if let Some(entry) = followed.subjects.get_mut(&subject) {
            entry.task = Some(task.abort_handle());
        }
    }

    fn forget(&self, worker: u32, subject: &Subject) {
        let mut followed = self.followed();
        let Some(entry) = followed.subjects.get_mut(subject) else { return };
        entry.workers.remove(&worker);
        if entry.workers.is_empty()
            && let Some(entry) = followed.subjects.remove(subject)
            && let Some(task) = entry.task
        {
            task.abort();
        }
    }

    /// Publishes what is known of a subject now.
    fn publish(&self, subject: Subject, answer: Answer) {
        let mut followed = self.followed();
        let Followed { subjects, workers } = &mut *followed;
        let (Some(entry), Some(workers)) = (subjects.get_mut(&subject), workers) else { return };
        for worker in &entry.workers {
            workers.answer(*worker, answer.clone());
        }
        entry.latest = Some(answer);
    }

    /// Publishes the end of a subject: whoever wants to know more asks again.
    fn publish_last(&self, subject: Subject, answer: Answer) {
        self.publish(subject.clone(), answer);
        self.followed().subjects.remove(&subject);
    }

    fn followed(&self) -> MutexGuard<'_, Followed> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn takes_profile(&self, target: SocketAddr) -> bool {
        self.profile_networks.iter().any(|network| network.contains(target.ip()))
    }
}

/// A status as text for logs and refusals.
fn status_text(status: &Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    // The transport's own causes (connection refused, certificate) are below the status.
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl Source for Shared {
    fn write(&self, page: &mut Page) {
        let none = Labels::new();
        let stats = &self.identity_stats;
        page.family(
            "control_identity_cert_expiration_timestamp_seconds",
            Kind::Gauge,
            "When the certificate expires, since 1970.",
        );
        page.sample("control_identity_cert_expiration_timestamp_seconds", &none, stats.expires.load(Relaxed));
        page.family(
            "control_identity_cert_refresh_timestamp_seconds",
            Kind::Gauge,
            "When the certificate was last renewed.",
        );
        page.sample("control_identity_cert_refresh_timestamp_seconds", &none, stats.refreshed.load(Relaxed));
        page.family(
            "control_identity_cert_refreshes_total",
            Kind::Counter,
            "Attempts to renew the certificate.",
        );
        for (result, count) in [("success", &stats.succeeded), ("error", &stats.failed)] {
            page.sample(
                "control_identity_cert_refreshes_total",
                &none.with("result", result),
                count.load(Relaxed),
            );
        }
        let streams = [
            ("profiles", &self.counts.profiles),
            ("outbound_policies", &self.counts.outbound_policies),
            ("destinations", &self.counts.destinations),
            ("inbound_policies", &self.counts.inbound_policies),
        ];
        type Pick = fn(&StreamCounts) -> &AtomicU64;
        let families: [(&str, &str, Pick); 3] = [
            ("weft_control_streams_opened_total", "Streams opened to the control plane.", |counts| {
                &counts.opened
            }),
            ("weft_control_streams_failed_total", "Streams that failed to open or broke.", |counts| {
                &counts.failed
            }),
            ("weft_control_stream_messages_total", "Messages received on streams.", |counts| {
                &counts.messages
            }),
        ];
        for (name, help, pick) in families {
            page.family(name, Kind::Counter, help);
            for (stream, counts) in streams {
                page.sample(name, &none.with("stream", stream), pick(counts).load(Relaxed));
            }
        }
        page.family("weft_control_subjects", Kind::Gauge, "Targets, paths and ports followed.");
        page.sample("weft_control_subjects", &none, self.followed().subjects.len() as u64);
        page.family(
            "weft_control_subjects_refused_total",
            Kind::Counter,
            "Subjects not followed because there were too many.",
        );
        page.sample("weft_control_subjects_refused_total", &none, self.refused.load(Relaxed));
    }
}
