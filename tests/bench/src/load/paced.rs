//! At a fixed rate, with the time that each answer took.
//!
//! A thread for each connection, blocking: nothing waits for a timer wheel. An answer's time counts from when its request was
//! sent, or from when it should have been sent if the last answer was so late that it could not.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Client, Job, Outcome, Wrong};
use crate::process::Cpu;

pub(super) fn run<C: Client>(
    job: &Job,
    connections: usize,
    rate: u32,
    client: impl Fn() -> C + Sync,
) -> anyhow::Result<Outcome> {
    let every = Duration::from_secs(connections as u64) / rate;
    let (counting, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let ready = Barrier::new(connections + 1);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..connections)
            .map(|n| {
                let (client, ready, counting, stop) = (&client, &ready, &counting, &stop);
                scope.spawn(move || {
                    let offset =
                        every * u32::try_from(n).unwrap_or(0) / u32::try_from(connections).unwrap_or(1);
                    let opened = Connection::open(job, client());
                    ready.wait();
                    let start = Instant::now() + offset;
                    live(opened, start, every, counting, stop)
                })
            })
            .collect();
        ready.wait();
        thread::sleep(job.warm_up());
        counting.store(true, Relaxed);
        let (cpu, start) = (Cpu::of(&job.pids), Instant::now());
        thread::sleep(job.counted());
        counting.store(false, Relaxed);
        let (seconds, cpu) = (start.elapsed().as_secs_f64(), Cpu::of(&job.pids).since(cpu));
        stop.store(true, Relaxed);
        let mut times = Vec::new();
        let mut errors = 0;
        for thread in threads {
            let (mut all, wrong) = thread.join().expect("a thread that does not panic");
            times.append(&mut all);
            if let Some(wrong) = wrong {
                eprintln!("wrong answer: {wrong}");
                errors += 1;
            }
        }
        times.sort_unstable();
        let at = |share: f64| times.get((times.len() as f64 * share) as usize).map(|t| t.as_secs_f64() * 1e6);
        Ok(Outcome { units: times.len() as u64, errors, seconds, cpu, p50: at(0.5), p99: at(0.99) })
    })
}

struct Connection<C> {
    stream: TcpStream,
    client: C,
    buffer: Vec<u8>,
    out: Vec<u8>,
}

impl<C: Client> Connection<C> {
    /// Opened, and one exchange done.
    fn open(job: &Job, mut client: C) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(job.target)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut out = Vec::new();
        client.start(&mut out);
        let mut connection = Self { stream, client, buffer: vec![0; 64 * 1024], out };
        connection.exchange()?;
        Ok(connection)
    }

    fn exchange(&mut self) -> anyhow::Result<()> {
        self.client.request(&mut self.out);
        loop {
            self.stream.write_all(&self.out)?;
            self.out.clear();
            let n = self.stream.read(&mut self.buffer)?;
            if n == 0 {
                return Err(Wrong("the end of the connection".into()).into());
            }
            if self.client.receive(&self.buffer[..n], &mut self.out)? > 0 {
                return Ok(());
            }
        }
    }
}

fn live<C: Client>(
    opened: anyhow::Result<Connection<C>>,
    start: Instant,
    every: Duration,
    counting: &AtomicBool,
    stop: &AtomicBool,
) -> (Vec<Duration>, Option<anyhow::Error>) {
    let mut times = Vec::new();
    let mut connection = match opened {
        Ok(connection) => connection,
        Err(wrong) => return (times, Some(wrong)),
    };
    let mut due = start;
    while !stop.load(Relaxed) {
        let now = Instant::now();
        let sent = match due.checked_duration_since(now) {
            Some(wait) => {
                thread::sleep(wait);
                Instant::now()
            }
            None => due,
        };
        if let Err(wrong) = connection.exchange() {
            return (times, Some(wrong));
        }
        if counting.load(Relaxed) {
            times.push(sent.elapsed());
        }
        due += every;
    }
    (times, None)
}
