//! A data thread that runs out of descriptors. A process of its own, because it lowers the limit of the process.

use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use weft_engine::io::{Accepted, Answer, Io, SocketId};
use weft_engine::time::Instant;
use weft_proxy::runtime::{Config, Drive, Listeners, Shell, Side, start};

const PATIENCE: Duration = Duration::from_secs(20);

/// Sends back the first bytes of each client, and keeps the connection until the client ends it.
#[derive(Default)]
struct Greeter {
    open: usize,
}

impl Drive for Greeter {
    fn accepted(&mut self, shell: &mut Shell, accepted: Accepted, _: Instant) {
        self.open += 1;
        shell.interest(accepted.socket, true, false);
    }

    fn readable(&mut self, shell: &mut Shell, socket: SocketId, _: Instant) {
        let mut buf = [0; 64];
        match shell.read(socket, &mut buf) {
            Ok(len) if len > 0 => {
                let sent = shell.write(socket, &[IoSlice::new(&buf[..len])]);
                assert!(sent.is_ok_and(|sent| sent == len));
            }
            _ => {
                self.open -= 1;
                shell.close(socket);
            }
        }
    }

    fn writable(&mut self, _: &mut Shell, _: SocketId, _: Instant) {}
    fn answered(&mut self, _: &mut Shell, _: Answer, _: Instant) {}
    fn expired(&mut self, _: &mut Shell, _: Instant) {}
    fn flush(&mut self, _: &mut Shell, _: Instant) {}

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn is_idle(&self) -> bool {
        self.open == 0
    }
}

#[tokio::test]
async fn clients_wait_while_there_are_no_descriptors() {
    let any = || Side { listen: vec![([127, 0, 0, 1], 0).into()], ..Side::default() };
    let config = Config::new(NonZeroUsize::MIN, any(), any());
    let listeners = Listeners::bind(&config).unwrap();
    let address = listeners.outbound()[0];
    let (mut runtime, _questions) = start(&config, listeners, |_, _| Greeter::default()).unwrap();
    let counters = Arc::clone(&runtime.counters()[0]);

    // Both ends of all connections are in this process: the clients are made first, then the limit leaves room for a few
    // more descriptors than are open.
    let mut clients: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    for client in &mut clients {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"hello").unwrap();
    }
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(open + 5), maximum: before.maximum }).unwrap();
    runtime.handle().accept();

    let deadline = Clock::now() + PATIENCE;
    while counters.accept_pauses_exhausted.get() < 3 {
        assert!(Clock::now() < deadline, "accepting pauses, and is tried again");
        std::thread::yield_now();
    }
    let served = counters.accepted.get();
    assert!((1..20).contains(&served), "{served}");
    let rounds = counters.rounds.get();
    assert!(rounds < 1000, "the loop does not turn while it cannot accept: {rounds}");

    // Clients that leave make room for those that wait.
    setrlimit(Resource::Nofile, before).unwrap();
    for client in &mut clients {
        let mut back = [0; 5];
        client.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
    }
    assert_eq!(counters.accepted.get(), 20);
    drop(clients);
    runtime.handle().drain();
    tokio::time::timeout(PATIENCE, runtime.finished()).await.expect("the data thread ends");
}
