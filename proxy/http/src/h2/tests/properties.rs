//! What holds for all inputs.

use proptest::prelude::*;

use super::*;

/// Adjacent pieces of content as one: how content is cut follows the input.
fn joined(seen: Vec<Seen>) -> Vec<Seen> {
    let mut all: Vec<Seen> = Vec::new();
    for event in seen {
        if let (Some(Seen::Data { id: a, data, end }), Seen::Data { id: b, data: more, end: last }) =
            (all.last_mut(), &event)
            && a == b
            && !*end
        {
            data.extend_from_slice(more);
            *end = *last;
            continue;
        }
        all.push(event);
    }
    all
}

/// Frames that are mostly right, on few streams.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let id = prop_oneof![12 => (0u32..6).prop_map(|n| 2 * n + 1), 1 => 0u32..12];
    let fields = prop_oneof![
        6 => Just(get()),
        6 => Just(post()),
        4 => Just(ok()),
        2 => Just(block(&[(":status", "100")])),
        4 => Just(block(&[("x-trailer", "y")])),
        2 => Just([post(), block(&[("content-length", "5")])].concat()),
        2 => Just([ok(), block(&[("content-length", "5")])].concat()),
        2 => Just([get(), b"\x40\x01a\x01b".to_vec()].concat()),
        1 => Just([get(), b"\xbe".to_vec()].concat()),
        1 => proptest::collection::vec(any::<u8>(), 0..30),
    ];
    let content = prop_oneof![4 => 0usize..20, 1 => 0usize..16_400];
    (id, fields, content, any::<u8>(), any::<u32>(), 0u8..24).prop_map(
        |(id, fields, n, flags, word, which)| {
            let end = flags & 1 != 0;
            match which {
                0..6 => headers(id, end, &fields),
                6..12 => data(id, end, &vec![flags; n]),
                12 => {
                    let cut = n.min(fields.len());
                    let first = frame(kind::HEADERS, u8::from(end), id, &fields[..cut]);
                    [first, frame(kind::CONTINUATION, END_HEADERS, id, &fields[cut..])].concat()
                }
                13 => frame(kind::DATA, PADDED | (flags & 1), id, &[&[flags], &vec![0; n][..]].concat()),
                14 => reset(id, Code(word % 16)),
                15 => window_update(if end { 0 } else { id }, word % 100_000),
                16 => window_update(id, word),
                17 => settings(&[(4, word % 100_000), (1, word % 5000)]),
                18 => settings(&[(u16::from(flags % 10), word)]),
                19 => frame(kind::PING, flags & 1, 0, &[flags; 8]),
                20 => goaway(word % 16, Code(0)),
                21 => frame(kind::SETTINGS, 1, 0, &[]),
                22 => frame(flags % 12, flags, id, &vec![flags; n % 20]),
                _ => frame(kind::PRIORITY, 0, id, &[0; 5]),
            }
        },
    )
}

/// What the user of a connection may do between two frames.
#[derive(Clone, Debug)]
enum Act {
    /// Any frame; most connections do not outlive many of these.
    Receive(Vec<u8>),
    /// A new stream (server), or the next part of a message on an open one.
    PeerHeads(bool),
    PeerContinues(usize, bool),
    PeerSends(usize, usize, bool),
    PeerResets(usize),
    PeerOpensWindow(usize, u32),
    PeerSets(u32),
    Open(bool),
    Respond(usize, u16, bool),
    Send(usize, usize, bool),
    Trailers(usize),
    Reset(usize),
    Flushed,
    Credit(bool),
    ShutDown,
    Wait(u64),
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => any_frame().prop_map(Act::Receive),
        12 => any::<bool>().prop_map(Act::PeerHeads),
        8 => (any::<usize>(), any::<bool>()).prop_map(|(n, e)| Act::PeerContinues(n, e)),
        12 => (any::<usize>(), 0usize..17_000, any::<bool>()).prop_map(|(n, k, e)| Act::PeerSends(n, k, e)),
        1 => any::<usize>().prop_map(Act::PeerResets),
        8 => (any::<usize>(), 0u32..100_000).prop_map(|(n, by)| Act::PeerOpensWindow(n, by)),
        4 => (0u32..100_000).prop_map(Act::PeerSets),
        12 => any::<bool>().prop_map(Act::Open),
        12 => (any::<usize>(), prop_oneof![3 => Just(200), 1 => Just(100)], proptest::bool::weighted(0.2)).prop_map(|(n, s, e)| Act::Respond(n, s, e)),
        16 => (any::<usize>(), 0usize..100_000, proptest::bool::weighted(0.1)).prop_map(|(n, k, e)| Act::Send(n, k, e)),
        1 => any::<usize>().prop_map(Act::Trailers),
        1 => any::<usize>().prop_map(Act::Reset),
        1 => Just(Act::Flushed),
        1 => any::<bool>().prop_map(Act::Credit),
        1 => Just(Act::ShutDown),
        1 => (0u64..5000).prop_map(Act::Wait),
    ]
}

fn act(side: &mut Side, act: Act) -> Result<Vec<Seen>, ConnectionError> {
    let keys: Vec<StreamKey> = side.conn.streams().map(|s| s.0).collect();
    let nth = |n: usize| keys.get(n % keys.len().max(1)).copied();
    let empty = Head { section: Section::Trailers, ..Head::default() };
    match act {
        Act::Receive(octets) => return side.feed(&octets),
        Act::PeerHeads(end) => {
            if side.conn.role() == Role::Server {
                let id = side.conn.last_peer_id | 1;
                let id = if side.conn.last_peer_id == 0 { id } else { id + 2 };
                return side.feed(&headers(id, end, if end { get() } else { post() }.as_slice()));
            }
        }
        Act::PeerContinues(n, end) => {
            if let Some(key) = nth(n) {
                let s = side.conn.streams.get(key).unwrap();
                let fields = if s.head_received { block(&[("x", "y")]) } else { ok() };
                let end = end || s.head_received;
                return side.feed(&headers(key.id(), end, &fields));
            }
        }
        Act::PeerSends(n, octets, end) => {
            if let Some(key) = nth(n) {
                return side.feed(&data(key.id(), end, &vec![0; octets.min(16_384)]));
            }
        }
        Act::PeerResets(n) => {
            if let Some(key) = nth(n) {
                return side.feed(&reset(key.id(), Code::CANCEL));
            }
        }
        Act::PeerOpensWindow(n, by) => {
            if let Some(key) = nth(n) {
                return side.feed(&[window_update(key.id(), by), window_update(0, by / 2 + 1)].concat());
            }
        }
        Act::PeerSets(window) => return side.feed(&settings(&[(4, window)])),
        Act::Open(end) => {
            if side.conn.can_open().is_ok() {
                side.open(end);
            }
        }
        Act::Respond(n, status, end) => {
            if let (Some(key), Role::Server) = (nth(n), side.conn.role()) {
                let head = Head::response(Version::Http2, status);
                let response = Outgoing::new(&head, &[], Leg::InboundResponse);
                let _ = side.conn.send_head(key, &response, end, &mut side.out);
            }
        }
        Act::Send(n, octets, end) => {
            if let Some(key) = nth(n) {
                let room = side.conn.send_capacity(key);
                if let Ok(taken) = side.conn.send_data(key, &vec![0; octets], end, &mut side.out, side.now) {
                    assert_eq!(taken, room.min(octets), "as much as the windows allow");
                }
            }
        }
        Act::Trailers(n) => {
            if let Some(key) = nth(n) {
                let trailers = Outgoing::new(&empty, &[], Leg::InboundResponse);
                let _ = side.conn.send_trailers(key, &trailers, &mut side.out);
            }
        }
        Act::Reset(n) => {
            if let Some(key) = nth(n) {
                side.conn.reset(key, Code::CANCEL, &mut side.out);
            }
        }
        Act::Flushed => side.conn.flushed(),
        Act::Credit(at_once) => side.credits = at_once,
        Act::ShutDown => side.conn.shut_down(&mut side.out, side.now),
        Act::Wait(ms) => {
            side.wait(ms);
            return side.conn.expired(&mut side.out, side.now).map(|()| vec![]);
        }
    }
    Ok(vec![])
}

proptest! {
    /// However the octets are cut, the same events, the same answers, the same error.
    #[test]
    fn any_split_gives_the_same_events(
        server: bool,
        frames in proptest::collection::vec(any_frame(), 1..25),
        cuts in proptest::collection::vec(1usize..40, 1..20),
    ) {
        let role = if server { Role::Server } else { Role::Client };
        let octets = frames.concat();
        let run = |cuts: &[usize]| {
            let mut side = Side::ready(role, limits::Http2::default());
            if role == Role::Client {
                for _ in 0..4 {
                    side.open(false);
                }
            }
            // Content is cut as the input is, and so is credit; what is told at once differs then.
            side.credits = false;
            side.out.clear();
            let (mut rest, mut seen, mut end) = (&octets[..], Vec::new(), None);
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() && end.is_none() {
                let n = (*cuts.next().unwrap()).min(rest.len());
                let buffer = [&std::mem::take(&mut side.pending), &rest[..n]].concat();
                rest = &rest[n..];
                let mut input = &buffer[..];
                loop {
                    let (head, arena) = (&mut side.head, &mut side.arena);
                    match side.conn.next(&mut input, head, arena, &mut side.out, side.now) {
                        Ok(Some(event)) => seen.push(side.seen(event)),
                        Ok(None) => break,
                        Err(error) => {
                            end = Some(error);
                            break;
                        }
                    }
                }
                side.pending = input.to_vec();
            }
            (joined(seen), end, side.out)
        };
        prop_assert_eq!(run(&[usize::MAX]), run(&cuts));
    }

    /// Whatever the peer and the user do, in whatever order: no panic, no bound exceeded, nothing written but frames
    /// that the peer's own settings and windows allow.
    #[test]
    fn any_sequence_keeps_within_the_bounds(
        server: bool,
        acts in proptest::collection::vec(any_act(), 1..80),
    ) {
        let limits = limits::Http2 {
            max_concurrent_streams: 3,
            outgoing_streams: 4,
            remembered_resets: 2,
            connection_window_bytes: 100_000,
            ..Default::default()
        };
        let mut side = Side::ready(if server { Role::Server } else { Role::Client }, limits);
        for one in acts {
            let over = act(&mut side, one).is_err();
            prop_assert!(side.conn.open_streams() <= 4);
            prop_assert!(side.conn.remembered.len() <= 2);
            prop_assert!(side.arena.len() <= 70_000);
            prop_assert_eq!(side.conn.streams().count() as u32, side.conn.open_streams());
            for f in side.sent() {
                prop_assert!(f.payload.len() <= side.conn.peer().max_frame_size as usize);
            }
            if let Some((key, _)) = side.longest_blocked() {
                prop_assert!(side.conn.owner(key).is_some());
            }
            if over {
                prop_assert!(side.conn.next_deadline().is_none() && side.conn.is_finished());
                break;
            }
        }
    }
}

/// What one side sends in one go, and what the other must see of it.
#[derive(Clone, Debug)]
struct Exchange {
    request: usize,
    response: usize,
    trailers: bool,
    reset: bool,
}

/// One direction of an exchange: what is left to send.
#[derive(Clone, Debug, Default)]
struct Sending {
    left: usize,
    head: bool,
    trailers: bool,
    done: bool,
}

struct End {
    side: Side,
    /// By identifier: what is to be sent, and what was received.
    sending: std::collections::BTreeMap<u32, Sending>,
    received: std::collections::BTreeMap<u32, (usize, bool, bool)>,
}

impl End {
    fn pump(&mut self, chunk: usize) {
        for (id, s) in self.sending.iter_mut().filter(|(_, s)| s.head && !s.done) {
            let Some((key, _)) = self.side.conn.streams().find(|(k, _)| k.id() == *id) else {
                s.done = true;
                continue;
            };
            let n = s.left.min(chunk);
            let end = n == s.left && !s.trailers;
            let (conn, out, now) = (&mut self.side.conn, &mut self.side.out, self.side.now);
            let taken = conn.send_data(key, &vec![1; n], end, out, now).unwrap();
            s.left -= taken;
            if s.left == 0 && taken == n {
                s.done = true;
                if s.trailers {
                    let head = Head { section: Section::Trailers, ..Head::default() };
                    let fields = extra(&[("x-sum", "1")]);
                    let trailers = Outgoing::new(&head, &[], Leg::InboundResponse).with(&fields);
                    conn.send_trailers(key, &trailers, out).unwrap();
                }
            }
        }
    }

    fn take(&mut self, octets: &[u8]) -> Vec<Seen> {
        let seen = self.side.feed(octets).unwrap();
        for event in &seen {
            match event {
                Seen::Head { id, end, .. } => {
                    self.received.entry(*id).or_default().1 |= end;
                }
                Seen::Data { id, data, end } => {
                    let entry = self.received.entry(*id).or_default();
                    entry.0 += data.len();
                    entry.1 |= end;
                }
                Seen::Trailers { id, .. } => {
                    let entry = self.received.entry(*id).or_default();
                    (entry.1, entry.2) = (true, true);
                }
                _ => {}
            }
        }
        seen
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Two of our connections: everything arrives, whatever the windows, chunks and settings; nothing is left over.
    #[test]
    fn client_and_server_understand_each_other(
        exchanges in proptest::collection::vec((0usize..200_000, 0usize..200_000, any::<bool>(), proptest::bool::weighted(0.15)), 1..12),
        windows in (1u32..100_000, 1u32..100_000),
        chunk in 1usize..40_000,
        cut in 100usize..50_000,
    ) {
        let exchanges: Vec<Exchange> = exchanges.into_iter()
            .map(|(request, response, trailers, reset)| Exchange { request, response, trailers, reset }).collect();
        let limits = |window| limits::Http2 {
            stream_window_bytes: window,
            connection_window_bytes: 70_000,
            window_updates: 1_000_000,
            ..Default::default()
        };
        let end = |role, window| End {
            side: Side::new(role, limits(window)),
            sending: Default::default(),
            received: Default::default(),
        };
        let (mut client, mut server) = (end(Role::Client, windows.0), end(Role::Server, windows.1));
        for (n, e) in exchanges.iter().enumerate() {
            let id = client.side.open(e.request == 0 && !e.trailers).id();
            prop_assert_eq!(id, 2 * n as u32 + 1);
            let done = e.request == 0 && !e.trailers;
            client.sending.insert(id, Sending { left: e.request, head: true, trailers: e.trailers, done });
            server.sending.insert(id, Sending { left: e.response, head: false, trailers: e.trailers, done: false });
        }
        let mut idle = 0;
        while idle < 3 {
            client.pump(chunk);
            let mut octets = std::mem::take(&mut client.side.out);
            let mut moved = octets.len();
            for part in octets.chunks(cut) {
                for event in server.take(part) {
                    match event {
                        Seen::Head { id, .. } => {
                            server.side.respond(id, 200, false);
                            server.sending.get_mut(&id).unwrap().head = true;
                            if exchanges[(id / 2) as usize].reset {
                                let key = server.side.key(id);
                                server.side.conn.reset(key, Code::CANCEL, &mut server.side.out);
                            }
                        }
                        Seen::Rejected { .. } | Seen::Reset { cause: Cause::Error(_), .. } => panic!("{event:?}"),
                        _ => {}
                    }
                }
            }
            server.pump(chunk);
            octets = std::mem::take(&mut server.side.out);
            moved += octets.len();
            for part in octets.chunks(cut) {
                for event in client.take(part) {
                    prop_assert!(!matches!(event, Seen::Reset { cause: Cause::Error(_), .. }), "{event:?}");
                }
            }
            client.side.conn.flushed();
            server.side.conn.flushed();
            idle = if moved == 0 { idle + 1 } else { 0 };
        }
        prop_assert_eq!(client.side.conn.open_streams(), 0);
        prop_assert_eq!(server.side.conn.open_streams(), 0);
        for (n, e) in exchanges.iter().enumerate().filter(|(_, e)| !e.reset) {
            let id = 2 * n as u32 + 1;
            prop_assert_eq!(server.received[&id], (e.request, true, e.trailers));
            prop_assert_eq!(client.received[&id], (e.response, true, e.trailers));
        }
    }
}
