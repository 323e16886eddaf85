//! Lines over plain TCP: the store and the greeter.

use super::Failure;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// Longest line, in bytes.
const MAX_LINE: u64 = 1_024;

/// An open connection, read by lines.
#[derive(Debug)]
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Of a connected stream.
    pub fn new(stream: TcpStream) -> Self {
        Self(BufReader::new(stream))
    }

    async fn say(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.0.get_mut().write_all(text.as_bytes()).await?)
    }

    async fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        if (&mut self.0).take(MAX_LINE).read_line(&mut line).await? == 0 {
            return Err(Failure::sent("connection closed before the answer"));
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }

    async fn expect(&mut self, expected: &str) -> Result<String, Failure> {
        let line = self.line().await?;
        if line.starts_with(expected) { Ok(line) } else { Err(Failure::wrong(line)) }
    }

    /// What the server says first.
    ///
    /// # Errors
    /// The connection broke, or the server says something else.
    pub async fn greeting(&mut self) -> Result<String, Failure> {
        self.expect("220 ").await
    }

    /// Whether nothing comes for so long.
    pub async fn is_silent(&mut self, wait: std::time::Duration) -> bool {
        tokio::time::timeout(wait, self.0.fill_buf()).await.is_err()
    }

    /// Nothing but the end of file may come.
    async fn expect_end(&mut self) -> Result<(), Failure> {
        match self.0.read_u8().await {
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(()),
            Err(e) => Err(e.into()),
            Ok(_) => Err(Failure::wrong("more than the answer")),
        }
    }
}

/// Puts a text in the store's hands: it need not understand it.
///
/// # Errors
/// The connection broke, or there is no answer.
pub async fn mention(lines: &mut Connection, text: &str) -> Result<(), Failure> {
    lines.say(&format!("GET {text}\n")).await?;
    lines.expect("NONE").await.map(drop)
}

/// Puts something in the store and asks for it.
///
/// # Errors
/// The connection broke, or the answer is wrong.
pub async fn stock(lines: &mut Connection) -> Result<(), Failure> {
    lines.say("SET tea 42\n").await?;
    lines.expect("OK").await?;
    lines.say("GET tea\n").await?;
    lines.expect("COUNT 42").await.map(drop)
}

/// Sends `count` items, ends our half, and reads the answer that comes only then.
///
/// # Errors
/// The connection broke, or the answer is wrong.
pub async fn load(lines: &mut Connection, count: u32) -> Result<(), Failure> {
    send_load(lines, count).await?;
    end_load(lines, count).await
}

/// The first half of [`load`]: nothing is answered yet.
///
/// # Errors
/// The connection broke.
pub async fn send_load(lines: &mut Connection, count: u32) -> Result<(), Failure> {
    lines.say("LOAD\n").await?;
    for number in 0..count {
        lines.say(&format!("item-{number} {number}\n")).await?;
    }
    Ok(())
}

/// The second half of [`load`]: our end of file, and the answer to it.
///
/// # Errors
/// The connection broke, or the answer is wrong.
pub async fn end_load(lines: &mut Connection, count: u32) -> Result<(), Failure> {
    lines.0.get_mut().shutdown().await?;
    lines.expect(&format!("LOADED {count}")).await?;
    lines.expect_end().await
}

/// Waits to be greeted, answers, says goodbye.
///
/// # Errors
/// The connection broke, or the answer is wrong.
pub async fn greet(lines: &mut Connection) -> Result<(), Failure> {
    lines.greeting().await?;
    answer_greeting(lines).await
}

/// What follows a greeting.
///
/// # Errors
/// The connection broke, or the answer is wrong.
pub async fn answer_greeting(lines: &mut Connection) -> Result<(), Failure> {
    lines.say("HELO client\r\n").await?;
    lines.expect("250 hello, client").await?;
    lines.say("QUIT\r\n").await?;
    lines.expect("221 ").await?;
    lines.expect_end().await
}
