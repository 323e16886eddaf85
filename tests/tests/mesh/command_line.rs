//! What is wrong with a command line or its surroundings is told, all at once, with a code that says whose fault it is.

use crate::mesh::{Mesh, terminate};
use std::fs;
use weft_tests::machine::Machine;

#[test]
fn wrong_flags_are_all_told_with_code_64() {
    let machine = Machine::new();
    for (arguments, told) in [
        (
            &["up", "--listen", "nonsense", "--workload-network", "x"][..],
            &["--listen", "--workload-network"][..],
        ),
        (&["up", "--lease-ttl", "soon"], &["--lease-ttl"]),
        (&["up", "--nonsense"], &["--nonsense"]),
        (&["run", "--name", "web", "--port", "http", "--", "true"], &["--port", "http"]),
        (&["run", "--name", "web", "--user", "nobody-of-this-name", "--", "true"], &["--user"]),
        (&["run", "--port", "80", "--", "true"], &["--name"]),
        (&["get", "nonsense"], &["nonsense"]),
        (&["nonsense"], &["nonsense"]),
    ] {
        let ended = machine.finish(arguments);
        assert_eq!(ended.code(), 64, "{arguments:?}: {ended:?}");
        for part in told {
            assert!(ended.text().contains(part), "{arguments:?}: {part} in {}", ended.text());
        }
    }
    machine.assert_clean();
}

#[test]
fn a_wrong_manifest_is_told_by_file_and_line() {
    let machine = Machine::new();
    let file = machine.files().join("bad.yaml");
    fs::write(
        &file,
        "apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: {name: web}\nspec:\n  port: [1]\n",
    )
    .unwrap();
    let ended = machine.finish(&["up", "-f", file.to_str().unwrap()]);
    assert_eq!(ended.code(), 64, "{ended:?}");
    assert!(ended.text().contains("bad.yaml:"), "{}", ended.text());
    machine.assert_clean();
}

#[test]
fn ports_that_are_taken_are_told_with_their_options() {
    let mesh = Mesh::start();
    let state = mesh.machine.files().join("other").display().to_string();
    let program = weft_tests::binaries::path("weft").display().to_string();
    let ended = mesh.machine.run(&program, &["up", "--state", &state, "--dns-upstream", "none"]);
    assert_eq!(ended.code(), 1, "{ended:?}");
    for option in [
        "--destination-port",
        "--policy-port",
        "--identity-port",
        "--metrics-port",
        "--dns-port",
        "--admin-listen",
    ] {
        assert!(ended.text().contains(option), "{option} in {}", ended.text());
    }
    let web = mesh.web("web", &["--publish", "18080:8080"], "text");
    let ended = mesh.machine.finish(&[
        "run",
        "--name",
        "b",
        "--port",
        "8080",
        "--publish",
        "18080:8080",
        "--",
        "sleep",
        "60",
    ]);
    assert_eq!(ended.code(), 1, "{ended:?}");
    assert!(ended.text().contains("--publish"), "{}", ended.text());
    // The first mesh is none the worse.
    assert_eq!(mesh.get("me", "http://web:8080/text"), (200, "text".into()));
    let _ = terminate(web);
    mesh.end();
}

#[test]
fn without_a_control_plane_it_is_told_how_to_get_one() {
    let machine = Machine::new();
    for arguments in [&["run", "--name", "me", "--", "true"][..], &["get", "workloads"]] {
        let ended = machine.finish(arguments);
        assert_eq!(ended.code(), 1, "{ended:?}");
        assert!(ended.text().contains("weft up"), "{}", ended.text());
    }
    machine.assert_clean();
}

/// A state that cannot be read is not written over.
#[test]
fn a_broken_state_is_refused_and_left_as_it_is() {
    let mesh = Mesh::start();
    let state = mesh.machine.state();
    assert_eq!(mesh.show("readiness")["ready"], true);
    let Mesh { up, machine } = mesh;
    let _ = terminate(up);
    let database = fs::read_dir(&state)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3")))
        .unwrap_or_else(|| panic!("no database in {}", state.display()));
    let broken = b"this is no database, but it may be somebody's".repeat(100);
    fs::write(&database, &broken).unwrap();
    let ended = machine.finish(&["up", "--dns-upstream", "none"]);
    assert!(!ended.status.success(), "{ended:?}");
    assert!(ended.text().contains(database.file_name().unwrap().to_str().unwrap()), "{}", ended.text());
    assert_eq!(fs::read(&database).unwrap(), broken);
    machine.assert_clean();
}
