//! A machine with a control plane.

use rustix::process::Signal;
use weft_tests::{
    machine::Machine,
    process::{Ended, Process},
    wait::until_blocking,
};

pub(crate) struct Mesh {
    pub(crate) up: Process,
    pub(crate) machine: Machine,
}

impl Mesh {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With more flags for `weft up`.
    pub(crate) fn with(flags: &[&str]) -> Self {
        let machine = Machine::new();
        let up = Self::up(&machine, flags);
        Self { up, machine }
    }

    /// Starts a control plane and waits until it is ready.
    pub(crate) fn up(machine: &Machine, flags: &[&str]) -> Process {
        let mut up = machine.start(&[&["up", "--dns-upstream", "none"], flags].concat());
        up.wait_for_line(&["weft up: ready"]);
        up
    }

    /// Starts a server and waits until it takes traffic.
    pub(crate) fn serve(&self, name: &str, flags: &[&str], program: &[&str]) -> Process {
        let mut server = self.machine.start(&[&["run", "--name", name], flags, &["--"], program].concat());
        server.wait_for_line(&["takes traffic"]);
        server
    }

    /// A web server of Python's on port 8080 that shows a file with `text`.
    pub(crate) fn web(&self, name: &str, flags: &[&str], text: &str) -> Process {
        let directory = self.machine.files().join(format!("{name}-{}", text.len()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("text"), text).unwrap();
        let program = ["python3", "-m", "http.server", "8080", "--directory", directory.to_str().unwrap()];
        self.serve(name, &[&["--port", "8080"], flags].concat(), &program)
    }

    /// Runs a client to its end; what it wrote.
    pub(crate) fn ask(&self, name: &str, program: &[&str]) -> Ended {
        self.machine.finish(&[&["run", "--quiet", "--name", name, "--"], program].concat())
    }

    /// GET of a URL by curl, meshed as `name`: status and content.
    pub(crate) fn get(&self, name: &str, url: &str) -> (u16, String) {
        let ended = self.ask(name, &["curl", "-sS", "--max-time", "30", "-w", "\n%{http_code}", url]);
        let text = ended.text();
        let (content, status) = text.rsplit_once('\n').unwrap_or_else(|| panic!("{ended:?}"));
        (status.parse().unwrap_or_else(|_| panic!("{ended:?}")), content.to_owned())
    }

    /// What `weft get` shows, as JSON.
    pub(crate) fn show(&self, kind: &str) -> serde_json::Value {
        let ended = self.machine.finish(&["get", kind, "-o", "json"]);
        serde_json::from_str(&ended.text()).unwrap_or_else(|e| panic!("{e}: {ended:?}"))
    }

    /// The workloads there are.
    pub(crate) fn workloads(&self) -> Vec<String> {
        let shown = self.show("workloads");
        let names = shown.as_array().unwrap().iter();
        names.map(|workload| workload["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Ends the control plane in order, after which nothing is left of anything.
    pub(crate) fn end(mut self) {
        self.up.signal(Signal::TERM);
        let ended = self.up.wait();
        assert_eq!(ended.code(), 0, "{ended:?}");
        self.machine.assert_clean();
    }
}

/// SIGTERM, and the end.
pub(crate) fn terminate(mut process: Process) -> Ended {
    process.signal(Signal::TERM);
    process.wait()
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    until_blocking(what, || so().then_some(()));
}
