use super::*;

#[test]
fn process_states() {
    let stat = |state: &str| {
        format!("7 (a ) b) {state} 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 {start} 0 0", start = 4711)
    };
    assert_eq!(parse_stat(&stat("S")), Some(4711));
    assert_eq!(parse_stat(&stat("Z")), None, "ended, not yet waited for");
    for text in ["", "7 (x", "7 (x) S", "7 (x) S 1 2 3"] {
        assert_eq!(parse_stat(text), None, "{text:?}");
    }
    let own = Process::own().unwrap();
    assert!(own.is_alive());
    assert!(!Process { start: own.start + 1, ..own }.is_alive(), "an earlier process with this number");
    assert_eq!(Process::from_name(&own.name()), Some(own));
}

#[test]
fn directories() {
    let xdg = Path::new("/run/user/5");
    assert_eq!(runtime_directory(true, Some(xdg), 0), Path::new("/run/weft"));
    assert_eq!(runtime_directory(false, Some(xdg), 5), Path::new("/run/user/5/weft"));
    assert_eq!(runtime_directory(false, Some(Path::new("here")), 5), Path::new("/tmp/weft-5"));
    assert_eq!(runtime_directory(false, None, 5), Path::new("/tmp/weft-5"));
    assert_eq!(outer_uid("         0       1000          1\n"), Some(1000));
    assert_eq!(outer_uid("         0          0 4294967295\n"), None);
}

#[test]
fn a_record_goes_with_its_process() {
    let base = tempfile::tempdir().unwrap();
    let base = &base.path().join("weft");
    let mut owner = Owner::claim(base, "test").unwrap();
    let path = owner.add_file("a/resolv.conf", "nameserver 192.0.2.1\n").unwrap();
    let ns = NetNs::current().unwrap();
    let link =
        owner.add_member("web", &ns, MemberRecord { files: vec![("/x".into(), path)], first: None }).unwrap();
    assert_eq!(NetNs::open(&link).unwrap().id().unwrap(), ns.id().unwrap());

    let [(process, directory, record)] = living(base).try_into().unwrap();
    assert_eq!((Some(process), &*directory, &record), (Process::own(), owner.directory(), owner.record()));
    assert_eq!(sweep(base).unwrap(), Vec::<String>::new(), "it lives");

    owner.remove_member("web").unwrap();
    assert!(fs::symlink_metadata(&link).is_err());
    drop(owner);
    assert!(!directory.exists());
}

#[test]
fn what_a_dead_process_left_is_removed() {
    let base = tempfile::tempdir().unwrap();
    let base = &base.path().join("weft");
    let own = Process::own().unwrap();
    drop(Owner::claim(base, "live").unwrap());
    let dead = base.join(Process { start: own.start + 1, ..own }.name());
    for (name, text) in
        [("record.json", r#"{"label":"demo","hub":null,"members":{},"changes":[]}"#), ("file", "x")]
    {
        fs::create_dir_all(&dead).unwrap();
        fs::write(dead.join(name), text).unwrap();
    }
    let torn = base.join("1-2");
    fs::create_dir_all(&torn).unwrap();
    fs::write(torn.join("record.json"), "{\"label").unwrap();
    let mut swept = sweep(base).unwrap();
    swept.sort();
    assert_eq!(swept.len(), 2);
    assert!(swept[1].starts_with("removed what process ") && swept[1].contains("(demo)"), "{swept:?}");
    assert!(!dead.exists() && !torn.exists());
    assert!(sweep(Path::new("/no/such/directory")).unwrap().is_empty());
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let e = Owner::claim(dir.path(), "test").unwrap_err();
    assert!(matches!(e, MachineError::NotOurs(_)), "{e}");
    let link = dir.path().join("link");
    symlink("/tmp", &link).unwrap();
    assert!(Owner::claim(&link, "test").is_err());
}

#[test]
fn a_parameter_that_two_processes_set_goes_back_with_the_second() {
    let sysctl = |before: &str, after: &str| Change::Sysctl {
        name: "net/ipv4/ip_forward".into(),
        before: before.into(),
        after: after.into(),
    };
    let first = Record { changes: vec![sysctl("0", "1")], ..Record::default() };
    let second = sysctl("1", "1").keeping_first(std::slice::from_ref(&first));
    assert_eq!(second, sysctl("0", "1"), "the second remembers what was there before the first");
    assert_eq!(second.undo(&[first]).unwrap(), None, "while the first lives");
    assert_eq!(sysctl("0", "1").to_string(), "kernel parameter net.ipv4.ip_forward set to 1 (was 0)");
    assert_eq!(sysctl("1", "1").to_string(), "kernel parameter net.ipv4.ip_forward is 1 and stays so");
}
