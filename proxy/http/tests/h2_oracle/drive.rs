//! Our connection on a pipe: reads and writes of random sizes.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use weft_http::h2::{Config, Connection, ConnectionError, Event, Role};
use weft_http::head::Head;

use crate::exchange::Random;

/// What uses the connection.
pub(crate) trait App {
    fn event(&mut self, ours: &mut Ours, event: Event<'_>);
    /// Called before the pipe is waited for.
    fn turn(&mut self, ours: &mut Ours);
    /// Nothing is left to do.
    fn is_done(&self, ours: &Ours) -> bool;
}

pub(crate) struct Ours {
    pub(crate) conn: Connection,
    pub(crate) out: Vec<u8>,
    pub(crate) head: Head,
    pub(crate) arena: Vec<u8>,
    pub(crate) random: Random,
    pub(crate) now: Duration,
}

impl Ours {
    pub(crate) fn new(role: Role, config: Config, random: Random) -> Self {
        let (mut out, now) = (Vec::new(), Duration::from_secs(7));
        let conn = Connection::new(role, Arc::new(config), &mut out, now);
        Ours { conn, out, head: Head::default(), arena: Vec::new(), random, now }
    }

    /// Until the application is done or the other side has ended. What the connection died of, if it did.
    pub(crate) async fn run(&mut self, io: DuplexStream, app: &mut dyn App) -> Result<(), ConnectionError> {
        let (mut reader, mut writer) = tokio::io::split(io);
        let (mut buffer, mut written, mut chunk) = (Vec::new(), 0, vec![0; 40_000]);
        let mut gone = false;
        loop {
            app.turn(self);
            if app.is_done(self) && written == self.out.len() {
                // The other side may still have to say something.
                let _ = writer.shutdown().await;
                while reader.read(&mut chunk).await.is_ok_and(|n| n > 0) {}
                return Ok(());
            }
            let most = self.random.pick(&[1, 9, 100, 5000, 40_000]);
            let piece = self.random.pick(&[1, 50, 10_000, 100_000]);
            let end = self.out.len().min(written + piece);
            let received = tokio::select! {
                n = reader.read(&mut chunk[..most]) => match n {
                    Ok(n) if n > 0 => n,
                    _ => return Ok(()),
                },
                n = writer.write(&self.out[written..end]), if written < self.out.len() && !gone => {
                    match n {
                        Ok(n) if n > 0 => written += n,
                                                // The other side is done, but what it has said is still to be read.
                        _ => (gone, written) = (true, self.out.len()),
                    }
                    if written == self.out.len() {
                        self.out.clear();
                        written = 0;
                        self.conn.flushed();
                    }
                    continue;
                }
            };
            buffer.extend_from_slice(&chunk[..received]);
            let mut input = &buffer[..];
            loop {
                let event =
                    self.conn.next(&mut input, &mut self.head, &mut self.arena, &mut self.out, self.now);
                match event {
                    Ok(Some(event)) => app.event(self, event),
                    Ok(None) => break,
                    Err(error) => {
                        let _ = writer.write_all(&self.out[written..]).await;
                        return Err(error);
                    }
                }
            }
            let used = buffer.len() - input.len();
            buffer.drain(..used);
        }
    }
}
