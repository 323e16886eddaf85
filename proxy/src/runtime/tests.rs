//! The event loop with simple workers, over loopback.

mod worker;

use std::collections::HashMap;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use weft_engine::io::{Accepted, DiscoverError, Io, Question, SocketId};
use weft_engine::time::Instant;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn config(workers: usize, limits: impl FnOnce(&mut Limits)) -> Config {
    let any = || Side { listen: vec![([127, 0, 0, 1], 0).into()], ..Side::default() };
    let mut config = Config::new(NonZeroUsize::new(workers).unwrap(), any(), any());
    limits(&mut config.limits);
    config
}

struct Started {
    runtime: Runtime,
    handle: Handle,
    questions: Questions,
    outbound: SocketAddr,
}

fn start_with<D: Drive>(
    config: &Config,
    build: impl Fn(u32, &mut Shell) -> D + Send + Sync + 'static,
) -> Started {
    let listeners = Listeners::bind(config).unwrap();
    let outbound = listeners.outbound()[0];
    let (runtime, questions) = start(config, listeners, build).unwrap();
    Started { handle: runtime.handle(), runtime, questions, outbound }
}

fn client(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_write_timeout(Some(PATIENCE)).unwrap();
    client.set_nodelay(true).unwrap();
    client
}

/// Looks again and again until it holds; fails after a while.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

async fn ended(mut runtime: Runtime) {
    tokio::time::timeout(PATIENCE, runtime.finished()).await.expect("the data threads end");
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64).map(|n| (n.wrapping_mul(0x9e37_79b9).wrapping_add(seed) >> 7) as u8).collect()
}

// === an echo server

/// Sends back what comes, holding at most a few KiB; then ends as the client did.
#[derive(Default)]
struct Echo {
    conns: HashMap<SocketId, EchoConn>,
    /// Bytes taken by one read.
    read_size: usize,
}

#[derive(Default)]
struct EchoConn {
    pending: Vec<u8>,
    ended: bool,
}

impl Echo {
    fn new(read_size: usize) -> Self {
        Self { read_size, ..Self::default() }
    }

    fn send(&mut self, shell: &mut Shell, socket: SocketId) {
        let Some(conn) = self.conns.get_mut(&socket) else { return };
        while !conn.pending.is_empty() {
            // In two parts, so that writing several is tried, too.
            let (first, second) = conn.pending.split_at(conn.pending.len() / 3);
            match shell.write(socket, &[IoSlice::new(first), IoSlice::new(second)]) {
                Ok(sent) => drop(conn.pending.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return self.close(shell, socket),
            }
        }
        if conn.pending.is_empty() && conn.ended {
            return self.close(shell, socket);
        }
        let (read, write) = (conn.pending.is_empty(), !conn.pending.is_empty());
        shell.interest(socket, read, write);
    }

    fn close(&mut self, shell: &mut Shell, socket: SocketId) {
        self.conns.remove(&socket);
        shell.close(socket);
    }
}

impl Drive for Echo {
    fn accepted(&mut self, shell: &mut Shell, accepted: Accepted, _: Instant) {
        let was = self.conns.insert(accepted.socket, EchoConn::default());
        assert!(was.is_none(), "the slot is free");
        shell.interest(accepted.socket, true, false);
    }

    fn readable(&mut self, shell: &mut Shell, socket: SocketId, _: Instant) {
        let conn = self.conns.get_mut(&socket).expect("only of open sockets");
        assert!(conn.pending.is_empty() && !conn.ended, "not wanted");
        let mut buf = vec![0; self.read_size];
        match shell.read(socket, &mut buf) {
            Ok(0) => conn.ended = true,
            Ok(len) => conn.pending.extend_from_slice(&buf[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => return self.close(shell, socket),
        }
        self.send(shell, socket);
    }

    fn writable(&mut self, shell: &mut Shell, socket: SocketId, _: Instant) {
        assert!(!self.conns[&socket].pending.is_empty(), "not wanted");
        self.send(shell, socket);
    }

    fn answered(&mut self, _: &mut Shell, _: Answer, _: Instant) {}
    fn expired(&mut self, _: &mut Shell, _: Instant) {}
    fn flush(&mut self, _: &mut Shell, _: Instant) {}

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn is_idle(&self) -> bool {
        self.conns.is_empty()
    }
}

/// Sends everything, then ends the stream; reads until the end. Both at once, as large amounts need it.
fn call(address: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut reader = client(address);
    let mut writer = reader.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(data).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        reader.read_to_end(&mut back).unwrap();
        back
    })
}

#[tokio::test]
async fn everything_comes_back_whatever_the_size_of_reads() {
    for read_size in [1000, 32 * 1024, 1 << 20] {
        let started = start_with(&config(2, |_| ()), move |_, _| Echo::new(read_size));
        started.handle.accept();
        std::thread::scope(|scope| {
            for seed in 0..4 {
                let address = started.outbound;
                scope.spawn(move || {
                    let data = noise(3_000_000 + seed as usize * 7919, seed);
                    assert!(call(address, &data) == data, "connection {seed}");
                });
            }
        });
        started.handle.drain();
        ended(started.runtime).await;
    }
}

/// Bytes and the end of the stream right behind them, in every order that the kernel may tell of them.
#[tokio::test]
async fn an_end_is_never_missed() {
    let started = start_with(&config(1, |_| ()), |_, _| Echo::new(4096));
    started.handle.accept();
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let address = started.outbound;
            scope.spawn(move || {
                for len in 0..150 {
                    let data = noise(len * 61, seed);
                    assert!(call(address, &data) == data);
                }
            });
        }
    });
    started.handle.drain();
    ended(started.runtime).await;
}

#[tokio::test]
async fn a_slow_reader_stops_the_flow_and_an_idle_loop_costs_nothing() {
    let started = start_with(&config(1, |_| ()), |_, _| Echo::new(32 * 1024));
    started.handle.accept();
    let mut conn = client(started.outbound);
    conn.set_nonblocking(true).unwrap();
    // Until everything on the way is full, and for a while nothing moves.
    let data = noise(1 << 16, 1);
    let (mut sent, mut stuck) = (0, std::time::Instant::now());
    while stuck.elapsed() < Duration::from_millis(200) {
        match conn.write(&data[sent % data.len()..]) {
            Ok(len) => {
                sent += len;
                stuck = std::time::Instant::now();
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    let counters = &started.runtime.counters()[0];
    let rounds = counters.rounds.get();
    let second = client(started.outbound);
    until("another client is accepted", || counters.accepted.get() == 2);
    assert!(counters.rounds.get() - rounds < 20, "a connection that is stuck does not make the loop turn");
    drop(second);

    conn.set_nonblocking(false).unwrap();
    conn.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    conn.read_to_end(&mut back).unwrap();
    assert_eq!(back.len(), sent);
    assert!(back.chunks(data.len()).all(|chunk| data.starts_with(chunk)));
    started.handle.drain();
    ended(started.runtime).await;
}

// === accepting

#[tokio::test]
async fn clients_wait_until_accepting_begins_and_all_of_them_are_served_in_a_drain() {
    let started = start_with(&config(2, |_| ()), |_, _| Echo::new(4096));
    let mut clients: Vec<_> = (0..40).map(|_| client(started.outbound)).collect();
    for client in &mut clients {
        client.write_all(b"hello").unwrap();
    }
    let accepted = || started.runtime.counters().iter().map(|c| c.accepted.get()).sum::<u64>();
    assert_eq!(accepted(), 0);

    started.handle.accept();
    started.handle.drain();
    for client in &mut clients {
        let mut back = [0; 5];
        client.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
    }
    assert_eq!(accepted(), 40);
    until("who comes later is refused", || TcpStream::connect(started.outbound).is_err());
    drop(clients);
    ended(started.runtime).await;
}

#[tokio::test]
async fn at_the_bound_clients_wait_for_others_to_leave() {
    // Three quarters of 8 are 6.
    let started = start_with(&config(1, |limits| limits.open_sockets = 8), |_, _| Echo::new(4096));
    let counters = Arc::clone(&started.runtime.counters()[0]);
    started.handle.accept();
    let mut clients: Vec<_> = (0..10).map(|_| client(started.outbound)).collect();
    for client in &mut clients {
        client.write_all(b"x").unwrap();
    }
    for client in &mut clients[..6] {
        client.read_exact(&mut [0]).unwrap();
    }
    until("accepting pauses", || counters.accept_pauses_full.get() > 0);
    clients[6].set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(clients[6].read(&mut [0]).is_err(), "the seventh waits");
    assert_eq!((counters.open_sockets.get(), counters.accepted.get()), (6, 6));

    clients[6].set_read_timeout(Some(PATIENCE)).unwrap();
    for client in clients.drain(..4) {
        drop(client);
    }
    for client in &mut clients[2..] {
        client.read_exact(&mut [0]).unwrap();
    }
    assert_eq!(counters.accepted.get(), 10);
    drop(clients);
    until("all are gone", || counters.open_sockets.get() == 0);
    started.handle.drain();
    ended(started.runtime).await;
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut config = config(1, |_| ());
    config.inbound.listen = vec![address];
    let error = Listeners::bind(&config).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {address} for inbound connections"));
    assert_eq!(error.source.kind(), ErrorKind::AddrInUse);
}

// === connecting

/// Connects to one address for each client, and tells what became of it.
struct Connect {
    target: SocketAddr,
    /// Client by the socket that connects for it.
    clients: HashMap<SocketId, SocketId>,
    accepted: usize,
}

impl Drive for Connect {
    fn accepted(&mut self, shell: &mut Shell, accepted: Accepted, _: Instant) {
        self.accepted += 1;
        match shell.connect(self.target, accepted.side) {
            Ok(socket) => {
                self.clients.insert(socket, accepted.socket);
                shell.interest(socket, false, true);
            }
            Err(error) => self.tell(shell, accepted.socket, &format!("{:?}", error.kind())),
        }
    }

    fn writable(&mut self, shell: &mut Shell, socket: SocketId, _: Instant) {
        let client = self.clients.remove(&socket).expect("only once");
        let told = match shell.connect_result(socket) {
            Ok(()) => "connected".to_owned(),
            Err(error) => format!("{:?}", error.kind()),
        };
        shell.close(socket);
        self.tell(shell, client, &told);
    }

    fn readable(&mut self, _: &mut Shell, _: SocketId, _: Instant) {
        panic!("not wanted");
    }

    fn answered(&mut self, _: &mut Shell, _: Answer, _: Instant) {}
    fn expired(&mut self, _: &mut Shell, _: Instant) {}
    fn flush(&mut self, _: &mut Shell, _: Instant) {}

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn is_idle(&self) -> bool {
        self.accepted == 0
    }
}

impl Connect {
    fn tell(&mut self, shell: &mut Shell, client: SocketId, told: &str) {
        shell.write(client, &[IoSlice::new(told.as_bytes())]).unwrap();
        shell.close(client);
        self.accepted -= 1;
    }
}

#[tokio::test]
async fn connecting_and_its_failures() {
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cases = [
        (listening.local_addr().unwrap(), 100, "connected"),
        (closed, 100, "ConnectionRefused"),
        ("[::ffff:0.0.0.0]:0".parse().unwrap(), 100, "ConnectionRefused"),
        // The client is the one socket that may be open.
        (listening.local_addr().unwrap(), 1, "Uncategorized"),
    ];
    for (target, open_sockets, expected) in cases {
        let started = start_with(&config(1, |limits| limits.open_sockets = open_sockets), move |_, _| {
            Connect { target, clients: HashMap::new(), accepted: 0 }
        });
        started.handle.accept();
        let mut told = String::new();
        client(started.outbound).read_to_string(&mut told).unwrap();
        assert_eq!(told, expected, "{target}");
        let refused = started.runtime.counters()[0].connects_refused.get();
        assert_eq!(refused, u64::from(open_sockets == 1));
        started.handle.drain();
        ended(started.runtime).await;
    }
}

// === questions, answers, time, failure

/// Asks about a port at each answer about the one before, and counts how often time passed.
struct Clockwork {
    deadline: Option<Instant>,
    ticks: Arc<AtomicU64>,
    too_early: Arc<AtomicU64>,
}

const TICK: Duration = Duration::from_millis(5);

impl Drive for Clockwork {
    fn accepted(&mut self, shell: &mut Shell, accepted: Accepted, _: Instant) {
        shell.reset(accepted.socket);
    }

    fn answered(&mut self, shell: &mut Shell, answer: Answer, now: Instant) {
        if let Answer::Discovered { target, policy: Err(_) } = answer {
            shell.ask(Question::Port { port: target.port() + 1 }).unwrap();
            self.deadline = Some(now + TICK);
        }
    }

    fn expired(&mut self, _: &mut Shell, now: Instant) {
        if let Some(deadline) = self.deadline {
            if now >= deadline {
                self.ticks.fetch_add(1, Ordering::SeqCst);
                self.deadline = Some(deadline + TICK);
            } else {
                self.too_early.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn readable(&mut self, _: &mut Shell, _: SocketId, _: Instant) {}
    fn writable(&mut self, _: &mut Shell, _: SocketId, _: Instant) {}
    fn flush(&mut self, _: &mut Shell, _: Instant) {}

    fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn is_idle(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn questions_answers_and_deadlines() {
    let (ticks, too_early) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let (t, e) = (Arc::clone(&ticks), Arc::clone(&too_early));
    let mut started = start_with(&config(2, |_| ()), move |number, shell| {
        shell.ask(Question::Port { port: u16::try_from(number).unwrap() }).unwrap();
        Clockwork { deadline: None, ticks: Arc::clone(&t), too_early: Arc::clone(&e) }
    });
    // Each worker asks at its start, and again at the answer; the answers find who asked.
    let mut seen = Vec::new();
    while seen.len() < 6 {
        let asked = tokio::time::timeout(PATIENCE, started.questions.next()).await.unwrap();
        let (worker, Question::Port { port }) = asked else { panic!("{asked:?}") };
        seen.push((worker, port));
        let policy = Err(DiscoverError { reason: "none".into() });
        if u32::from(port) < worker + 2 {
            started
                .handle
                .answer(worker, Answer::Discovered { target: ([127, 0, 0, 1], port).into(), policy });
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (1, 3)]);

    until("time passes without events", || ticks.load(Ordering::SeqCst) >= 20);
    let (ticks, rounds) = (
        ticks.load(Ordering::SeqCst),
        started.runtime.counters().iter().map(|c| c.rounds.get()).sum::<u64>(),
    );
    assert!(rounds < ticks + 40, "{rounds} rounds for {ticks} deadlines");
    assert!(too_early.load(Ordering::SeqCst) < 20, "the loop sleeps until the deadline");

    // A reset is one.
    started.handle.accept();
    let error = client(started.outbound).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    started.handle.drain();
    ended(started.runtime).await;
}

static FAILURES: Mutex<Vec<String>> = Mutex::new(Vec::new());

#[tokio::test]
async fn a_panic_of_a_worker_is_reported() {
    struct Panics;
    impl Drive for Panics {
        fn accepted(&mut self, _: &mut Shell, accepted: Accepted, _: Instant) {
            panic!("of {}", accepted.peer.ip());
        }
        fn readable(&mut self, _: &mut Shell, _: SocketId, _: Instant) {}
        fn writable(&mut self, _: &mut Shell, _: SocketId, _: Instant) {}
        fn answered(&mut self, _: &mut Shell, _: Answer, _: Instant) {}
        fn expired(&mut self, _: &mut Shell, _: Instant) {}
        fn flush(&mut self, _: &mut Shell, _: Instant) {}
        fn next_deadline(&self) -> Option<Instant> {
            None
        }
        fn is_idle(&self) -> bool {
            true
        }
    }
    let mut config = config(1, |_| ());
    config.on_failure = |message| FAILURES.lock().unwrap().push(message.to_owned());
    let started = start_with(&config, |_, _| Panics);
    started.handle.accept();
    let _client = client(started.outbound);
    ended(started.runtime).await;
    assert_eq!(*FAILURES.lock().unwrap(), ["a data thread panicked: of 127.0.0.1"]);
}
