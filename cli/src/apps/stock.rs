//! The store: plain TCP with a line protocol of its own, client speaks first.
//!
//! | request | answer |
//! |---|---|
//! | `SET item count` | `OK` |
//! | `GET item` | `COUNT n` or `NONE` |
//! | `LOAD`, then `item count` lines, then the client's end of file | `LOADED n`, only after the end of file |
//!
//! The last is why a connection may be open in one direction only.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// Longest line, in bytes.
const MAX_LINE: u64 = 1_024;
/// Most items kept; further ones are refused.
const MAX_ITEMS: usize = 10_000;

/// How the store runs.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where to listen
    #[arg(long, default_value = "0.0.0.0:7000")]
    pub listen: SocketAddr,
}

/// What is in stock.
#[derive(Debug, Default)]
struct Shelf(HashMap<String, u64>);

/// One request line.
#[derive(Debug, PartialEq, Eq)]
enum Request<'a> {
    Set(&'a str, u64),
    Get(&'a str),
    Load,
    Quit,
    Unknown,
}

/// Serves until the process ends.
pub(super) async fn run(options: Options) -> anyhow::Result<()> {
    let shelf = Arc::new(Mutex::new(Shelf::default()));
    super::serve("stock", options.listen, move |stream, _| {
        let shelf = Arc::clone(&shelf);
        async move {
            // A connection that breaks is its client's business.
            let _ = serve(stream, &shelf).await;
        }
    })
    .await
}

async fn serve(mut stream: TcpStream, shelf: &Mutex<Shelf>) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read);
    let mut line = String::new();
    let with = |f: &mut dyn FnMut(&mut Shelf) -> String| {
        f(&mut shelf.lock().unwrap_or_else(PoisonError::into_inner))
    };
    while next_line(&mut lines, &mut line).await? {
        let answer = match parse(&line) {
            Request::Set(item, count) => with(&mut |shelf| shelf.set(item, count)),
            Request::Get(item) => with(&mut |shelf| shelf.get(item)),
            Request::Load => {
                let mut loaded = 0u64;
                while next_line(&mut lines, &mut line).await? {
                    if let Some((item, count)) = pair(&line) {
                        with(&mut |shelf| shelf.set(item, count));
                        loaded += 1;
                    }
                }
                write.write_all(format!("LOADED {loaded}\n").as_bytes()).await?;
                return write.shutdown().await;
            }
            Request::Quit => return write.shutdown().await,
            Request::Unknown => "ERROR expected SET item count, GET item, LOAD or QUIT\n".into(),
        };
        write.write_all(answer.as_bytes()).await?;
    }
    write.shutdown().await
}

/// Reads a line without its end; false at the end of file or where a line is too long.
async fn next_line(lines: &mut (impl AsyncBufReadExt + Unpin), line: &mut String) -> std::io::Result<bool> {
    line.clear();
    let read = (&mut *lines).take(MAX_LINE).read_line(line).await?;
    let whole = line.ends_with('\n');
    line.truncate(line.trim_end().len());
    Ok(read > 0 && (whole || (read as u64) < MAX_LINE))
}

fn parse(line: &str) -> Request<'_> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    match verb {
        "SET" => pair(rest).map_or(Request::Unknown, |(item, count)| Request::Set(item, count)),
        "GET" if !rest.is_empty() => Request::Get(rest),
        "LOAD" => Request::Load,
        "QUIT" => Request::Quit,
        _ => Request::Unknown,
    }
}

fn pair(text: &str) -> Option<(&str, u64)> {
    let (item, count) = text.split_once(' ')?;
    Some((item, count.parse().ok()?))
}

impl Shelf {
    fn set(&mut self, item: &str, count: u64) -> String {
        if self.0.len() >= MAX_ITEMS && !self.0.contains_key(item) {
            return format!("ERROR the store holds {MAX_ITEMS} items already\n");
        }
        self.0.insert(item.to_owned(), count);
        "OK\n".into()
    }

    fn get(&self, item: &str) -> String {
        self.0.get(item).map_or_else(|| "NONE\n".into(), |count| format!("COUNT {count}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let cases = [
            ("SET tea 3", Request::Set("tea", 3)),
            ("SET tea", Request::Unknown),
            ("SET tea three", Request::Unknown),
            ("GET tea", Request::Get("tea")),
            ("GET", Request::Unknown),
            ("LOAD", Request::Load),
            ("QUIT", Request::Quit),
            ("", Request::Unknown),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line), expected, "{line}");
        }
    }

    #[test]
    fn the_shelf_is_bounded() {
        let mut shelf = Shelf::default();
        for item in 0..MAX_ITEMS {
            assert_eq!(shelf.set(&item.to_string(), 1), "OK\n");
        }
        assert!(shelf.set("one more", 1).starts_with("ERROR"));
        assert_eq!(shelf.set("7", 2), "OK\n");
        assert_eq!(shelf.get("7"), "COUNT 2\n");
    }

    #[tokio::test]
    async fn a_load_is_answered_at_the_end_of_file_only() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let shelf = Mutex::new(Shelf::default());
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream, &shelf).await.unwrap();
        });
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET tea\nSET tea 4\nGET tea\nLOAD\nmilk 2\nrice 9\n").await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "NONE\nOK\nCOUNT 4\nLOADED 2\n");
        server.await.unwrap();
    }
}
