//! Connections that are there and do nothing.

use std::io::{Read, Write};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Client, Grpc, Held, Http1, Job, Outcome, Wrong, on_one_thread};
use crate::backend::{SMALL, tcp_wish};

/// How many are opened at the same time: less than any proxy's listen queue.
const TOGETHER: usize = 32;

pub(super) fn run(job: &Job, connections: usize, what: Held) -> anyhow::Result<Outcome> {
    on_one_thread(async {
        let mut held = Vec::new();
        let (mut opened, mut errors) = (0, 0);
        while opened < connections {
            let together = TOGETHER.min(connections - opened);
            let tasks: Vec<_> =
                (0..together).map(|_| tokio::task::spawn_local(open(job.clone(), what))).collect();
            for task in tasks {
                match task.await? {
                    Ok(stream) => held.push(stream),
                    Err(error) => {
                        if errors == 0 {
                            eprintln!("a connection failed: {error}");
                        }
                        errors += 1;
                    }
                }
            }
            opened += together;
        }
        println!("held {}", held.len());
        std::io::stdout().flush()?;
        // HTTP/2 peers may ask whether we are there.
        let answers = tokio::task::spawn_local(answer(held));
        tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        answers.abort();
        Ok(Outcome { units: (connections - errors) as u64, errors: errors as u64, ..Outcome::default() })
    })
}

struct Opened {
    stream: TcpStream,
    client: Option<Grpc>,
}

async fn open(job: Job, what: Held) -> anyhow::Result<Opened> {
    let mut stream = TcpStream::connect(job.target).await?;
    stream.set_nodelay(true)?;
    let client = match what {
        Held::Tcp => {
            stream.write_all(&[tcp_wish::ECHO]).await?;
            stream.read_exact(&mut [0]).await?;
            None
        }
        Held::Http1 => {
            exchange(&mut stream, &mut Http1::new(job.target.port(), SMALL)).await?;
            None
        }
        Held::Http2 => {
            let mut client = Grpc::new();
            exchange(&mut stream, &mut client).await?;
            Some(client)
        }
    };
    Ok(Opened { stream, client })
}

async fn exchange(stream: &mut TcpStream, client: &mut impl Client) -> anyhow::Result<()> {
    let mut out = Vec::new();
    client.start(&mut out);
    client.request(&mut out);
    let mut done = 0;
    while done == 0 {
        stream.write_all(&out).await?;
        out.clear();
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Err(Wrong("the end of the connection".into()).into());
        }
        done = client.receive(&buffer[..n], &mut out)?;
    }
    Ok(stream.write_all(&out).await?)
}

async fn answer(held: Vec<Opened>) {
    for Opened { mut stream, client } in held {
        tokio::task::spawn_local(async move {
            let mut client = client;
            let (mut out, mut buffer) = (Vec::new(), [0; 256]);
            while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                if let Some(client) = &mut client {
                    // Whatever it is, it is no answer.
                    let _ = client.receive(&buffer[..n], &mut out);
                    let _ = stream.write_all(&out).await;
                    out.clear();
                }
            }
        });
    }
    std::future::pending::<()>().await;
}
