//! As fast as it goes: every answer is followed by the next request.

use std::{cell::Cell, rc::Rc};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::sleep};

use super::{Client, Job, Outcome, on_one_thread};
use crate::{backend::read, process::Cpu};

#[derive(Default)]
struct Counts {
    done: Cell<u64>,
    errors: Cell<u64>,
    first: Cell<bool>,
}

pub(super) fn run<C: Client + 'static>(
    job: &Job,
    connections: usize,
    streams: usize,
    client: &dyn Fn() -> C,
) -> anyhow::Result<Outcome> {
    on_one_thread(async {
        let counts = Rc::new(Counts::default());
        for _ in 0..connections {
            let stream = TcpStream::connect(job.target).await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(live(stream, client(), streams, Rc::clone(&counts)));
        }
        sleep(job.warm_up()).await;
        let (cpu, done, start) = (Cpu::of(&job.pids), counts.done.get(), tokio::time::Instant::now());
        sleep(job.counted()).await;
        let seconds = start.elapsed().as_secs_f64();
        let units = counts.done.get() - done;
        let cpu = Cpu::of(&job.pids).since(cpu);
        Ok(Outcome { units, errors: counts.errors.get(), seconds, cpu, ..Outcome::default() })
    })
}

async fn live(mut stream: TcpStream, mut client: impl Client, streams: usize, counts: Rc<Counts>) {
    let mut out = Vec::new();
    client.start(&mut out);
    client.request(&mut out);
    let mut others = streams - 1;
    loop {
        if stream.write_all(&out).await.is_err() {
            break;
        }
        out.clear();
        let mut answers = Ok(0);
        let taken = read(&stream, |bytes| {
            answers = client.receive(bytes, &mut out);
            if let Ok(done) = answers {
                // The other streams begin when the first one has shown that the way is open.
                let more = if done > 0 { std::mem::take(&mut others) } else { 0 };
                (0..done + more).for_each(|_| client.request(&mut out));
            }
        });
        let taken = taken.await;
        match (taken, answers) {
            (Ok(1..), Ok(done)) => counts.done.set(counts.done.get() + done as u64),
            (_, Err(wrong)) => {
                if !counts.first.replace(true) {
                    eprintln!("wrong answer: {wrong}");
                }
                break;
            }
            _ => break,
        }
    }
    counts.errors.set(counts.errors.get() + 1);
}
