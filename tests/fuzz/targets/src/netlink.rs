//! What the kernel answers over netlink: never harmful, and a table that was read is read again from what would be sent to
//! make it.
//!
//! Input: a byte that chooses the reader, then bytes.

use std::collections::BTreeMap;

use weft_init::{
    Plan, Redirection,
    netlink::{
        attr::{self, Attrs, find},
        message::{Received, parse},
        route::{parse_address, parse_link, parse_route},
    },
    nft::{Chain, Expr, Family, Hook, Part, Rule, Table, Transaction, assemble, expr},
    plan, render,
    render::iptables::{Saved, put_back, remove, restore},
};

use crate::input::Input;

/// The table that is looked for.
const TABLE: &str = "weft";
/// The length of a message's header.
const HEADER: usize = 16;

/// The target.
///
/// # Panics
/// When a property does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let which = input.below(5);
    let bytes = input.rest();
    match which {
        0 => messages(bytes),
        1 => attributes(bytes),
        2 => expression(bytes),
        3 => table(bytes),
        _ => saved(&String::from_utf8_lossy(bytes)),
    }
}

fn messages(bytes: &[u8]) {
    let Ok(received) = parse(bytes) else { return };
    let mut length = 0;
    for message in received {
        length += HEADER;
        match message {
            Received::Object { payload, .. } => {
                length += payload.len();
                let _ = (parse_link(payload), parse_address(payload), parse_route(payload));
                let _ = assemble(Family::Inet, TABLE, &[payload.to_vec()], &[], &[]);
            }
            Received::Refused { errno, .. } => assert!(errno > 0, "an error has a number"),
            Received::Done { .. } => {}
        }
    }
    assert!(length <= bytes.len() + HEADER, "no byte is read twice");
}

fn attributes(bytes: &[u8]) {
    let Ok(attrs) = attr::parse(bytes) else { return };
    let mut again = Attrs::new();
    for a in &attrs {
        let _ = (a.as_u32(), a.as_be32(), a.as_str(), a.array::<16>(), a.nested());
        assert!(find(&attrs, a.kind).is_some());
        again = again.bytes(a.kind, a.value);
    }
    assert!(!again.overflowed());
    assert_eq!(attr::parse(again.as_bytes()).as_ref(), Ok(&attrs));
}

fn expression(bytes: &[u8]) {
    let Ok(attrs) = attr::parse(bytes) else { return };
    let Ok(read) = Expr::decode(&attrs) else { return };
    let encoded = read.encode();
    if encoded.overflowed() {
        return;
    }
    let again = Expr::decode(&attr::parse(encoded.as_bytes()).expect("what we wrote"));
    match read {
        // Of what is not ours only the name is kept.
        Expr::Other(_) => drop(again),
        read => {
            assert_eq!(again.as_ref(), Ok(&read));
            let parts = expr::recognise(std::slice::from_ref(&read));
            assert_eq!(parts.len(), 1);
        }
    }
}

/// The lists of tables, chains and rules are told apart by the type of each message.
fn table(bytes: &[u8]) {
    let Ok(received) = parse(bytes) else { return };
    let mut lists: BTreeMap<u16, Vec<Vec<u8>>> = BTreeMap::new();
    for message in received {
        if let Received::Object { kind, payload, .. } = message {
            lists.entry(kind & 0xff).or_default().push(payload.to_vec());
        }
    }
    let list = |lists: &BTreeMap<u16, Vec<Vec<u8>>>, kind| lists.get(&kind).cloned().unwrap_or_default();
    let read = |lists| assemble(Family::Inet, TABLE, &list(lists, 0), &list(lists, 3), &list(lists, 6));
    let Ok(Some(table)) = read(&lists) else { return };
    let ours = |part: &Part| !matches!(part, Part::Unknown(_));
    for chain in &table.chains {
        for rule in &chain.rules {
            assert!(!rule.to_string().is_empty() || rule.parts.is_empty());
        }
    }
    // What is sent to make the same table is read as the same table.
    let mut sent: BTreeMap<u16, Vec<Vec<u8>>> = BTreeMap::new();
    for message in Transaction::new().add_owned(&table).messages() {
        if message.attrs.overflowed() {
            return;
        }
        let bytes = message.encode(1);
        sent.entry(message.kind & 0xff).or_default().push(bytes[HEADER..].to_vec());
    }
    let all_ours = table.chains.iter().flat_map(|c| &c.rules).all(|rule| {
        rule.parts.iter().all(ours)
            && rule.comment.as_ref().is_none_or(|c| c.len() <= weft_init::nft::MAX_COMMENT)
    });
    let mut names: Vec<_> = table.chains.iter().map(|c| &c.name).collect();
    names.dedup();
    // Of an expression that is not ours only the name is known, which is not enough to write it.
    let again = match read(&sent) {
        Err(_) if !all_ours => return,
        again => again.expect("what we wrote").expect("it is there"),
    };
    if all_ours && names.len() == table.chains.len() && table.chains.len() < 2 {
        assert_eq!(again, table);
    } else {
        assert_eq!(again.chains.len(), table.chains.len());
    }
}

/// What iptables-save prints.
fn saved(text: &str) {
    let saved = Saved::parse(text);
    let plan = Plan::new(&Redirection::standard());
    for family in [plan::Family::V4, plan::Family::V6] {
        assert!(restore(&plan, family, &saved).ends_with("COMMIT\n"));
        let _ = saved.differences(&plan, family);
    }
    assert_eq!(remove(&saved).is_none(), saved == Saved::default());
    assert_eq!(put_back(&saved, &saved), None);
    let nothing = Saved::default();
    if let Some(text) = put_back(&saved, &nothing) {
        // Chains are put back in the order of their names, and then as they are.
        let once = Saved::parse(&text);
        assert_eq!(put_back(&once, &nothing).map(|text| Saved::parse(&text)), Some(once));
    }
}

/// What is sent to make tables, which has the form of what is listed.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let sent = |table: &Table| {
        let messages = Transaction::new().replace(table);
        messages.messages().iter().flat_map(|m| m.encode(7)).collect::<Vec<u8>>()
    };
    let mut seeds = Vec::new();
    let standard = Plan::new(&Redirection { exempt_mark: Some(9), ..Redirection::standard() });
    let table = Table { name: TABLE.into(), ..render::nft(&standard) };
    seeds.push([&[3], &sent(&table)[..]].concat());
    seeds.push([&[0], &sent(&table)[..]].concat());
    let mut small = Chain::nat("out", Hook::Output, -100);
    small.push(
        vec![Part::Tcp, Part::Port(weft_init::PortRange { low: 80, high: 90 }), Part::Redirect(4140)],
        "a",
    );
    small.push(vec![Part::Uid(2102), Part::Return], "b");
    small
        .rules
        .push(Rule { parts: vec![Part::Source("10.0.0.0/8".parse().unwrap()), Part::Accept], comment: None });
    let table = Table { family: Family::Inet, name: TABLE.into(), chains: vec![small] };
    seeds.push([&[3], &sent(&table)[..]].concat());
    for e in [
        Expr::Meta(10),
        Expr::Redirect,
        Expr::Masquerade,
        Expr::Verdict(-5),
        Expr::Load(vec![0, 80]),
        Expr::Mask(vec![255, 0]),
        Expr::Other("ct".into()),
    ] {
        seeds.push([&[2], e.encode().as_bytes()].concat());
        seeds.push([&[1], e.encode().as_bytes()].concat());
    }
    // An acknowledgement, a refusal with a sentence, the end of a list.
    let refusal = [
        &(-2_i32).to_ne_bytes()[..],
        &[16, 0, 0, 0, 6, 10, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        Attrs::new().str(1, "No such file").as_bytes(),
    ]
    .concat();
    for (kind, flags, payload) in [
        (2_u16, 0_u16, &[0, 0, 0, 0][..]),
        (2, 0x200, &refusal),
        (3, 2, &[0, 0, 0, 0]),
        (3, 2, &[252, 255, 255, 255]),
    ] {
        let length = u32::try_from(HEADER + payload.len()).unwrap();
        seeds.push(
            [
                &[0],
                &length.to_ne_bytes()[..],
                &kind.to_ne_bytes(),
                &flags.to_ne_bytes(),
                &[1, 0, 0, 0, 0, 0, 0, 0],
                payload,
            ]
            .concat(),
        );
    }
    let link = Attrs::new()
        .str(3, "eth0")
        .u32(4, 1500)
        .bytes(1, &[2, 0, 0, 0, 0, 1])
        .u8(16, 6)
        .nest(18, Attrs::new().str(1, "veth"));
    let link = [&[0_u8, 0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0][..], link.as_bytes()].concat();
    let route = Attrs::new().bytes(1, &[10, 0, 0, 0]).bytes(5, &[10, 0, 0, 1]).u32(4, 2).u32(15, 254);
    let route = [&[2_u8, 8, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0][..], route.as_bytes()].concat();
    for payload in [link, route] {
        let length = u32::try_from(HEADER + payload.len()).unwrap();
        seeds.push(
            [&[0], &length.to_ne_bytes()[..], &[16, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0], &payload].concat(),
        );
    }
    let text = restore(&standard, plan::Family::V4, &Saved::default());
    seeds.push([&[4], text.as_bytes()].concat());
    seeds.push(b"\x04*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -m comment --comment \"a b\" -j PROXY_INIT_REDIRECT\nCOMMIT\n".to_vec());
    seeds
}
