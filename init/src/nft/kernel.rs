//! Tables to the kernel and back: one transaction writes, three lists read.

use super::{Chain, Expr, Family, Hook, Kind, MAX_COMMENT, Rule, Table, expr};
use crate::netlink::{
    Attr, Attrs, Error, Malformed, Message, Protocol, Socket,
    attr::{find, need, parse},
    message::{APPEND, CREATE},
};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

/// Message types (nf_tables.h, NFT_MSG_*).
mod kind {
    pub(super) const NEW_TABLE: u16 = 0;
    pub(super) const GET_TABLE: u16 = 1;
    pub(super) const DELETE_TABLE: u16 = 2;
    pub(super) const NEW_CHAIN: u16 = 3;
    pub(super) const GET_CHAIN: u16 = 4;
    pub(super) const NEW_RULE: u16 = 6;
    pub(super) const GET_RULE: u16 = 7;
}

/// The table goes when the socket that made it is closed, and nobody else may change it.
const TABLE_OWNER: u32 = 2;
const POLICY_ACCEPT: u32 = 1;
/// User data of a rule, as libnftnl lays it out: type, length, value; type 0 is the comment.
const COMMENT: u8 = 0;

/// Changes that are made together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    messages: Vec<Message>,
}

impl Transaction {
    /// No changes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `table` in the place of whatever has its name, which need not exist.
    #[must_use]
    pub fn replace(self, table: &Table) -> Self {
        self.remove(table.family, &table.name).add(table, 0)
    }

    /// Adds a table that the kernel removes when the socket this transaction is sent on is closed: not even
    /// `kill -9` leaves it behind. Linux 5.12 or later.
    #[must_use]
    pub fn add_owned(self, table: &Table) -> Self {
        self.add(table, TABLE_OWNER)
    }

    /// Removes a table with all that is in it; it need not exist.
    #[must_use]
    pub fn remove(mut self, family: Family, name: &str) -> Self {
        // Adding first makes the removal of a table that is not there succeed, on every kernel.
        let attrs = Attrs::new().str(1, name);
        self.push(kind::NEW_TABLE, CREATE, family, attrs.clone(), format!("find table {name}"));
        self.push(kind::DELETE_TABLE, 0, family, attrs, format!("remove table {name}"));
        self
    }

    fn add(mut self, table: &Table, flags: u32) -> Self {
        let named = || Attrs::new().str(1, &table.name);
        let action = format!("add table {}", table.name);
        self.push(kind::NEW_TABLE, CREATE, table.family, named().be32(2, flags), action);
        for chain in &table.chains {
            let hook = Attrs::new()
                .be32(1, chain.hook.number())
                .be32(2, u32::from_ne_bytes(chain.priority.to_ne_bytes()));
            let attrs =
                named().str(3, &chain.name).nest(4, hook).be32(5, POLICY_ACCEPT).str(7, chain.kind.name());
            self.push(kind::NEW_CHAIN, CREATE, table.family, attrs, format!("add chain {}", chain.name));
        }
        for chain in &table.chains {
            for rule in &chain.rules {
                let attrs = rule_attrs(named().str(2, &chain.name), rule);
                let action = format!("add a rule to chain {}: {}", chain.name, rule);
                self.push(kind::NEW_RULE, CREATE | APPEND, table.family, attrs, action);
            }
        }
        self
    }

    /// Sends the changes: all of them are made, or none.
    pub fn commit(&self, socket: &mut Socket) -> Result<(), Error> {
        let mark = |kind, action: &str| Message {
            kind,
            flags: 0,
            header: nfgenmsg(0, SUBSYSTEM),
            attrs: Attrs::new(),
            action: action.into(),
        };
        let mut messages = vec![mark(BATCH_BEGIN, "begin a change of the packet filter")];
        messages.extend_from_slice(&self.messages);
        messages.push(mark(BATCH_END, "change the packet filter"));
        socket.batch(&messages, 1)
    }

    /// The messages as they would be sent, without the marks around them.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    fn push(&mut self, kind: u16, flags: u16, family: Family, attrs: Attrs, action: String) {
        let header = nfgenmsg(family.number(), 0);
        self.messages.push(Message { kind: SUBSYSTEM << 8 | kind, flags, header, attrs, action });
    }
}

/// Reads a table with its chains and rules; `None` if there is none of this name.
pub fn list(family: Family, name: &str) -> Result<Option<Table>, Error> {
    let mut socket = Socket::open(Protocol::Netfilter)?;
    let action = format!("list table {name}");
    let mut read = |get: u16, new: u16, attrs: Attrs| -> Result<Vec<Vec<u8>>, Error> {
        let message = Message {
            kind: SUBSYSTEM << 8 | get,
            flags: 0,
            header: nfgenmsg(family.number(), 0),
            attrs,
            action: action.clone(),
        };
        let objects = socket.list(&message)?;
        Ok(objects.into_iter().filter(|(k, _)| *k == SUBSYSTEM << 8 | new).map(|(_, p)| p).collect())
    };
    let tables = read(kind::GET_TABLE, kind::NEW_TABLE, Attrs::new())?;
    let chains = read(kind::GET_CHAIN, kind::NEW_CHAIN, Attrs::new())?;
    let rules = read(kind::GET_RULE, kind::NEW_RULE, Attrs::new().str(1, name))?;
    assemble(family, name, &tables, &chains, &rules)
        .map_err(|source| Error::Answer { action: action.clone(), source })
}

/// Puts a table together from what the kernel lists: the payloads of its tables, chains and rules, each with the fixed part
/// and the attributes. `None` if there is no table of this name.
///
/// # Errors
/// What is listed is not made of attributes, or lacks one.
pub fn assemble(
    family: Family,
    name: &str,
    tables: &[Vec<u8>],
    chains: &[Vec<u8>],
    rules: &[Vec<u8>],
) -> Result<Option<Table>, Malformed> {
    let mut exists = false;
    for payload in tables {
        let (f, attrs) = split(payload)?;
        exists |= f == family.number() && need(&attrs, 1)?.as_str()? == name;
    }
    if !exists {
        return Ok(None);
    }
    let mut table = Table { family, name: name.to_owned(), chains: Vec::new() };
    for payload in chains {
        let (f, attrs) = split(payload)?;
        if f == family.number() && need(&attrs, 1)?.as_str()? == name {
            table.chains.extend(read_chain(&attrs)?);
        }
    }
    for payload in rules {
        let (f, attrs) = split(payload)?;
        if f == family.number() && need(&attrs, 1)?.as_str()? == name {
            let chain = need(&attrs, 2)?.as_str()?;
            let rule = read_rule(&attrs)?;
            if let Some(chain) = table.chains.iter_mut().find(|c| c.name == chain) {
                chain.rules.push(rule);
            }
        }
    }
    Ok(Some(table))
}

/// A chain without its rules; `None` for one without a hook or of a kind weft does not use.
fn read_chain(attrs: &[Attr<'_>]) -> Result<Option<Chain>, Malformed> {
    let (Some(hook), Some(kind)) = (find(attrs, 4), find(attrs, 7)) else { return Ok(None) };
    let hook = hook.nested()?;
    let kind = match kind.as_str()? {
        "nat" => Kind::Nat,
        "filter" => Kind::Filter,
        _ => return Ok(None),
    };
    let Some(at) = Hook::from_number(need(&hook, 1)?.as_be32()?) else { return Ok(None) };
    Ok(Some(Chain {
        name: need(attrs, 3)?.as_str()?.to_owned(),
        kind,
        hook: at,
        priority: i32::from_ne_bytes(need(&hook, 2)?.as_be32()?.to_ne_bytes()),
        rules: Vec::new(),
    }))
}

fn rule_attrs(attrs: Attrs, rule: &Rule) -> Attrs {
    let list = expr::compile(&rule.parts).iter().fold(Attrs::new(), |list, e| list.nest(1, e.encode()));
    let attrs = attrs.nest(4, list);
    match &rule.comment {
        Some(comment) => attrs.bytes(7, &user_data(comment)),
        None => attrs,
    }
}

fn read_rule(attrs: &[Attr<'_>]) -> Result<Rule, Malformed> {
    let mut exprs = Vec::new();
    if let Some(list) = find(attrs, 4) {
        for element in list.nested()? {
            exprs.push(Expr::decode(&element.nested()?)?);
        }
    }
    let comment = find(attrs, 7).and_then(|data| read_user_data(data.value));
    Ok(Rule { parts: expr::recognise(&exprs), comment })
}

fn user_data(comment: &str) -> Vec<u8> {
    let text: Vec<u8> = comment.bytes().take(MAX_COMMENT).chain([0]).collect();
    let mut data = vec![COMMENT, u8::try_from(text.len()).unwrap_or(u8::MAX)];
    data.extend(text);
    data
}

fn read_user_data(mut data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = data {
        let (value, after) = rest.split_at_checked(usize::from(*length))?;
        if *kind == COMMENT {
            let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
            return value.get(..end).map(|v| String::from_utf8_lossy(v).into_owned());
        }
        data = after;
    }
    None
}

/// The fixed part of every nfnetlink message.
fn nfgenmsg(family: u8, resource: u16) -> Vec<u8> {
    let [high, low] = resource.to_be_bytes();
    vec![family, 0, high, low]
}

fn split(payload: &[u8]) -> Result<(u8, Vec<Attr<'_>>), Malformed> {
    match payload {
        [family, _, _, _, attrs @ ..] => Ok((*family, parse(attrs)?)),
        _ => Err(Malformed::Length { length: 4, available: payload.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Part, *};
    use crate::plan::{Family as IpFamily, PortRange};
    use proptest::prelude::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Checked against what `nft --debug=netlink` and `strace -e sendmsg nft -f` show for the same rules.
    #[cfg(target_endian = "little")]
    #[test]
    fn bytes_of_rules() {
        let lo = "6c6f0000000000000000000000000000";
        for (parts, expect) in [
            (
                vec![Part::Uid(2102), Part::Return],
                "24000180 09000100 6d65746100 000000 14000280 08000100 00000001 08000200 0000000a \
                 2c000180 08000100 636d7000 20000280 08000100 00000001 08000200 00000000 0c000380 08000100 36080000 \
                 30000180 0e000100 696d6d65646961746500 0000 1c000280 08000100 00000000 10000280 0c000280 08000100 fffffffb"
                    .to_owned(),
            ),
            (
                vec![Part::OutLink("lo".into()), Part::Return],
                format!(
                    "24000180 09000100 6d65746100 000000 14000280 08000100 00000001 08000200 00000007 \
                     38000180 08000100 636d7000 2c000280 08000100 00000001 08000200 00000000 18000380 14000100 {lo} \
                     30000180 0e000100 696d6d65646961746500 0000 1c000280 08000100 00000000 10000280 0c000280 08000100 fffffffb"
                ),
            ),
            (
                vec![Part::Tcp, Part::Redirect(4140)],
                "24000180 09000100 6d65746100 000000 14000280 08000100 00000001 08000200 00000010 \
                 2c000180 08000100 636d7000 20000280 08000100 00000001 08000200 00000000 0c000380 05000100 06000000 \
                 2c000180 0e000100 696d6d65646961746500 0000 18000280 08000100 00000001 0c000280 06000100 102c0000 \
                 1c000180 0a000100 726564697200 0000 0c000280 08000100 00000001"
                    .to_owned(),
            ),
        ] {
            let rule = Rule { parts, comment: None };
            let attrs = rule_attrs(Attrs::new(), &rule);
            let list = &attrs.as_bytes()[4..];
            assert_eq!(hex(list), expect.replace(' ', ""), "{rule}");
        }
        assert_eq!(hex(&user_data("hi")), "0003686900");
    }

    #[test]
    fn comments_come_back() {
        for text in ["", "proxy-init/ignore-port-4190,4191", &"x".repeat(MAX_COMMENT)] {
            assert_eq!(read_user_data(&user_data(text)).as_deref(), Some(text));
        }
        assert_eq!(
            read_user_data(&[1, 1, 9, 0, 3, b'h', b'i', 0]).as_deref(),
            Some("hi"),
            "after another entry"
        );
        assert_eq!(read_user_data(&[0, 9, 1]), None, "a length past the end");
        assert_eq!(read_user_data(&[]), None);
    }

    #[test]
    fn a_transaction_clears_the_name_first() {
        let table = Table {
            family: Family::Inet,
            name: "t".into(),
            chains: vec![Chain::nat("out", Hook::Output, -100)],
        };
        let kinds: Vec<_> =
            Transaction::new().replace(&table).messages().iter().map(|m| m.kind & 0xff).collect();
        assert_eq!(kinds, [kind::NEW_TABLE, kind::DELETE_TABLE, kind::NEW_TABLE, kind::NEW_CHAIN]);
    }

    fn part() -> impl Strategy<Value = Part> {
        let port =
            (any::<u16>(), any::<u16>()).prop_map(|(a, b)| PortRange { low: a.min(b), high: a.max(b) });
        let net = prop_oneof![
            (any::<[u8; 4]>(), 0u8..=32).prop_map(|(a, p)| ipnet::IpNet::new(a.into(), p).unwrap().trunc()),
            (any::<[u8; 16]>(), 0u8..=128).prop_map(|(a, p)| ipnet::IpNet::new(a.into(), p).unwrap().trunc()),
        ];
        prop_oneof![
            Just(Part::Family(IpFamily::V4)),
            Just(Part::Family(IpFamily::V6)),
            Just(Part::Tcp),
            any::<u32>().prop_map(Part::Uid),
            any::<u32>().prop_map(Part::Gid),
            any::<u32>().prop_map(Part::Mark),
            "[a-z][a-z0-9.-]{0,14}".prop_map(Part::InLink),
            "[a-z][a-z0-9.-]{0,14}".prop_map(Part::OutLink),
            "[a-z][a-z0-9.-]{0,14}".prop_map(Part::NotOutLink),
            port.prop_map(Part::Port),
            any::<u16>().prop_map(|p| Part::Port(PortRange::one(p))),
            net.clone().prop_map(Part::Source),
            net.prop_map(Part::NotDestination),
            Just(Part::Return),
            Just(Part::Accept),
            any::<u16>().prop_map(Part::Redirect),
            Just(Part::Masquerade),
        ]
    }

    proptest! {
        #[test]
        fn a_rule_is_recognised_in_its_bytes(parts in prop::collection::vec(part(), 0..6), comment in prop::option::of("[ -~]{0,128}")) {
            let rule = Rule { parts, comment };
            let attrs = rule_attrs(Attrs::new(), &rule);
            prop_assert!(!attrs.overflowed());
            prop_assert_eq!(read_rule(&parse(attrs.as_bytes()).unwrap()).unwrap(), rule);
        }

        #[test]
        fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..120), flip in any::<prop::sample::Index>(), to in any::<u8>()) {
            let one = [bytes];
            let _ = assemble(Family::Inet, "t", &one, &one, &one);
            // Almost right is worse than random.
            let rule = Rule { parts: vec![Part::Tcp, Part::Port(PortRange::one(80)), Part::Redirect(1)], comment: Some("c".into()) };
            let mut bytes = rule_attrs(Attrs::new().str(1, "t").str(2, "out"), &rule).after(&[1, 0, 0, 0]).as_bytes().to_vec();
            let at = flip.index(bytes.len());
            bytes[at] = to;
            let one = [bytes];
            let _ = assemble(Family::Inet, "t", &one, &one, &one);
        }
    }
}
