//! How things end, in order and not, and that nothing is left of them.

use crate::mesh::{Mesh, terminate, until};
use rustix::process::{Pid, Signal, kill_process};
use weft_tests::process::Process;

/// A process of the machine whose command line has all of these.
fn find(mesh: &Mesh, parts: &[&str]) -> Option<u32> {
    let all = mesh.machine.processes();
    all.into_iter().find(|(_, line)| parts.iter().all(|part| line.contains(part))).map(|(pid, _)| pid)
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
}

/// The program's own code is the code of `weft run`.
#[test]
fn exit_codes() {
    let mesh = Mesh::start();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
        assert_eq!(mesh.ask("me", &["sh", "-c", script]).code(), code, "{script}");
    }
    assert_eq!(mesh.ask("me", &["/no/such/program"]).code(), 127);
    assert_eq!(mesh.ask("me", &["/etc/passwd"]).code(), 126);
    assert_eq!(mesh.workloads(), Vec::<String>::new());
    mesh.end();
}

/// A server that ends before it has opened its port: which, and its code.
#[test]
fn a_program_that_exits_at_once() {
    let mesh = Mesh::start();
    let ended = mesh.machine.finish(&["run", "--name", "web", "--port", "8080", "--", "sh", "-c", "exit 3"]);
    assert_eq!(ended.code(), 3);
    assert!(ended.text().contains("web-0") && ended.text().contains("8080"), "{}", ended.text());
    mesh.end();
}

#[test]
fn signals_reach_the_program() {
    let mesh = Mesh::start();
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::INT, "INT"), (Signal::HUP, "HUP")] {
        let script =
            format!("trap 'echo got {name}; exit 4' {name}; echo waiting; while :; do sleep 0.05; done");
        let mut run = mesh.machine.start(&["run", "--name", "me", "--", "sh", "-c", &script]);
        run.wait_for_line(&["waiting"]);
        run.signal(signal);
        let ended = run.wait();
        assert_eq!(ended.code(), 4, "{name}: {ended:?}");
        assert!(ended.text().contains(&format!("got {name}")), "{ended:?}");
    }
    mesh.end();
}

#[test]
fn a_program_that_is_killed() {
    let mesh = Mesh::start();
    let mut web = mesh.web("web", &[], "text");
    // Not who runs it: they have it on their command lines, too.
    let all = mesh.machine.processes();
    let program = all.iter().find(|(_, line)| line.contains("http.server") && !line.contains("weft "));
    kill(program.unwrap_or_else(|| panic!("{all:?}")).0);
    assert_eq!(web.wait().code(), 137);
    assert_eq!(mesh.workloads(), Vec::<String>::new());
    mesh.end();
}

/// Its proxy: it is started again, and requests are answered again.
#[test]
fn a_proxy_that_is_killed_is_started_again() {
    let mesh = Mesh::start();
    let mut web = mesh.web("web", &[], "text");
    let proxy = find(&mesh, &["weft proxy"]);
    kill(proxy.unwrap_or_else(|| panic!("{:?}", mesh.machine.processes())));
    web.wait_for_line(&["the proxy of web-0 ended", "starting it again"]);
    until("an answer", || mesh.get("me", "http://web:8080/text") == (200, "text".into()));
    let _ = terminate(web);
    mesh.end();
}

/// `weft run` itself: program and proxy end with it, its lease runs out, and the next one sweeps up what is left.
#[test]
fn a_run_that_is_killed_is_swept_up() {
    let mesh = Mesh::with(&["--lease-ttl", "2s"]);
    let mut web = mesh.web("web", &["--publish", "18080:8080"], "text");
    web.signal(Signal::KILL);
    let _ = web.wait();
    until("its program is gone", || find(&mesh, &["http.server"]).is_none());
    until("its lease has run out", || mesh.workloads().is_empty());
    let web = mesh.web("web", &["--publish", "18080:8080"], "again");
    assert_eq!(mesh.get("me", "http://web:8080/text"), (200, "again".into()));
    let _ = terminate(web);
    mesh.end();
}

/// Traffic goes on without a control plane; it comes back with everything it knew.
#[test]
fn a_control_plane_that_is_killed_comes_back_with_its_state() {
    let mut mesh = Mesh::start();
    let web = mesh.web("web", &[], "text");
    // A client that goes on asking, once a moment.
    let script = "while :; do curl -s --max-time 30 -o /dev/null -w '%{http_code}\\n' http://web:8080/text; sleep 0.1; done";
    let mut client = mesh.machine.start(&["run", "--name", "me", "--", "sh", "-c", script]);
    let answers = |client: &Process| client.lines().iter().filter(|line| *line == "200").count();
    until("answers", || answers(&client) > 3);
    let root = trust_root(&mesh);

    mesh.up.signal(Signal::KILL);
    let _ = mesh.up.wait();
    let before = answers(&client);
    until("answers without a control plane", || answers(&client) > before + 10);

    mesh.up = Mesh::up(&mesh.machine, &[]);
    assert_eq!(trust_root(&mesh), root);
    until("both are there", || mesh.workloads() == ["me-0", "web-0"]);
    assert_eq!(mesh.get("other", "http://web:8080/text"), (200, "text".into()));
    let failed: Vec<_> = client.lines().into_iter().filter(|line| line.len() == 3 && line != "200").collect();
    assert!(failed.is_empty(), "{failed:?}");
    client.signal(Signal::TERM);
    let _ = client.wait();
    let _ = terminate(web);
    mesh.end();
}

/// What the issuer's certificates hang on.
fn trust_root(mesh: &Mesh) -> Vec<String> {
    let mut lines = mesh.up.lines();
    lines.retain(|line| line.contains("made a trust root"));
    if lines.is_empty() {
        // Started again: it did not make one.
        let text = std::fs::read_to_string(mesh.machine.files().join("root")).unwrap();
        return vec![text];
    }
    std::fs::write(mesh.machine.files().join("root"), lines.concat()).unwrap();
    vec![lines.concat()]
}

/// Everything at once, as when the machine's power fails, but for the machine.
#[test]
fn everything_is_killed_and_the_next_start_works() {
    let mut mesh = Mesh::start();
    let mut web = mesh.web("web", &[], "text");
    mesh.up.signal(Signal::KILL);
    web.signal(Signal::KILL);
    let _ = (mesh.up.wait(), web.wait());
    until("programs are gone", || mesh.machine.processes().is_empty());
    mesh.up = Mesh::up(&mesh.machine, &[]);
    let web = mesh.web("web", &[], "again");
    until("the new one is found", || mesh.get("me", "http://web:8080/text") == (200, "again".into()));
    let _ = terminate(web);
    mesh.end();
}
