//! Applications that behave badly, each in one way.

use super::{Listening, listen};
use crate::place::Place;
use socket2::{Domain, SockRef, Socket, Type};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Accepts and does nothing, not even read.
pub async fn deaf(place: &Place, port: u16) -> Listening {
    listen(place, port, |stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await
}

/// Reads everything and never answers.
pub async fn mute(place: &Place, port: u16) -> Listening {
    listen(place, port, |mut stream| async move {
        let mut sink = tokio::io::sink();
        let _ = tokio::io::copy(&mut stream, &mut sink).await;
    })
    .await
}

/// Resets each connection when the first bytes have come.
pub async fn resetting(place: &Place, port: u16) -> Listening {
    listen(place, port, |mut stream| async move {
        let mut some = [0; 1024];
        let _ = stream.read(&mut some).await;
        reset(stream);
    })
    .await
}

/// Closes a connection with RST.
pub fn reset(stream: tokio::net::TcpStream) {
    // Whatever fails here ends the connection as well.
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    drop(stream);
}

/// Answers whatever comes with bytes of no protocol.
pub async fn garbage(place: &Place, port: u16) -> Listening {
    listen(place, port, |mut stream| async move {
        let mut some = [0; 1024];
        let _ = stream.read(&mut some).await;
        let _ = stream.write_all(&noise(4096, 1)).await;
        let _ = stream.shutdown().await;
        let _ = stream.read(&mut some).await;
    })
    .await
}

/// Answers with exactly these bytes, then ends.
pub async fn says(place: &Place, port: u16, answer: &'static [u8]) -> Listening {
    listen(place, port, move |mut stream| async move {
        let mut some = [0; 16 * 1024];
        let _ = stream.read(&mut some).await;
        let _ = stream.write_all(answer).await;
        let _ = stream.shutdown().await;
        while matches!(stream.read(&mut some).await, Ok(1..)) {}
    })
    .await
}

/// A port whose queue is full: a connect gets no answer at all.
pub struct NeverAccepting {
    _listener: Socket,
    _queued: Vec<Socket>,
}

/// Fills the queue of a port that nobody accepts from.
///
/// # Panics
/// When the system refuses.
pub async fn never_accepting(place: &Place, port: u16) -> NeverAccepting {
    let address = place.at(port);
    place
        .run("a full queue", async move {
            let listener = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
            listener.bind(&address.into()).expect("a free port");
            listener.listen(1).expect("a queue of one");
            let mut queued = Vec::new();
            loop {
                let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
                if socket.connect_timeout(&address.into(), Duration::from_millis(200)).is_err() {
                    return NeverAccepting { _listener: listener, _queued: queued };
                }
                queued.push(socket);
                assert!(queued.len() < 16, "a queue of one takes no more than a few");
            }
        })
        .await
}

/// Bytes without meaning, the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(length).collect()
}
