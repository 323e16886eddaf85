use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use super::*;

/// Repeats until something other than "would block" comes, for at most five seconds.
fn wait<T>(mut what: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match what() {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
                    && Instant::now() < deadline =>
            {
                std::thread::yield_now();
            }
            result => return result,
        }
    }
}

fn local(ip: impl Into<IpAddr>) -> (TcpListener, SocketAddr) {
    let listener = listen(SocketAddr::new(ip.into(), 0), ListenOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn pair(options: StreamOptions) -> (TcpStream, TcpStream) {
    let (listener, address) = local(Ipv4Addr::LOCALHOST);
    set_options(&listener, &options).unwrap();
    let client = connect(address, &StreamOptions::default()).unwrap();
    let (server, peer) = wait(|| accept(&listener)).unwrap();
    wait(|| connect_result(&client)).unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    (client, server)
}

#[test]
fn a_listener_hands_its_options_to_what_it_accepts() {
    let options = StreamOptions {
        keepalive: Some(Duration::from_secs(10)),
        user_timeout: Some(Duration::from_secs(30)),
        mark: None,
    };
    let (client, server) = pair(options);
    let socket = SockRef::from(&server);
    assert!(socket.tcp_nodelay().unwrap());
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(10));
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(30)));
    assert!(socket.nonblocking().unwrap());

    // Without configuration: the kernel's.
    assert!(client.nodelay().unwrap());
    assert!(!SockRef::from(&client).keepalive().unwrap());
}

#[test]
fn families() {
    let cases: &[(IpAddr, IpAddr, bool)] = &[
        (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into(), true),
        (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into(), true),
        // the IPv6 wildcard is both, another IPv6 address is not
        (Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into(), true),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into(), true),
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into(), true),
        (Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into(), false),
    ];
    for (bound, called, reached) in cases {
        let (listener, address) = local(*bound);
        let called = SocketAddr::new(*called, address.port());
        let client = connect(called, &StreamOptions::default()).unwrap();
        let result = wait(|| connect_result(&client));
        assert_eq!(result.is_ok(), *reached, "{bound} {called}: {result:?}");
        if *reached {
            let (server, peer) = wait(|| accept(&listener)).unwrap();
            assert_eq!(peer, client.local_addr().unwrap(), "IPv4 in its own form");
            let destination = original_destination(&server, peer).unwrap();
            assert_eq!(destination.address, called, "nothing redirects here");
        }
    }
}

#[test]
fn several_listeners_share_a_port() {
    let (_first, address) = local(Ipv4Addr::LOCALHOST);
    let _second = listen(address, ListenOptions::default()).unwrap();
    let alone = ListenOptions { reuse_port: false, ..ListenOptions::default() };
    assert_eq!(listen(address, alone).unwrap_err().kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn nothing_to_accept() {
    let (listener, _) = local(Ipv4Addr::LOCALHOST);
    let error = accept(&listener).unwrap_err();
    assert_eq!(AcceptFailure::of(&error), AcceptFailure::Nothing);
}

#[test]
fn accept_failures() {
    let cases = [
        (Errno::AGAIN, AcceptFailure::Nothing),
        (Errno::MFILE, AcceptFailure::Exhausted),
        (Errno::NFILE, AcceptFailure::Exhausted),
        (Errno::NOBUFS, AcceptFailure::Exhausted),
        (Errno::CONNABORTED, AcceptFailure::Connection),
        (Errno::PROTO, AcceptFailure::Connection),
        (Errno::NETDOWN, AcceptFailure::Connection),
        (Errno::INTR, AcceptFailure::Connection),
        (Errno::INVAL, AcceptFailure::Listener),
        (Errno::BADF, AcceptFailure::Listener),
    ];
    for (errno, expected) in cases {
        assert_eq!(AcceptFailure::of(&errno.into()), expected, "{errno}");
    }
}

#[test]
fn a_refused_connection_is_told() {
    let address = local(Ipv4Addr::LOCALHOST).1; // and closed again
    // Loopback may refuse at once or a moment later.
    let result =
        connect(address, &StreamOptions::default()).and_then(|socket| wait(|| connect_result(&socket)));
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

/// A mark takes a privilege; whoever lacks it is told, instead of going on without.
#[test]
fn a_mark_is_set_or_refused() {
    let (_listener, address) = local(Ipv4Addr::LOCALHOST);
    match connect(address, &StreamOptions { mark: Some(7), ..StreamOptions::default() }) {
        Ok(socket) => assert_eq!(SockRef::from(&socket).mark().unwrap(), 7),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
    }
}

#[test]
fn a_reset_is_seen_as_one() {
    let (mut client, server) = pair(StreamOptions::default());
    client.write_all(b"unread").unwrap();
    reset(server);
    let error = wait(|| client.read(&mut [0; 16])).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn loops_are_seen() {
    let own = ["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
    let cases = [
        // destination, listener, loop?
        ("127.0.0.1:4140", "127.0.0.1:4140", true),
        ("127.0.0.1:4141", "127.0.0.1:4140", false),
        ("10.0.0.8:4140", "127.0.0.1:4140", false),
        ("0.0.0.0:4140", "127.0.0.1:4140", true),
        ("[::ffff:127.0.0.1]:4140", "127.0.0.1:4140", true),
        ("10.0.0.7:4143", "0.0.0.0:4143", true),
        ("10.0.0.7:4143", "[::]:4143", true),
        ("[fd00::7]:4143", "[::]:4143", true),
        ("[::1]:4143", "[::]:4143", true),
        ("127.0.0.2:4143", "[::]:4143", true),
        ("10.0.0.8:4143", "[::]:4143", false),
        ("10.0.0.7:8080", "[::]:4143", false),
    ];
    for (destination, listener, expected) in cases {
        let answer = leads_back(destination.parse().unwrap(), listener.parse().unwrap(), &own);
        assert_eq!(answer, expected, "{destination} {listener}");
    }
}
