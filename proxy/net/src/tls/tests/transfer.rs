//! Bytes through an established connection, and its end.

use super::*;

fn connected(ca: &Ca) -> (TlsConn, TlsConn) {
    let (mut client, mut server) =
        (client(&ca.identity(WEB), API, Offer::Plain), server(&ca.identity(API), Offer::Plain));
    handshake(&mut client, &mut server).server.unwrap();
    (client, server)
}

#[test]
fn changed_ciphertext_is_noticed() {
    let ca = Ca::new();
    let (mut client, mut server) = connected(&ca);
    client.send(&[IoSlice::new(b"secret")]).unwrap();
    let mut wire = Vec::new();
    client.take_ciphertext(&mut wire);
    *wire.last_mut().unwrap() ^= 1;
    let mut plaintext = Vec::new();
    let error = server.receive(&wire, &mut plaintext).unwrap_err();
    assert_eq!((error.failure(), plaintext.as_slice()), (Failure::Malformed, b"".as_slice()));
    assert!(server.wants_write(), "an alert");
    assert!(server.send(&[IoSlice::new(b"x")]).is_err());
}

#[test]
fn an_end_with_and_without_notice() {
    let ca = Ca::new();
    let (mut client, mut server) = connected(&ca);
    assert_eq!(server.transport_ended().unwrap(), End::Truncated);

    client.send(&[IoSlice::new(b"last")]).unwrap();
    client.close();
    let mut wire = Vec::new();
    client.take_ciphertext(&mut wire);
    wire.extend_from_slice(b"whatever follows is ignored");
    let mut plaintext = Vec::new();
    assert!(server.receive(&wire, &mut plaintext).unwrap().closed);
    assert_eq!(plaintext, b"last");
    assert_eq!(server.transport_ended().unwrap(), End::Clean);

    // The other direction goes on (RFC 8446 section 6.1: each party closes its own).
    assert_eq!(exchange(&mut server, &mut client, b"still here", usize::MAX), b"still here");
    assert_eq!(client.transport_ended().unwrap(), End::Truncated);
}

#[test]
fn an_end_in_the_handshake() {
    let ca = Ca::new();
    let web = ca.identity(WEB);
    let client = client(&web, API, Offer::Plain);
    let error = client.transport_ended().unwrap_err();
    assert_eq!((error.failure(), error.peer()), (Failure::Unfinished, API));
}

#[test]
fn pending_ciphertext_is_bounded() {
    let (mut client, mut server) = connected(&Ca::new());
    let data = vec![7; 4 * MAX_PENDING_CIPHERTEXT];
    let sent = client.send(&[IoSlice::new(&data)]).unwrap();
    assert_eq!(sent, MAX_PENDING_CIPHERTEXT);
    assert_eq!(client.send(&[IoSlice::new(&data)]).unwrap(), 0, "nothing more until it is written");
    let mut wire = Vec::new();
    client.take_ciphertext(&mut wire);
    assert!(wire.len() < MAX_PENDING_CIPHERTEXT + 1024);
    let mut plaintext = Vec::new();
    server.receive(&wire, &mut plaintext).unwrap();
    assert_eq!(plaintext.len(), sent);
    assert_eq!(client.send(&[IoSlice::new(&data)]).unwrap(), MAX_PENDING_CIPHERTEXT);
}

/// A handshake message that claims to be 16 MiB, in records of 16 KiB (RFC 8446 section 4).
#[test]
fn what_is_unfinished_is_bounded() {
    let mut server = server(&Ca::new().identity(API), Offer::Plain);
    let mut message = vec![1, 0xff, 0xff, 0xff];
    message.resize(16 * 1024, 0);
    let mut plaintext = Vec::new();
    for n in 1.. {
        let mut record = vec![22, 3, 1, 0x40, 0];
        record.append(&mut message);
        message = vec![0; 16 * 1024];
        if let Err(error) = server.receive(&record, &mut plaintext) {
            assert_eq!(error.failure(), Failure::Malformed);
            break;
        }
        assert!(n * 16 * 1024 <= MAX_UNFINISHED, "{n} records are taken");
    }
    assert!(server.receive(b"\x16\x03\x01\0\x01\0", &mut plaintext).is_err(), "a failure stays");
}

/// A record that never ends is not copied anew for each of its bytes, and is whole when its last byte comes.
#[test]
fn a_record_byte_by_byte() {
    let (mut client, mut server) = connected(&Ca::new());
    let data = vec![9; 16_000];
    client.send(&[IoSlice::new(&data)]).unwrap();
    let mut wire = Vec::new();
    client.take_ciphertext(&mut wire);
    let mut plaintext = Vec::new();
    for byte in &wire {
        assert!(plaintext.is_empty());
        server.receive(std::slice::from_ref(byte), &mut plaintext).unwrap();
    }
    assert_eq!(plaintext, data);
}

#[test]
fn nothing_is_sent_before_the_handshake_ends() {
    let web = Ca::new().identity(WEB);
    let mut client = client(&web, API, Offer::Plain);
    assert_eq!(client.send(&[IoSlice::new(b"early")]).unwrap(), 0);
}

fn any_data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        (0_usize..300_000, any::<u8>()).prop_map(|(len, first)| {
            (0..len).map(|n| (n as u8).wrapping_mul(31).wrapping_add(first)).collect()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn everything_arrives_in_any_pieces(
        there in any_data(),
        back in any_data(),
        piece in prop_oneof![1_usize..40, 40_usize..40_000],
    ) {
        let ca = Ca::new();
        let (web, api) = (ca.identity(WEB), ca.identity(API));
        let (mut client, mut server) = (client(&web, API, Offer::Tagged), server(&api, Offer::Tagged));
        let talk = talk((&mut client, &mut Vec::new()), (&mut server, &mut Vec::new()), piece);
        prop_assert!(talk.client.is_ok() && talk.server.is_ok(), "{:?}", talk);
        prop_assert!(exchange(&mut client, &mut server, &there, piece) == there);
        prop_assert!(exchange(&mut server, &mut client, &back, piece) == back);
    }
}
