//! `weft exec`: a second program where a workload's program runs.

use crate::mesh::{Mesh, terminate, until};
use rustix::process::Signal;
use std::{collections::BTreeSet, fs};

/// A process of the machine, by its id here, that has this on its command line; not who runs it, who has it there, too.
fn process(mesh: &Mesh, part: &str) -> Option<u32> {
    let all = mesh.machine.processes();
    let of_weft = |line: &str| line.contains("weft ") || line.contains("__enter");
    all.into_iter().find(|(_, line)| line.contains(part) && !of_weft(line)).map(|(pid, _)| pid)
}

/// The namespaces of a process that `weft exec` joins.
fn namespaces(pid: u32) -> [String; 3] {
    ["net", "mnt", "pid"]
        .map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string())
}

/// It sees the network, the files and the processes that the workload's program sees, and no others.
#[test]
fn runs_where_the_program_runs() {
    let mesh = Mesh::start();
    let web = mesh.web("web", &[], "text");
    let mut inside = mesh.machine.start(&["exec", "web-0", "--", "sleep", "31536"]);
    until("the second program", || process(&mesh, "sleep 31536").is_some());
    let program = namespaces(process(&mesh, "-m http.server").unwrap());
    assert_eq!(namespaces(process(&mesh, "sleep 31536").unwrap()), program);
    let own = namespaces(mesh.up.pid());
    assert!(program.iter().zip(&own).all(|(theirs, ours)| theirs != ours), "{program:?}, {own:?}");

    let exec = |command: &[&str]| {
        let ended = mesh.machine.finish(&[&["exec", "web-0", "--"], command].concat());
        assert_eq!(ended.code(), 0, "{command:?}: {ended:?}");
        ended.lines
    };
    // The program on its own loopback, and names of the mesh.
    for url in ["http://127.0.0.1:8080/text", "http://web:8080/text"] {
        assert_eq!(exec(&["curl", "-sS", "--max-time", "30", url]), ["text"], "{url}");
    }
    let seen = exec(&["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]).join(" ");
    assert!(seen.contains("http.server") && seen.contains("sleep 31536"), "{seen}");
    assert!(!seen.contains("--dns-upstream"), "a process of the machine: {seen}");

    // What ends the workload ends whatever else runs there.
    let _ = terminate(web);
    assert!(!inside.wait().status.success());
    mesh.end();
}

/// The code of the program is the code of `weft exec`, and signals reach it.
#[test]
fn ends_as_the_program_ends() {
    let mesh = Mesh::start();
    let web = mesh.web("web", &[], "text");
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
        let ended = mesh.machine.finish(&["exec", "web-0", "--", "sh", "-c", script]);
        assert_eq!(ended.code(), code, "{script}: {ended:?}");
    }
    for (program, code) in [("/no/such/program", 127), ("/etc/passwd", 126)] {
        let ended = mesh.machine.finish(&["exec", "web-0", "--", program]);
        assert_eq!(ended.code(), code, "{program}: {ended:?}");
        assert!(ended.text().contains(program), "{ended:?}");
    }
    let script = "trap 'echo got TERM; exit 4' TERM; echo waiting; while :; do sleep 0.05; done";
    let mut inside = mesh.machine.start(&["exec", "web-0", "--", "sh", "-c", script]);
    inside.wait_for_line(&["waiting"]);
    inside.signal(Signal::TERM);
    let ended = inside.wait();
    assert_eq!(ended.code(), 4, "{ended:?}");
    // The workload is none the worse.
    assert_eq!(mesh.get("me", "http://web:8080/text"), (200, "text".into()));
    let _ = terminate(web);
    mesh.end();
}

#[test]
fn a_name_that_nobody_has_is_told_with_those_there_are() {
    let mesh = Mesh::start();
    let running = [mesh.web("web", &[], "one"), mesh.web("web", &[], "second")];
    let names: BTreeSet<_> = mesh.workloads().into_iter().collect();
    assert_eq!(names.len(), 2);
    let ended = mesh.machine.finish(&["exec", "shop-0", "--", "true"]);
    assert_eq!(ended.code(), 1, "{ended:?}");
    for part in names.iter().map(String::as_str).chain(["shop-0", "weft run"]) {
        assert!(ended.text().contains(part), "{part} in {}", ended.text());
    }
    for wrong in [&["exec", "web-0"][..], &["exec"]] {
        assert_eq!(mesh.machine.finish(wrong).code(), 64, "{wrong:?}");
    }
    for web in running {
        let _ = terminate(web);
    }
    mesh.end();
}
