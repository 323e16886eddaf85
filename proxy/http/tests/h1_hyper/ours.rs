//! Our reading of a connection.

use crate::{Message, Seen, Side};
use weft_http::h1::{Body, Decoder, Event, Parser, is_persistent};
use weft_http::head::{Head, Method, Section, Target, Version};
use weft_http::limits::Limits;

/// Reads all bytes, then the end of the connection.
pub(crate) fn read(side: Side, bytes: &[u8]) -> Seen {
    let section = if side == Side::Server { Section::Request } else { Section::Response };
    let mut parser = Parser::new(section);
    let (mut head, mut trailers, limits) = (Head::default(), Head::default(), Limits::default());
    let (mut seen, mut at) = (Seen::default(), 0);
    loop {
        let rest = &bytes[at..];
        match parser.parse(rest, &mut head, &limits) {
            Ok(Some(n)) => {
                at += n;
                let (body, more) = match side {
                    Side::Server => (Body::of_request(&head), is_persistent(&head)),
                    Side::Client { head: asked_head } => {
                        let method = if asked_head { Method::Head } else { Method::Get };
                        if head.status < 200 && head.status != 101 {
                            continue;
                        }
                        (Body::of_response(&head, method), false)
                    }
                };
                let mut message = message(&head, rest);
                match content(body, &bytes[at..], &mut trailers, &limits, &mut message) {
                    Ok(n) => at += n,
                    Err(fault) => {
                        seen.fault = Some(fault);
                        return seen;
                    }
                }
                seen.messages.push(message);
                if !more {
                    return seen;
                }
            }
            Ok(None) => {
                seen.fault = (!rest.is_empty()).then(|| "partial".to_owned());
                return seen;
            }
            Err(fault) => {
                seen.fault = Some(format!("{fault:?}"));
                return seen;
            }
        }
    }
}

fn content(
    body: Body,
    bytes: &[u8],
    trailers: &mut Head,
    limits: &Limits,
    message: &mut Message,
) -> Result<usize, String> {
    let mut decoder = Decoder::new(body);
    let mut at = 0;
    trailers.begin(Section::Trailers, Version::Http11);
    loop {
        let rest = &bytes[at..];
        let step = decoder.decode(rest, trailers, limits).map_err(|fault| format!("{fault:?}"))?;
        match step.event {
            Event::Data(range) => message.content.extend_from_slice(range.of(rest)),
            Event::End => {
                message.trailers = fields(trailers, rest);
                return Ok(at + step.consumed);
            }
            Event::NeedMore => {
                decoder.closed().map_err(|fault| format!("{fault:?}"))?;
                return Ok(bytes.len());
            }
        }
        at += step.consumed;
    }
}

/// A head in the words that are compared.
fn message(head: &Head, bytes: &[u8]) -> Message {
    let text = |range: weft_http::head::Range| String::from_utf8_lossy(range.of(bytes)).into_owned();
    let version = if head.version == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let start = match (head.section, head.target) {
        (Section::Response, _) => format!("{version} {}", head.status),
        (_, Target::Absolute) => {
            let path = if head.path.is_empty() { "/".to_owned() } else { text(head.path) };
            // hyper's `Uri` folds the scheme's letter case.
            let scheme = text(head.scheme).to_ascii_lowercase();
            format!("{} {scheme}://{}{path} {version}", text(head.method_name), text(head.authority))
        }
        (_, Target::Authority) => format!("{} {} {version}", text(head.method_name), text(head.authority)),
        _ => format!("{} {} {version}", text(head.method_name), text(head.path)),
    };
    Message { start, fields: fields(head, bytes), ..Message::default() }
}

fn fields(head: &Head, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut fields: Vec<_> = head
        .fields
        .iter()
        .map(|f| (String::from_utf8_lossy(f.name.of(bytes)).to_ascii_lowercase(), f.value.of(bytes).to_vec()))
        .collect();
    fields.sort();
    fields
}
