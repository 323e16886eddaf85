//! What the proxy tells about itself: the metrics page and the log.

pub mod families;
pub mod process;
pub mod text;

use crate::runtime::Counters;
use process::Process;
use std::sync::Arc;
use text::{Kind, Labels, Page};
use weft_engine::metrics::Registry;

/// Something that adds families of its own to the page.
pub trait Source: Send + Sync {
    /// Writes whole families.
    fn write(&self, page: &mut Page);
}

/// Everything the metrics page shows.
pub struct Telemetry {
    registry: Arc<Registry>,
    process: Process,
    sources: Vec<Arc<dyn Source>>,
}

impl Telemetry {
    /// The workers' registry and the process; control clients and the runtime join as `sources`.
    pub fn new(registry: Arc<Registry>, sources: Vec<Arc<dyn Source>>) -> Self {
        Self { registry, process: Process::started(), sources }
    }

    /// The page: Linkerd's old families, then the OpenMetrics ones, then `# EOF`.
    pub fn page(&self) -> String {
        let mut page = Page::new();
        families::legacy(&self.registry, &mut page);
        families::open(&self.registry, &mut page);
        for source in &self.sources {
            source.write(&mut page);
        }
        page.family("proxy_build_info", Kind::Info, "Which proxy this is.");
        let version = Labels::new().with("version", env!("CARGO_PKG_VERSION")).with("vendor", "weft");
        page.sample("proxy_build_info", &version, 1);
        self.process.write(&mut page);
        page.end();
        page.into_text()
    }
}

/// What the data threads count beside their workers.
pub struct RuntimeCounters(pub Vec<Arc<Counters>>);

impl Source for RuntimeCounters {
    fn write(&self, page: &mut Page) {
        let gauge: fn(&Counters) -> u64 = |counters| counters.open_sockets.get();
        page.family("weft_runtime_open_sockets", Kind::Gauge, "Sockets open now.");
        self.samples(page, "weft_runtime_open_sockets", gauge);
        type Pick = fn(&Counters) -> u64;
        let counters: [(&str, &str, Pick); 9] = [
            ("accepted", "Connections accepted.", |counters| counters.accepted.get()),
            ("accept_failures", "Connections that failed before they could be looked at.", |counters| {
                counters.accept_failures.get()
            }),
            ("accept_pauses_full", "Pauses in accepting near the bound on sockets.", |counters| {
                counters.accept_pauses_full.get()
            }),
            (
                "accept_pauses_exhausted",
                "Pauses in accepting for want of descriptors or memory.",
                |counters| counters.accept_pauses_exhausted.get(),
            ),
            ("connects_refused", "Connections not made at the bound on sockets.", |counters| {
                counters.connects_refused.get()
            }),
            ("questions_refused", "Questions refused because too many waited.", |counters| {
                counters.questions_refused.get()
            }),
            ("notes_suppressed", "Log lines left out because there were too many.", |counters| {
                counters.notes_suppressed.get()
            }),
            ("rounds", "Rounds of the event loop.", |counters| counters.rounds.get()),
            ("events", "Events from the kernel.", |counters| counters.events.get()),
        ];
        for (name, help, pick) in counters {
            let name = format!("weft_runtime_{name}_total");
            page.family(&name, Kind::Counter, help);
            self.samples(page, &name, pick);
        }
    }
}

impl RuntimeCounters {
    fn samples(&self, page: &mut Page, name: &str, pick: fn(&Counters) -> u64) {
        for (thread, counters) in self.0.iter().enumerate() {
            page.sample(name, &Labels::new().with("worker", &thread.to_string()), pick(counters));
        }
    }
}
