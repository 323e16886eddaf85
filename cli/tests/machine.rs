//! The machine's network for real: namespaces, links, programs, a way out; as root, and without.
//!
//! Needs root, and for the part without root a kernel that allows user namespaces. This is a program of its own and not
//! a set of `#[test]`s because the code under test runs itself again for steps that need a process of one thread.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[allow(dead_code, unreachable_pub, unused_imports, reason = "the command line uses what is not used here")]
#[path = "../src"]
mod source {
    pub mod machine;
}

use nix::sys::signal::Signal;
use source::machine::{
    self, Layout, Network, Owner, Privilege, Program, Running, Uplink, User, attach,
    owner::{Change, Process, sweep},
    privilege::{Exempt, PROXY_MARK, PROXY_UID},
    probe, userns,
};
use std::{
    env,
    ffi::OsString,
    fs,
    future::Future,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    panic,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};
use weft_init::{NetNs, Plan, Redirection, netlink::route::Route};

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(60);
/// Long for a connection on this machine, short for a test that waits for none.
const MOMENT: Duration = Duration::from_millis(500);
const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

fn main() -> ExitCode {
    let args: Vec<_> = env::args_os().collect();
    if let Some(code) = machine::hidden(args.iter().cloned()) {
        return code;
    }
    match args.get(1).and_then(|a| a.to_str()) {
        Some("hold") => hold(Path::new(&args[2])),
        Some("attach") => return attach(Path::new(&args[2]), args[3].to_str().unwrap(), &args[4..]),
        Some("rootless-outside") => return rootless_outside(Path::new(&args[2])),
        Some("rootless-inside") => rootless_inside(Path::new(&args[2])),
        filter => return run(filter.filter(|f| !f.starts_with('-')).unwrap_or_default()),
    }
    ExitCode::SUCCESS
}

fn run(filter: &str) -> ExitCode {
    let tests: [(&str, fn()); 9] = [
        ("probing", probing),
        ("members_talk_to_each_other", members_talk_to_each_other),
        ("redirection_in_a_member", redirection_in_a_member),
        ("programs", programs),
        ("contained_programs", contained_programs),
        ("nothing_outlives_its_owner", nothing_outlives_its_owner),
        ("a_way_out", a_way_out),
        ("shared_by_two", shared_by_two),
        ("without_root", without_root),
    ];
    assert!(nix::unistd::geteuid().is_root(), "these tests need root");
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in tests.iter().filter(|(name, _)| name.contains(filter)) {
        let start = Instant::now();
        let ok = panic::catch_unwind(test).is_ok();
        println!("test {name} ... {} ({} ms)", if ok { "ok" } else { "FAILED" }, start.elapsed().as_millis());
        *(if ok { &mut passed } else { &mut failed }) += 1;
    }
    println!("test result: {}. {passed} passed; {failed} failed", if failed == 0 { "ok" } else { "FAILED" });
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

// === helpers ===

fn layout() -> Layout {
    Layout::new("10.199.0.0/16".parse().unwrap()).unwrap()
}

fn base() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn ended(mut running: Running) -> ExitStatus {
    block_on(async { tokio::time::timeout(PATIENCE, running.wait()).await.expect("it ends") })
}

/// Waits until something is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Answers each connection with a name and who it comes from.
fn serve(ns: &NetNs, address: &str, name: &'static str) -> SocketAddr {
    let listener = ns.run(|| TcpListener::bind(address)).unwrap().unwrap();
    let bound = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let peer = stream.peer_addr().unwrap().ip().to_canonical();
            let _ = write!(stream, "{name} {peer}");
        }
    });
    bound
}

/// What answers at an address; "nobody" if nothing does within a moment.
fn ask(ns: &NetNs, address: impl ToString) -> String {
    let address = address.to_string();
    ns.run(|| {
        let mut text = String::new();
        match TcpStream::connect_timeout(&address.parse().unwrap(), MOMENT) {
            Ok(mut stream) => stream.read_to_string(&mut text).map(|_| ()).unwrap(),
            Err(_) => text.push_str("nobody"),
        }
        text
    })
    .unwrap()
}

fn sh(script: &str) -> Program {
    Program { stdin: Stdio::null(), stdout: Stdio::piped(), ..Program::new(["sh", "-c", script]) }
}

/// Runs a script and returns what it prints, and how it ends.
fn output(program: Program, ns: Option<&NetNs>) -> (String, ExitStatus) {
    let mut running = program.spawn(ns).unwrap();
    let mut text = String::new();
    running.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    (text.trim().to_owned(), ended(running))
}

fn ours(args: &[&str]) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// A process that is killed, as by `kill -9`, when the test is done with it or fails.
struct Victim(Child);

impl Victim {
    fn hold(base: &Path) -> Self {
        Self(ours(&["hold", base.to_str().unwrap()]).spawn().unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// === tests ===

fn probing() {
    assert_eq!(probe(), Privilege::Namespaces(Exempt::User(PROXY_UID)));
}

fn members_talk_to_each_other() {
    let network = Network::create(layout()).unwrap();
    let a = network.add("a", layout().member(0).unwrap()).unwrap();
    let b = network.add("b", layout().member(1).unwrap()).unwrap();
    serve(b.namespace(), "[::]:80", "b");
    assert_eq!(ask(a.namespace(), format!("{}:80", b.v4)), format!("b {}", a.v4));
    assert_eq!(ask(a.namespace(), format!("[{}]:80", b.v6)), format!("b {}", a.v6));
    assert_eq!(ask(b.namespace(), format!("{}:80", b.v4)), format!("b {}", b.v4), "itself");
    assert_eq!(ask(a.namespace(), "10.96.0.1:80"), "nobody", "a route, but nobody there");

    network.set_cable(&b, false).unwrap();
    assert_eq!(ask(a.namespace(), format!("{}:80", b.v4)), "nobody");
    network.set_cable(&b, true).unwrap();
    // It may still be asking for its neighbour's address, once a second.
    until("the link carries packets again", || ask(a.namespace(), format!("{}:80", b.v4)) != "nobody");

    let again = network.add("c", a.v4).unwrap_err();
    assert!(again.to_string().contains("network"), "the address is taken: {again}");
    let outside = network.add("d", Ipv4Addr::new(10, 200, 0, 1)).unwrap_err();
    assert_eq!(outside.to_string(), "10.200.0.1 cannot be used in the network 10.199.0.0/16");
    network.unplug(&a).unwrap();
    assert_eq!(ask(b.namespace(), format!("{}:80", a.v4)), "nobody");
    network.add("a", a.v4).unwrap();

    let mut here = Route::open().unwrap();
    assert!(!here.links().unwrap().iter().any(|l| l.name == "weft"), "nothing of it is in our own namespace");
}

fn redirection_in_a_member() {
    let network = Network::create(layout()).unwrap();
    let a = network.add("a", layout().member(0).unwrap()).unwrap();
    let b = network.add("b", layout().member(1).unwrap()).unwrap();
    serve(b.namespace(), "[::]:80", "b");
    serve(a.namespace(), "127.0.0.1:4140", "proxy");
    let report = a.redirect(&Plan::new(&Redirection::standard())).unwrap();
    assert_eq!(report.rules, 4);
    assert!(ask(a.namespace(), format!("{}:80", b.v4)).starts_with("proxy"));
    // A program that runs as the proxy's user gets through.
    let user = |uid| Some(User { uid, gid: uid });
    let fetch = format!("exec 3<>/dev/tcp/{}/80; cat <&3", b.v4);
    let get =
        |uid| Program { user: user(uid), stdout: Stdio::piped(), ..Program::new(["bash", "-c", &fetch]) };
    assert!(output(get(PROXY_UID), Some(a.namespace())).0.starts_with("b "));
    assert!(output(get(1000), Some(a.namespace())).0.starts_with("proxy "));
}

fn programs() {
    let base = base();
    let mut owner = Owner::claim(&base.path().join("weft"), "test").unwrap();
    let network = Network::create(layout()).unwrap();
    let mut member = network.add("a", layout().member(0).unwrap()).unwrap();
    let before = fs::read_to_string("/etc/resolv.conf").unwrap();
    member.show_file(&owner, "/etc/resolv.conf", "nameserver 192.0.2.53\n").unwrap();
    member.publish(&mut owner).unwrap();

    let run = |program: Program| {
        let mut running = member.spawn(program).unwrap();
        let mut text = String::new();
        running.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        (text.trim().to_owned(), ended(running).code())
    };
    let user = Some(User { uid: 2102, gid: 2103 });
    assert_eq!(run(sh("cat /etc/resolv.conf")), ("nameserver 192.0.2.53".into(), Some(0)));
    assert_eq!(fs::read_to_string("/etc/resolv.conf").unwrap(), before, "nobody else sees it");
    let who = Program { user, ..sh("id -u; id -g; id -G; ls /sys/class/net >/dev/null; exit 7") };
    assert_eq!(run(who), ("2102\n2103\n2103".into(), Some(7)));
    let env = Program {
        env: vec![("B".into(), "2".into())],
        clear_env: true,
        directory: Some("/usr".into()),
        ..sh("env | grep -v _= | sort; pwd")
    };
    assert_eq!(run(env).0, "B=2\nPWD=/usr\n/usr");
    for contain in [false, true] {
        let quiet = |argv: &str| Program {
            contain,
            stderr: Stdio::null(),
            stdout: Stdio::piped(),
            ..Program::new([argv])
        };
        assert_eq!(run(quiet("/no/such/program")).1, Some(127));
        assert_eq!(run(quiet("/etc/passwd")).1, Some(126));
    }
    let bad_file = Program {
        files: vec![("/no/such/place".into(), "/etc/passwd".into())],
        stderr: Stdio::piped(),
        ..sh("true")
    };
    let mut running = member.spawn(bad_file).unwrap();
    let mut text = String::new();
    running.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(ended(running).code(), Some(125));
    assert!(text.starts_with("weft: could not show /etc/passwd as /no/such/place: No such file"), "{text}");

    // Another command finds the namespace by its name and sees the same files.
    let attached = ours(&["attach", base.path().join("weft").to_str().unwrap(), "a", "sh", "-c"])
        .arg("cat /etc/resolv.conf; cat /proc/net/if_inet6 | grep -c eth0")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&attached.stdout), "nameserver 192.0.2.53\n2\n");
    let unknown = attach::find(&base.path().join("weft"), "b").unwrap_err();
    assert_eq!(unknown.to_string(), "no running weft has a namespace \"b\"; there are: a");
}

fn contained_programs() {
    let network = Network::create(layout()).unwrap();
    let member = network.add("a", layout().member(0).unwrap()).unwrap();
    let contained = |script: &str| Program { contain: true, ..sh(script) };
    let ns = Some(member.namespace());
    // Its own process numbers, and its exit code.
    assert_eq!(output(contained("echo $$ $PPID; cat /proc/1/comm; exit 3"), ns).1.code(), Some(3));
    assert_eq!(output(contained("echo $PPID"), ns).0, "1");
    let as_user = Program { user: Some(User { uid: 1000, gid: 1000 }), ..contained("id -u; exit 5") };
    let (text, status) = output(as_user, ns);
    assert_eq!((text.as_str(), status.code()), ("1000", Some(5)));
    assert_eq!(
        output(contained("kill -SEGV $$"), ns).1.code(),
        Some(139),
        "killed by a signal, as shells tell it"
    );

    // A signal reaches the program.
    let mut running = contained("trap 'echo got it; exit 4' TERM; echo ready; while :; do sleep 0.05; done")
        .spawn(ns)
        .unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    running.signal(Signal::SIGTERM);
    assert_eq!(lines.next().unwrap().unwrap(), "got it");
    assert_eq!(ended(running).code(), Some(4));

    // What it sends into the background ends with it, and does not keep it from ending.
    let marker = format!("77.{}", std::process::id());
    let script = format!("(setsid sleep {marker} >/dev/null 2>&1 &); echo started");
    assert_eq!(output(contained(&script), ns).0, "started");
    until("the sleeper is gone", || !command_lines().iter().any(|c| c.contains(&marker)));
    // When it is killed, too.
    let script = format!("(setsid sleep {marker} >/dev/null 2>&1 &); echo started; sleep 60");
    let mut running = contained(&script).spawn(ns).unwrap();
    let mut line = String::new();
    BufReader::new(running.stdout.take().unwrap()).read_line(&mut line).unwrap();
    until("the sleeper is there", || command_lines().iter().any(|c| c.contains(&marker)));
    drop(running);
    until("the sleeper is gone", || !command_lines().iter().any(|c| c.contains(&marker)));
}

/// A process that holds a network with programs in it and says so.
fn hold(base: &Path) {
    let mut owner = Owner::claim(base, "held").unwrap();
    let network = Network::shared(&mut owner, layout()).unwrap();
    let uplink = Uplink::open(&mut owner, &network).unwrap();
    let member = network.add("held", layout().member(100).unwrap()).unwrap();
    member.publish(&mut owner).unwrap();
    let sleep = |contain| Program { contain, stdout: Stdio::null(), ..Program::new(["sleep", "61.5"]) };
    let programs = [member.spawn(sleep(false)).unwrap(), member.spawn(sleep(true)).unwrap()];
    println!("{} {}", programs[0].pid(), programs[1].pid());
    for change in uplink.changes() {
        println!("{change}");
    }
    println!("end");
    thread::sleep(Duration::from_secs(60));
    drop(programs);
}

fn nothing_outlives_its_owner() {
    let base = base();
    let base = base.path().join("weft");
    let forwarding = fs::read_to_string(FORWARD).unwrap();
    let mut child = Victim::hold(&base);
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let pids: Vec<u32> = lines.next().unwrap().split(' ').map(|p| p.parse().unwrap()).collect();
    let changes: Vec<String> = lines.take_while(|l| l != "end").collect();
    let stays = if forwarding == "1\n" {
        "is 1 and stays so".into()
    } else {
        format!("set to 1 (was {})", forwarding.trim())
    };
    assert_eq!(
        changes,
        [
            "network link weft0".to_owned(),
            format!("kernel parameter net.ipv4.ip_forward {stays}"),
            format!("packet filter table inet weft-{}", child.0.id())
        ]
    );
    let link_is_there = || Route::open().unwrap().links().unwrap().iter().any(|l| l.name == "weft0");
    let table = format!("weft-{}", child.0.id());
    let table_is_there = || weft_init::nft::list(weft_init::nft::Family::Inet, &table).unwrap().is_some();
    assert!(link_is_there() && table_is_there());
    assert_eq!(fs::read_to_string(FORWARD).unwrap(), "1\n");
    assert_eq!(sweep(&base).unwrap(), Vec::<String>::new(), "its owner lives");
    assert!(link_is_there());

    child.kill();
    until("programs are gone", || pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
    until("the kernel has removed link and rules", || !link_is_there() && !table_is_there());
    let swept = sweep(&base).unwrap();
    assert!(swept.last().unwrap().contains("(held)"), "{swept:?}");
    assert_eq!(fs::read_to_string(FORWARD).unwrap(), forwarding);
    assert_eq!(fs::read_dir(&base).unwrap().count(), 1, "the lock");
}

fn a_way_out() {
    let base = base();
    let base = base.path().join("weft");
    let forwarding = fs::read_to_string(FORWARD).unwrap();
    let here = NetNs::current().unwrap();
    {
        let mut owner = Owner::claim(&base, "test").unwrap();
        let network = Network::shared(&mut owner, layout()).unwrap();
        let uplink = Uplink::open(&mut owner, &network).unwrap();
        assert_eq!(uplink.changes().len(), 3);
        let member = network.add("a", layout().member(0).unwrap()).unwrap();
        // An unmeshed program of the machine reaches a member, and the reverse.
        serve(member.namespace(), "[::]:80", "member");
        let port = serve(&here, "[::]:0", "machine").port();
        let gateway = layout().gateway();
        assert_eq!(ask(&here, format!("{}:80", member.v4)), format!("member {gateway}"));
        assert_eq!(ask(member.namespace(), format!("{gateway}:{port}")), format!("machine {}", member.v4));
        let gateway6 = layout().v6_of(gateway);
        assert_eq!(ask(member.namespace(), format!("[{gateway6}]:{port}")), format!("machine {}", member.v6));

        // Beyond the machine, it appears under the machine's address. "Beyond" is another namespace.
        let beyond = NetNs::create().unwrap();
        use std::os::fd::AsFd;
        let mut route = Route::open().unwrap();
        route.add_veth("weft-test", "eth0", beyond.as_fd()).unwrap();
        route.add_address("weft-test", "198.51.100.1/24".parse().unwrap()).unwrap();
        route.set_up("weft-test").unwrap();
        let mut far = beyond.run(Route::open).unwrap().unwrap();
        far.add_address("eth0", "198.51.100.2/24".parse().unwrap()).unwrap();
        far.set_up("eth0").unwrap();
        route.wait_until_ready("weft-test").unwrap();
        far.wait_until_ready("eth0").unwrap();
        serve(&beyond, "198.51.100.2:80", "beyond");
        assert_eq!(ask(member.namespace(), "198.51.100.2:80"), "beyond 198.51.100.1");
        route.delete("weft-test").unwrap();

        let undone = {
            drop(uplink);
            owner.undo().unwrap()
        };
        assert!(undone.contains(&"removed the link weft0".to_owned()), "{undone:?}");
    }
    assert_eq!(fs::read_to_string(FORWARD).unwrap(), forwarding);
    assert!(!Route::open().unwrap().links().unwrap().iter().any(|l| l.name == "weft0"));
}

fn shared_by_two() {
    let base = base();
    let base = base.path().join("weft");
    let forwarding = fs::read_to_string(FORWARD).unwrap();
    let mut first = Victim::hold(&base);
    let ready =
        BufReader::new(first.0.stdout.take().unwrap()).lines().map(Result::unwrap).any(|l| l == "end");
    assert!(ready);

    let mut owner = Owner::claim(&base, "second").unwrap();
    let network = Network::shared(&mut owner, layout()).unwrap();
    let uplink = Uplink::open(&mut owner, &network).unwrap();
    let sysctl = owner.record().changes.iter().find(|c| matches!(c, Change::Sysctl { .. })).unwrap();
    assert!(matches!(sysctl, Change::Sysctl { before, .. } if *before == forwarding.trim()), "{sysctl:?}");
    let member = network.add("b", layout().member(1).unwrap()).unwrap();
    serve(member.namespace(), "[::]:80", "second");
    let held = attach::find(&base, "held").unwrap();
    assert!(held.process.is_alive() && held.process != Process::own().unwrap());
    let ns = NetNs::open(&PathBuf::from(format!("{}/ns/held", held_directory(&base, held.process)))).unwrap();
    let address = format!("{}:80", member.v4);
    assert!(ask(&ns, &address).starts_with("second"), "members of two processes reach each other");
    drop(ns);

    first.kill();
    sweep(&base).unwrap();
    assert_eq!(fs::read_to_string(FORWARD).unwrap(), "1\n", "the second one still needs it");
    assert!(ask(&NetNs::current().unwrap(), &address).starts_with("second"), "the network is still there");
    drop(uplink);
    drop(owner);
    assert_eq!(fs::read_to_string(FORWARD).unwrap(), forwarding);
}

fn held_directory(base: &Path, process: Process) -> String {
    base.join(format!("{}-{}", process.pid, process.start)).display().to_string()
}

fn attach(base: &Path, name: &str, argv: &[OsString]) -> ExitCode {
    match attach::find(base, name).and_then(|found| found.exec(argv)) {
        Ok(code) => code,
        Err(e) => panic!("{e:?}"),
    }
}

/// The same as an ordinary user.
fn without_root() {
    let base = base();
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // A place this user can run it from.
    let program = base.path().join("machine");
    fs::copy(env::current_exe().unwrap(), &program).unwrap();
    let as_nobody = |args: &[&str]| {
        let mut argv = vec![program.clone().into_os_string()];
        argv.extend(args.iter().map(OsString::from));
        let user = Some(User { uid: 65534, gid: 65534 });
        Program { user, env: vec![("HOME".into(), "/".into())], ..Program::new(argv) }
    };
    let directory = base.path().join("weft");
    let mut program = as_nobody(&["rootless-outside", directory.to_str().unwrap()]);
    (program.stdin, program.stdout) = (Stdio::piped(), Stdio::piped());
    let mut outside = program.spawn(None).unwrap();
    let mut lines = BufReader::new(outside.stdout.take().unwrap()).lines().map(Result::unwrap);
    if lines.any(|l| l == "ready") {
        // Another terminal of the same user, outside of the user namespace.
        let mut other = as_nobody(&[
            "attach",
            directory.to_str().unwrap(),
            "a",
            "sh",
            "-c",
            "cat /etc/resolv.conf; id -u",
        ]);
        other.stdout = Stdio::piped();
        assert_eq!(output(other, None).0, "nameserver 192.0.2.53\n0");
        outside.stdin.take().unwrap().write_all(b"\n").unwrap();
    }
    assert_eq!(ended(outside).code(), Some(0));
    assert!(!directory.exists() || fs::read_dir(&directory).unwrap().count() <= 1);
}

fn rootless_outside(base: &Path) -> ExitCode {
    match probe() {
        Privilege::UserNamespace => {
            let error = userns::reexec(["rootless-inside".into(), base.into()]);
            panic!("{error}")
        }
        Privilege::None(reasons) => {
            assert_eq!(reasons.len(), 2);
            println!("no user namespaces here, and the probe says so: {}", reasons.join("; "));
            ExitCode::SUCCESS
        }
        Privilege::Namespaces(_) => panic!("an ordinary user may not do that"),
    }
}

fn rootless_inside(base: &Path) {
    assert_eq!(probe(), Privilege::Namespaces(Exempt::Mark(PROXY_MARK)));
    let mut owner = Owner::claim(base, "rootless").unwrap();
    let network = Network::create(layout()).unwrap();
    let mut a = network.add("a", layout().member(0).unwrap()).unwrap();
    let b = network.add("b", layout().member(1).unwrap()).unwrap();
    serve(b.namespace(), "[::]:80", "b");
    serve(a.namespace(), "127.0.0.1:4140", "proxy");
    let plan = Plan::new(&Redirection {
        exempt_uid: None,
        exempt_mark: Some(PROXY_MARK),
        ..Redirection::standard()
    });
    a.redirect(&plan).unwrap();
    let address: SocketAddr = format!("{}:80", b.v4).parse().unwrap();
    assert!(ask(a.namespace(), address).starts_with("proxy "));
    let marked = a.namespace().run(|| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_mark(PROXY_MARK).unwrap();
        socket.connect(&address.into()).unwrap();
        let mut text = String::new();
        TcpStream::from(socket).read_to_string(&mut text).unwrap();
        text
    });
    assert_eq!(marked.unwrap(), format!("b {}", a.v4));

    a.show_file(&owner, "/etc/resolv.conf", "nameserver 192.0.2.53\n").unwrap();
    a.publish(&mut owner).unwrap();
    for contain in [false, true] {
        let mut running = a.spawn(Program { contain, ..sh("cat /etc/resolv.conf; exit 9") }).unwrap();
        let mut text = String::new();
        running.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), ended(running).code()), ("nameserver 192.0.2.53\n", Some(9)));
    }
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

fn command_lines() -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes
        .filter(|p| p.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()))
        .filter_map(|p| fs::read(p.path().join("cmdline")).ok())
        .map(|c| String::from_utf8_lossy(&c).replace('\0', " "))
        .filter(|c| c.starts_with("sleep"))
        .collect()
}
