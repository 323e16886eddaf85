//! Is traffic really redirected? A connection to an address that nothing answers must reach our own listener.

use crate::log::LogOptions;
use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};
use thiserror::Error;

/// The exit code that says "not redirected": Linkerd's repair controller restarts pods that end with it.
pub const EXIT_CODE: u8 = 95;

/// What to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// An address that nothing answers. Default 192.0.2.2:1404 (RFC 5737: for documentation only).
    pub connect: SocketAddr,
    /// The address connections are redirected to. Default 0.0.0.0:4140.
    pub listen: SocketAddr,
    /// How long it may take altogether. Default 10 s.
    pub timeout: Duration,
    /// How to log.
    pub log: LogOptions,
}

/// Why traffic is not redirected, as far as can be told.
#[derive(Debug, Error)]
pub enum ValidateError {
    /// Another program has the port: a proxy is running already?
    #[error("could not listen on {address}: is the proxy running already?")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The connection was refused or timed out: nothing redirects it.
    #[error("a connection to {address} did not succeed: outbound connections are not redirected to {listen}")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// Where it was to be redirected to.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Connected, but nothing or too little came.
    #[error(
        "{address} answered, but not as the listener here does: connections are not redirected to {listen}"
    )]
    Read {
        /// Where to.
        address: SocketAddr,
        /// Where it was to be redirected to.
        listen: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Somebody else answered.
    #[error(
        "{address} answered with something else than the listener here does: connections are not redirected to {listen}"
    )]
    Mismatch {
        /// Where to.
        address: SocketAddr,
        /// Where it was to be redirected to.
        listen: SocketAddr,
    },
    /// No random bytes.
    #[error("could not get random bytes")]
    Random(#[source] io::Error),
}

const TOKEN: usize = 64;
/// How long the listener sleeps when nobody connects before it looks whether it is still needed.
const POLL: Duration = Duration::from_millis(5);

impl Default for Options {
    fn default() -> Self {
        Self {
            connect: (Ipv4Addr::new(192, 0, 2, 2), 1404).into(),
            listen: (Ipv4Addr::UNSPECIFIED, 4140).into(),
            timeout: Duration::from_secs(10),
            log: LogOptions::default(),
        }
    }
}

/// Connects and compares what is answered with what our own listener says: 63 random characters and a line end.
pub fn validate(options: &Options) -> Result<(), ValidateError> {
    let deadline = Instant::now() + options.timeout;
    let (address, listen) = (options.connect, options.listen);
    let listener = TcpListener::bind(listen)
        .and_then(|l| l.set_nonblocking(true).map(|()| l))
        .map_err(|source| ValidateError::Listen { address: listen, source })?;
    let token = token()?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| serve(&listener, &token, &done));
        let answer = ask(address, deadline);
        done.store(true, Ordering::Release);
        match answer {
            Ok(answer) if answer == token => Ok(()),
            Ok(_) => Err(ValidateError::Mismatch { address, listen }),
            Err((true, source)) => Err(ValidateError::Read { address, listen, source }),
            Err((false, source)) => Err(ValidateError::Connect { address, listen, source }),
        }
    })
}

/// The error comes with whether there was a connection.
fn ask(address: SocketAddr, deadline: Instant) -> Result<[u8; TOKEN], (bool, io::Error)> {
    let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let mut stream = TcpStream::connect_timeout(&address, left()).map_err(|e| (false, e))?;
    let mut answer = [0; TOKEN];
    let mut rest = &mut answer[..];
    while !rest.is_empty() {
        if Instant::now() >= deadline {
            return Err((true, io::ErrorKind::TimedOut.into()));
        }
        stream.set_read_timeout(Some(left())).map_err(|e| (true, e))?;
        match stream.read(rest) {
            Ok(0) => return Err((true, io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => rest = rest.get_mut(n..).unwrap_or_default(),
            Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(e) => return Err((true, e)),
        }
    }
    Ok(answer)
}

fn serve(listener: &TcpListener, token: &[u8], done: &AtomicBool) {
    while !done.load(Ordering::Acquire) {
        match listener.accept() {
            // The token fits any socket buffer: this does not block. If it fails the other end says so.
            Ok((mut stream, _)) => drop(stream.write_all(token)),
            Err(_) => thread::sleep(POLL),
        }
    }
}

fn token() -> Result<[u8; TOKEN], ValidateError> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut token = [0; TOKEN];
    let n = rustix::rand::getrandom(&mut token[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|e| ValidateError::Random(e.into()))?;
    if n < TOKEN {
        return Err(ValidateError::Random(io::ErrorKind::UnexpectedEof.into()));
    }
    for byte in &mut token {
        *byte = ALPHABET.get(usize::from(*byte % 64)).copied().unwrap_or(b'A');
    }
    if let Some(last) = token.last_mut() {
        *last = b'\n';
    }
    Ok(token)
}

/// A number and `ms`, `s`, `m`, `h` or `d`; 0 needs no unit.
pub fn parse_timeout(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(unit_at)?;
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "" if number == 0 => 0,
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(connect: SocketAddr, listen: SocketAddr) -> Options {
        Options { connect, listen, timeout: Duration::from_millis(500), ..Options::default() }
    }

    fn free() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[test]
    fn a_connection_that_arrives_at_the_listener_is_redirected() {
        let (held, address) = free();
        drop(held);
        validate(&options(address, address)).unwrap();
    }

    #[test]
    fn anything_else_is_not() {
        let (held, listen) = free();
        let taken = validate(&options(listen, listen)).unwrap_err();
        assert!(matches!(taken, ValidateError::Listen { .. }), "{taken}");
        drop(held);

        let (closed, nobody) = free();
        drop(closed);
        let refused = validate(&options(nobody, listen)).unwrap_err();
        assert!(matches!(refused, ValidateError::Connect { .. }), "{refused}");

        for (says, expect) in
            [(&b"hi\n"[..], "Read"), (&[b'x'; 64][..], "Mismatch"), (&[b'x'; 200][..], "Mismatch")]
        {
            let (other, address) = free();
            let answer = thread::scope(|s| {
                s.spawn(move || other.accept().unwrap().0.write_all(says).unwrap());
                validate(&options(address, listen)).unwrap_err()
            });
            assert!(format!("{answer:?}").starts_with(expect), "{answer:?}");
        }

        let (silent, address) = free();
        let answer = validate(&options(address, listen)).unwrap_err();
        assert!(
            matches!(&answer, ValidateError::Read { source, .. } if source.kind() == io::ErrorKind::TimedOut),
            "{answer:?}"
        );
        drop(silent);
    }

    #[test]
    fn timeouts() {
        for (text, expect) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("120ms", Some(120)),
            ("10s", Some(10_000)),
            ("2m", Some(120_000)),
            ("2h", Some(7_200_000)),
            ("1d", Some(86_400_000)),
            ("120", None),
            ("s", None),
            ("", None),
            ("1w", None),
            ("-1s", None),
            ("18446744073709551615s", None),
        ] {
            assert_eq!(parse_timeout(text).map(|d| d.as_millis()), expect, "{text:?}");
        }
    }

    #[test]
    fn tokens_are_lines_of_their_own() {
        let (a, b) = (token().unwrap(), token().unwrap());
        assert_ne!(a, b);
        assert_eq!(a[63], b'\n');
        assert!(a[..63].iter().all(u8::is_ascii_graphic));
    }
}
