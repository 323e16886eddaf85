//! Bytes: in bulk either way, and connections for their own sake.

use std::{cell::Cell, net::SocketAddr, rc::Rc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

use super::{Job, Outcome, on_one_thread};
use crate::{
    backend::{read, tcp_wish},
    process::Cpu,
};

#[derive(Default)]
struct Counts {
    done: Cell<u64>,
    errors: Cell<u64>,
}

pub(super) fn down(job: &Job, connections: usize) -> anyhow::Result<Outcome> {
    on_one_thread(async {
        let counts = Rc::new(Counts::default());
        for _ in 0..connections {
            let mut stream = TcpStream::connect(job.target).await?;
            stream.write_all(&[tcp_wish::SEND]).await?;
            let counts = Rc::clone(&counts);
            tokio::task::spawn_local(async move {
                while let Ok(n @ 1..) = read(&stream, |_| ()).await {
                    counts.done.set(counts.done.get() + n as u64);
                }
                counts.errors.set(counts.errors.get() + 1);
            });
        }
        Ok(counted(job, &counts).await)
    })
}

pub(super) fn up(job: &Job, connections: usize) -> anyhow::Result<Outcome> {
    on_one_thread(async {
        let counts = Rc::new(Counts::default());
        for _ in 0..connections {
            let mut stream = TcpStream::connect(job.target).await?;
            let counts = Rc::clone(&counts);
            tokio::task::spawn_local(async move {
                let chunk = vec![tcp_wish::TAKE; 256 * 1024];
                while let Ok(n) = stream.write(&chunk).await {
                    counts.done.set(counts.done.get() + n as u64);
                }
                counts.errors.set(counts.errors.get() + 1);
            });
        }
        Ok(counted(job, &counts).await)
    })
}

pub(super) fn connect(job: &Job, clients: usize) -> anyhow::Result<Outcome> {
    on_one_thread(async {
        let counts = Rc::new(Counts::default());
        for _ in 0..clients {
            let (counts, target) = (Rc::clone(&counts), job.target);
            tokio::task::spawn_local(async move {
                loop {
                    match once(target).await {
                        Ok(()) => counts.done.set(counts.done.get() + 1),
                        Err(error) => {
                            if counts.errors.get() == 0 {
                                eprintln!("a connection failed: {error}");
                            }
                            counts.errors.set(counts.errors.get() + 1);
                            sleep(Duration::from_millis(10)).await;
                        }
                    }
                }
            });
        }
        Ok(counted(job, &counts).await)
    })
}

async fn once(target: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&[tcp_wish::ECHO]).await?;
    stream.read_exact(&mut [0]).await?;
    stream.shutdown().await?;
    match stream.read(&mut [0]).await? {
        0 => Ok(()),
        _ => Err(std::io::ErrorKind::InvalidData.into()),
    }
}

async fn counted(job: &Job, counts: &Counts) -> Outcome {
    sleep(job.warm_up()).await;
    let (cpu, done, start) = (Cpu::of(&job.pids), counts.done.get(), Instant::now());
    sleep(job.counted()).await;
    let seconds = start.elapsed().as_secs_f64();
    let units = counts.done.get() - done;
    let cpu = Cpu::of(&job.pids).since(cpu);
    Outcome { units, errors: counts.errors.get(), seconds, cpu, ..Outcome::default() }
}
