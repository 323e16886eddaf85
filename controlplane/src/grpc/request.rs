//! The one message of a request.

use std::{future::poll_fn, pin::pin};

use bytes::{Buf, BytesMut};
use hyper::body::Body;
use prost::Message;
use tonic::Status;

/// The largest request message, in bytes. Those of the proxy API hold a name and a token.
pub const MAX_REQUEST: usize = 64 * 1024;

/// Bytes before a message: a flag and the length (gRPC over HTTP/2, "Length-Prefixed-Message").
pub(super) const PREFIX: usize = 5;

/// Reads the message of a request.
///
/// # Errors
/// The status to answer with: no message or a broken one, one that is too long, compression.
pub async fn message<M, B>(body: B) -> Result<M, Status>
where
    M: Message + Default,
    B: Body,
    B::Data: Buf,
{
    let mut body = pin!(body);
    let mut buffer = BytesMut::new();
    while !is_whole(&buffer)? {
        match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            Some(Ok(frame)) => {
                if let Ok(mut data) = frame.into_data() {
                    while data.has_remaining() {
                        let chunk = data.chunk();
                        let length = chunk.len();
                        buffer.extend_from_slice(chunk);
                        data.advance(length);
                    }
                }
            }
            Some(Err(_)) => return Err(Status::cancelled("the request was cut off")),
            None => return Err(Status::internal("the request has no message")),
        }
    }
    let message = buffer.get(PREFIX..).unwrap_or_default();
    M::decode(message).map_err(|_| Status::internal("the request's message cannot be decoded"))
}

/// Whether the message is complete. Anything after it is none of a unary request's.
fn is_whole(buffer: &[u8]) -> Result<bool, Status> {
    let Some((prefix, rest)) = buffer.split_at_checked(PREFIX) else { return Ok(false) };
    let mut prefix = prefix;
    let (compressed, length) = (prefix.get_u8(), prefix.get_u32() as usize);
    if compressed != 0 {
        return Err(Status::unimplemented("compression is not supported"));
    }
    if length > MAX_REQUEST {
        return Err(Status::resource_exhausted(format!("the request is larger than {MAX_REQUEST} bytes")));
    }
    if rest.len() > length {
        return Err(Status::internal("the request has more than one message"));
    }
    Ok(rest.len() == length)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        convert::Infallible,
        pin::Pin,
        task::{Context, Poll},
    };

    use bytes::Bytes;
    use hyper::body::Frame;
    use linkerd2_proxy_api::destination::GetDestination;
    use tonic::Code;

    use super::*;

    struct Chunks(VecDeque<Bytes>);

    impl Body for Chunks {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|chunk| Ok(Frame::data(chunk))))
        }
    }

    async fn read(bytes: &[u8], chunk: usize) -> Result<GetDestination, Code> {
        let chunks = bytes.chunks(chunk).map(Bytes::copy_from_slice).collect();
        message(Chunks(chunks)).await.map_err(|status| status.code())
    }

    fn framed(message: &GetDestination) -> Vec<u8> {
        let encoded = message.encode_to_vec();
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(encoded.len()).unwrap().to_be_bytes());
        bytes.extend(encoded);
        bytes
    }

    #[tokio::test]
    async fn a_message_may_come_in_pieces() {
        let message =
            GetDestination { path: "web.default.svc.cluster.local:80".into(), ..Default::default() };
        let bytes = framed(&message);
        for chunk in [1, 3, 5, 7, bytes.len()] {
            assert_eq!(read(&bytes, chunk).await, Ok(message.clone()), "pieces of {chunk}");
        }
        let empty = GetDestination::default();
        assert_eq!(read(&framed(&empty), 2).await, Ok(empty));
    }

    #[tokio::test]
    async fn bad_messages_have_a_status() {
        let good = framed(&GetDestination { path: "a".into(), ..Default::default() });
        let mut compressed = good.clone();
        compressed[0] = 1;
        let mut second = good.clone();
        second.extend(&good);
        let too_long = [0, 0xff, 0, 0, 0];
        let broken = [0, 0, 0, 0, 1, 0xff];
        for (bytes, code) in [
            (&good[..good.len() - 1], Code::Internal),
            (&[], Code::Internal),
            (&compressed, Code::Unimplemented),
            (&second, Code::Internal),
            (&too_long, Code::ResourceExhausted),
            (&broken, Code::Internal),
        ] {
            assert_eq!(read(bytes, 1024).await, Err(code), "{bytes:?}");
        }
    }
}
