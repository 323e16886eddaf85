//! Programs that nobody here wrote, unchanged.

use crate::mesh::{Mesh, terminate, until};
use std::fs;

/// The configuration of an nginx without anything around it.
fn nginx(mesh: &Mesh) -> String {
    let directory = mesh.machine.files().join("nginx");
    fs::create_dir_all(directory.join("html")).unwrap();
    fs::write(directory.join("html/hello"), "hello from nginx").unwrap();
    fs::write(directory.join("html/large"), vec![b'x'; 1 << 20]).unwrap();
    let at = directory.display();
    let file = directory.join("nginx.conf");
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|what| format!("{what}_temp_path {at}/{what};\n"))
        .collect();
    let text = format!(
        "daemon off;\nuser root;\npid {at}/pid;\nerror_log stderr;\nworker_processes 1;\n\
         events {{}}\nhttp {{\naccess_log off;\n{paths}\
         server {{ listen 8080; listen [::]:8080; root {at}/html; \
         location /who {{ return 200 \"$http_l5d_client_id\"; }} }}\n\
         server {{ listen 8081 http2; root {at}/html; }}\n}}\n"
    );
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

#[test]
fn nginx_with_curl_wrk_and_h2load() {
    let mesh = Mesh::start();
    let configuration = nginx(&mesh);
    let flags = ["--port", "8080", "--port", "8081", "--publish", "18080:8080"];
    let server = mesh.serve("web", &flags, &["nginx", "-c", &configuration]);

    assert_eq!(mesh.get("me", "http://web:8080/hello"), (200, "hello from nginx".into()));
    let full = "http://web.default.svc.cluster.local:8080/hello";
    assert_eq!(mesh.get("me", full), (200, "hello from nginx".into()));
    assert_eq!(mesh.get("me", "http://web:8080/none").0, 404);
    assert_eq!(mesh.get("me", "http://web:8080/large").1.len(), 1 << 20);
    // The server is told who asks.
    let who = "me.default.serviceaccount.identity.linkerd.cluster.local";
    assert_eq!(mesh.get("me", "http://web:8080/who"), (200, who.into()));

    // A program that is not meshed.
    let ended = mesh.machine.run("curl", &["-sS", "http://127.0.0.1:18080/hello"]);
    assert_eq!(ended.text(), "hello from nginx");

    let ended = mesh.ask("load", &["wrk", "-t1", "-c8", "-d2s", "http://web:8080/hello"]);
    assert!(ended.status.success() && ended.text().contains("requests in"), "{ended:?}");
    assert!(!ended.text().contains("Non-2xx") && !ended.text().contains("Socket errors"), "{ended:?}");
    for arguments in [&["--h1", "http://web:8080/hello"][..], &["http://web:8081/hello"]] {
        let ended = mesh.ask("load", &[&["h2load", "-n", "500", "-c", "4"], arguments].concat());
        assert!(ended.text().contains("500 succeeded, 0 failed, 0 errored"), "{ended:?}");
    }
    assert_eq!(terminate(server).code(), 0);
    until("its end is known", || mesh.workloads().is_empty());
    mesh.end();
}

#[test]
fn redis() {
    let mesh = Mesh::start();
    let program = ["redis-server", "--port", "6379", "--bind", "*", "--protected-mode", "no", "--save", ""];
    let server = mesh.serve("cache", &["--port", "6379"], &program);
    let cli = |words: &[&str]| mesh.ask("me", &[&["redis-cli", "-h", "cache"], words].concat()).text();
    assert_eq!(cli(&["ping"]), "PONG");
    assert_eq!(cli(&["set", "colour", "green"]), "OK");
    assert_eq!(cli(&["get", "colour"]), "green");
    let many =
        mesh.ask("me", &["redis-benchmark", "-h", "cache", "-n", "2000", "-c", "20", "-t", "set,get", "-q"]);
    assert!(many.status.success(), "{many:?}");
    let _ = terminate(server);
    mesh.end();
}

/// The newest of Debian's PostgreSQL servers.
fn postgres_programs() -> String {
    let mut found: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .unwrap()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|path| path.join("initdb").is_file())
        .collect();
    found.sort();
    found.pop().unwrap().display().to_string()
}

#[test]
fn postgres() {
    let mesh = Mesh::start();
    let programs = postgres_programs();
    let data = mesh.machine.files().join("postgres");
    fs::create_dir(&data).unwrap();
    let at = data.display().to_string();
    assert!(mesh.machine.run("chown", &["postgres", &at]).status.success());
    let initdb = format!("{programs}/initdb");
    let ended =
        mesh.machine.run("runuser", &["-u", "postgres", "--", &initdb, "-D", &at, "-A", "trust", "-N"]);
    assert!(ended.status.success(), "{ended:?}");
    let rules = data.join("pg_hba.conf");
    let mut text = fs::read_to_string(&rules).unwrap();
    text.push_str("host all all all trust\n");
    fs::write(&rules, text).unwrap();
    let server = format!("{programs}/postgres");
    let program =
        [&server, "-D", &at, "-c", "listen_addresses=*", "-c", "unix_socket_directories=", "-c", "fsync=off"];
    let server = mesh.serve("db", &["--port", "5432", "--opaque", "5432", "--user", "postgres"], &program);

    let sql = |text: &str| mesh.ask("me", &["psql", "-h", "db", "-U", "postgres", "-Atc", text]).text();
    assert_eq!(sql("select 6 * 7"), "42");
    sql("create table t as select n from generate_series(1, 100000) n");
    assert_eq!(sql("select sum(n) from t"), "5000050000");
    assert_eq!(sql("select repeat('y', 200000)").len(), 200_000);
    assert_eq!(terminate(server).code(), 0);
    mesh.end();
}

/// Replicas of one service, one of which goes.
#[test]
fn python_in_replicas() {
    let mesh = Mesh::start();
    let first = mesh.web("web", &[], "one");
    let second = mesh.web("web", &[], "second");
    let mut seen = std::collections::BTreeSet::new();
    until("answers of both", || {
        let (status, text) = mesh.get("me", "http://web:8080/text");
        assert_eq!(status, 200, "{text}");
        seen.insert(text);
        seen.len() == 2
    });
    let _ = terminate(first);
    for _ in 0..5 {
        assert_eq!(mesh.get("me", "http://web:8080/text"), (200, "second".into()));
    }
    let _ = terminate(second);
    mesh.end();
}

/// What is on the machine and not meshed is reached as before.
#[test]
fn a_server_of_the_machine_itself() {
    let mesh = Mesh::start();
    let directory = mesh.machine.files().join("plain");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("text"), "not meshed").unwrap();
    let mut command = mesh.machine.command("python3");
    command.args(["-m", "http.server", "7777", "--directory"]).arg(&directory);
    let server = weft_tests::process::Process::spawn("python3", &mut command);
    until("a server", || {
        mesh.machine.run("curl", &["-s", "http://127.0.0.1:7777/text"]).text() == "not meshed"
    });
    // The machine's own address on the network of workloads.
    assert_eq!(mesh.get("me", "http://10.209.0.1:7777/text"), (200, "not meshed".into()));
    drop(server);
    mesh.end();
}
