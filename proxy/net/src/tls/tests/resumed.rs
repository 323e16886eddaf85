//! Sessions that are resumed, and those that must not be.

use std::sync::Mutex;
use std::time::Duration;

use rustls::client::{
    ClientSessionStore, ResolvesClientCert, TicketRequest, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::sign::CertifiedKey;
use rustls::{NamedGroup, SignatureScheme};

use super::*;
use crate::detect;

/// A handshake, then a byte from the server, with which its ticket goes. Whether both resumed.
fn talked(client: &mut TlsConn, server: &mut TlsConn) -> bool {
    let talk = handshake(client, server);
    assert!(talk.client.is_ok() && talk.server.is_ok(), "{talk:?}");
    assert_eq!(client.is_resumed(), server.is_resumed());
    assert!(!server.wants_write(), "a ticket is no reason to write");
    assert_eq!(exchange(server, client, b"x", usize::MAX), b"x");
    assert_eq!(exchange(client, server, b"y", usize::MAX), b"y");
    client.is_resumed()
}

fn meet(target: &Target, api: &Identity, offer: Offer) -> bool {
    let mut client = TlsConn::client(target).unwrap();
    let mut server = server(api, offer);
    let resumed = talked(&mut client, &mut server);
    assert_eq!(client.peer(), Some(target.expected()));
    assert_eq!(server.peer(), target.ours());
    assert_eq!((client.is_tagged(), server.is_tagged()), (offer == Offer::Tagged, offer == Offer::Tagged));
    resumed
}

fn target(web: &Identity, expected: &str) -> Target {
    web.target(id(expected), &sni(), Offer::Plain).unwrap()
}

#[test]
fn the_second_connection_is_resumed_and_both_know_who_it_is() {
    let ca = Ca::new();
    for (web, api) in
        [(WEB, API), ("spiffe://cluster.local/ns/a/sa/web", "spiffe://cluster.local/ns/a/sa/api")]
    {
        for offer in [Offer::Plain, Offer::Tagged] {
            let (web, api) = (ca.identity(web), ca.identity(api));
            let target = web.target(api.name().clone(), &sni(), offer).unwrap();
            let resumed: Vec<bool> = (0..4).map(|_| meet(&target, &api, offer)).collect();
            assert_eq!(resumed, [false, true, true, true], "{offer:?}");
            assert_eq!(web.tickets_kept(), 1, "one is used, one comes");
        }
    }
}

/// RFC 8446 section 2.2: with (EC)DHE, and with the group that a full handshake has.
#[test]
fn a_resumed_connection_has_keys_of_its_own() {
    let ca = Ca::new();
    let (web, api) = (ca.identity(WEB), ca.identity(API));
    let target = target(&web, API);
    meet(&target, &api, Offer::Plain);
    let (mut client, mut server) = (TlsConn::client(&target).unwrap(), server(&api, Offer::Plain));
    assert!(talked(&mut client, &mut server));
    let expected = Some(("TLS13_AES_128_GCM_SHA256", "X25519MLKEM768"));
    assert_eq!((client.parameters(), server.parameters()), (expected, expected));
}

#[test]
fn any_worker_of_a_server_resumes_what_another_began() {
    let ca = Ca::new();
    let (web, api) = (ca.identity(WEB), ca.identity(API));
    let target = target(&web, API);
    assert!(!meet(&target, &api.for_worker().unwrap(), Offer::Plain));
    assert!(meet(&target, &api.for_worker().unwrap(), Offer::Plain));
    // A client's workers keep their own.
    let (one, other) = (web.for_worker().unwrap(), web.for_worker().unwrap());
    let target = one.target(id(API), &sni(), Offer::Plain).unwrap();
    meet(&target, &api, Offer::Plain);
    assert_eq!((one.tickets_kept(), other.tickets_kept()), (1, 0));
}

#[test]
fn a_session_ends_a_minute_after_it_began_however_often_it_was_resumed() {
    let ca = Ca::new();
    let seconds = Arc::new(AtomicU64::new(NOW));
    let at = || WallClock::Set(Arc::clone(&seconds));
    let (web, api) = (ca.identity_at(WEB, at()), ca.identity_at(API, at()));
    let target = target(&web, API);
    let mut resumed = Vec::new();
    for after in [0, 1, 30, 59, 60, 61, 119, 120] {
        seconds.store(NOW + after, Ordering::Relaxed);
        resumed.push(meet(&target, &api, Offer::Plain));
    }
    assert_eq!(resumed, [false, true, true, true, false, true, true, false]);
    assert_eq!(web.tickets_kept(), 1, "expired ones are dropped");
}

/// The client would like to go on; each clock decides for itself.
#[test]
fn a_server_does_not_resume_what_is_over_by_its_own_clock() {
    let ca = Ca::new();
    let seconds = Arc::new(AtomicU64::new(NOW));
    let (web, api) = (ca.identity(WEB), ca.identity_at(API, WallClock::Set(Arc::clone(&seconds))));
    let target = target(&web, API);
    assert!(!meet(&target, &api, Offer::Plain));
    seconds.store(NOW + 60, Ordering::Relaxed);
    assert!(!meet(&target, &api, Offer::Plain));
}

#[test]
fn a_new_certificate_of_either_side_and_other_roots_begin_anew() {
    let ca = Ca::new();
    let (web, api) = (ca.identity(WEB), ca.identity(API));
    let before = target(&web, API);
    assert!(!meet(&before, &api, Offer::Plain) && meet(&before, &api, Offer::Plain));

    let renewed = ca.identity(API);
    assert!(!meet(&before, &renewed, Offer::Plain), "the server has another certificate");
    assert!(!meet(&target(&ca.identity(WEB), API), &api, Offer::Plain), "the client has another");

    let issued = ca.issue(&Leaf::new(API));
    let trusted = |roots: &[&Ca]| {
        let issued = Issued { chain: issued.chain.clone(), key: issued.key.clone() };
        let bundle: String = roots.iter().map(|ca| ca.root_pem()).collect();
        let roots = Roots::from_pem(bundle.as_bytes()).unwrap();
        Identity::new(id(API), sni(), issued, roots, clock()).unwrap()
    };
    let (one, two) = (trusted(&[&ca]), trusted(&[&ca, &Ca::new()]));
    let target = target(&web, API);
    assert!(!meet(&target, &one, Offer::Plain) && meet(&target, &one, Offer::Plain));
    assert!(!meet(&target, &two, Offer::Plain), "the server trusts others too");
}

#[test]
fn another_name_expected_begins_anew() {
    let ca = Ca::new();
    let web = ca.identity(WEB);
    // A server that is both.
    let second = "second.default.serviceaccount.identity.linkerd.cluster.local";
    let both = leaf(API, |l| l.params.subject_alt_names.push(san(second)));
    let api = Identity::new(id(API), sni(), ca.issue(&both), ca.roots(), clock()).unwrap();
    let (first, second) = (target(&web, API), target(&web, second));
    assert!(!meet(&first, &api, Offer::Plain) && meet(&first, &api, Offer::Plain));
    assert!(!meet(&second, &api, Offer::Plain), "proved to be it as well, but not in that session");
    // One that nobody has proved to be is refused as ever, with tickets of the right server at hand.
    let mut client = client(&web, WEB, Offer::Plain);
    let error = handshake(&mut client, &mut server(&api, Offer::Plain)).client.unwrap_err();
    assert_eq!(error.failure(), Failure::WrongName);
    // And for another offer.
    let tagged = web.target(id(API), &sni(), Offer::Tagged).unwrap();
    assert!(!meet(&tagged, &api, Offer::Tagged));
}

#[test]
fn clients_whose_certificate_has_expired_do_not_resume() {
    let ca = Ca::new();
    let seconds = Arc::new(AtomicU64::new(NOW));
    let api = ca.identity_at(API, WallClock::Set(Arc::clone(&seconds)));
    let issued = ca.issue(&leaf(WEB, |l| {
        l.params.not_after = rcgen::date_time_ymd(2030, 1, 1) + Duration::from_secs(30);
    }));
    // A client that does not care when its tickets end.
    let rogue = Rogue::new(Some(issued));
    assert!(!talked(&mut rogue.connect("proxy.test"), &mut server(&api, Offer::Plain)));
    seconds.store(NOW + 29, Ordering::Relaxed);
    assert!(talked(&mut rogue.connect("proxy.test"), &mut server(&api, Offer::Plain)));
    seconds.store(NOW + 31, Ordering::Relaxed);
    let mut server = server(&api, Offer::Plain);
    let talk = handshake(&mut rogue.connect("proxy.test"), &mut server);
    assert_eq!(talk.server.unwrap_err().failure(), Failure::Expired, "a full handshake was tried");
    assert!(!server.is_resumed() && server.peer().is_none());
}

#[test]
fn clients_whose_server_has_expired_do_not_resume() {
    let ca = Ca::new();
    let seconds = Arc::new(AtomicU64::new(NOW));
    let web = ca.identity_at(WEB, WallClock::Set(Arc::clone(&seconds)));
    let short = leaf(API, |l| {
        l.params.not_after = rcgen::date_time_ymd(2030, 1, 1) + Duration::from_secs(30);
    });
    // Its own clock stands still.
    let api = Identity::new(id(API), sni(), ca.issue(&short), ca.roots(), clock()).unwrap();
    let target = target(&web, API);
    assert!(!meet(&target, &api, Offer::Plain));
    seconds.store(NOW + 29, Ordering::Relaxed);
    assert!(meet(&target, &api, Offer::Plain));
    seconds.store(NOW + 31, Ordering::Relaxed);
    let mut client = TlsConn::client(&target).unwrap();
    let talk = handshake(&mut client, &mut server(&api, Offer::Plain));
    assert_eq!(talk.client.unwrap_err().failure(), Failure::Expired);
}

/// Stock Linkerd proxies and anybody else: none is sent to who has not asked.
#[test]
fn clients_that_do_not_ask_get_no_tickets() {
    let ca = Ca::new();
    let api = ca.identity(API);
    for (asks, expected) in [(0, 0), (1, 1), (9, 1)] {
        let rogue = Rogue { asks, ..Rogue::new(Some(ca.issue(&Leaf::new(WEB)))) };
        talked(&mut rogue.connect("proxy.test"), &mut server(&api, Offer::Plain));
        assert_eq!(rogue.slot.count(), expected, "asks for {asks}");
    }
}

#[test]
fn clients_without_a_certificate_get_no_tickets() {
    let ca = Ca::new();
    let api = ca.identity(API);
    let rogue = Rogue::new(None);
    talked(&mut rogue.connect("proxy.test"), &mut server(&api, Offer::Plain));
    assert_eq!(rogue.slot.count(), 0);
}

/// A ticket that opens but does not fit (another server name) proves nothing about who shows it.
#[test]
fn a_ticket_that_was_not_accepted_makes_nobody_somebody() {
    let ca = Ca::new();
    let api = ca.identity(API);
    let rogue = Rogue::new(Some(ca.issue(&Leaf::new(WEB))));
    talked(&mut rogue.connect("proxy.test"), &mut server(&api, Offer::Plain));
    assert_eq!(rogue.slot.count(), 1);
    *rogue.shows.0.lock().unwrap() = None;
    let mut server_ = server(&api, Offer::Plain);
    assert!(!talked(&mut rogue.connect("other.test"), &mut server_));
    assert_eq!((server_.peer(), rogue.slot.count()), (None, 1), "nobody, and without a ticket");
}

/// Servers that give what nobody asked for, and would resume it, as stock Linkerd proxies do.
#[test]
fn nothing_is_resumed_with_other_servers() {
    let ca = Ca::new();
    let web = ca.identity(WEB);
    let issued = ca.issue(&Leaf::new(API));
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain(&issued), key(issued))
        .unwrap();
    let config = Arc::new(config);
    let target = target(&web, API);
    for _ in 0..3 {
        let side = Side::Server(UnbufferedServerConnection::new(Arc::clone(&config)).unwrap());
        let mut server = TlsConn::new(side, None, None, Session::default());
        assert!(!talked(&mut TlsConn::client(&target).unwrap(), &mut server));
        assert_eq!(web.tickets_kept(), 0);
    }
}

#[test]
fn shells_other_than_ours_resume_nothing() {
    let ca = Ca::new();
    let (web, api) = (ca.identity(WEB), ca.identity(API));
    let target = target(&web, API);
    meet(&target, &api, Offer::Plain);
    assert_eq!(web.tickets_kept(), 1);
    let side = Side::Client(UnbufferedClientConnection::new(target.config(), target.server_name()).unwrap());
    let mut client = TlsConn::new(side, None, None, Session::default());
    assert!(!talked(&mut client, &mut server(&api, Offer::Plain)));
    assert_eq!(web.tickets_kept(), 1);

    let side = Side::Server(UnbufferedServerConnection::new(api.server_config()).unwrap());
    let mut server = TlsConn::new(side, None, None, Session::default());
    assert!(!talked(&mut TlsConn::client(&target).unwrap(), &mut server));
}

#[test]
fn tickets_that_were_changed_or_made_up_open_nothing() {
    let ca = Ca::new();
    let (web, api) = (ca.identity(WEB), ca.identity(API));
    let target = target(&web, API);
    meet(&target, &api, Offer::Plain);
    let mut hello = Vec::new();
    TlsConn::client(&target).unwrap().take_ciphertext(&mut hello);
    // The extension is the last: the ticket stands before its age and the binder.
    let (in_ticket, in_binder) = (hello.len() - 200, hello.len() - 1);
    for (at, failure) in [(in_ticket, None), (in_binder, Some(Failure::Malformed))] {
        let mut server = server(&api, Offer::Plain);
        let mut changed = hello.clone();
        changed[at] ^= 1;
        let result = server.receive(&changed, &mut Vec::new());
        assert_eq!(result.map_err(|error| error.failure()).err(), failure, "{at} of {}", hello.len());
        assert!(server.peer().is_none() && !server.is_resumed());
    }
}

#[test]
fn kept_tickets_are_bounded() {
    let ca = Ca::new();
    let (web, api) = (ca.identity(WEB), ca.identity(API));
    // So many at once that none can use the ticket of another.
    let burst = |target: &Target, count: usize| {
        let mut clients: Vec<_> = (0..count).map(|_| TlsConn::client(target).unwrap()).collect();
        let resumed =
            clients.iter_mut().map(|client| talked(client, &mut server(&api, Offer::Plain))).filter(|r| *r);
        resumed.count()
    };
    let targets: Vec<_> =
        (0..MAX_KEPT_TICKETS / MAX_KEPT_TICKETS_PER_TARGET + 1).map(|_| target(&web, API)).collect();
    let (first, others) = targets.split_first().unwrap();
    assert_eq!(burst(first, MAX_KEPT_TICKETS_PER_TARGET + 3), 0);
    assert_eq!(web.tickets_kept(), MAX_KEPT_TICKETS_PER_TARGET);
    assert_eq!(burst(first, MAX_KEPT_TICKETS_PER_TARGET + 3), MAX_KEPT_TICKETS_PER_TARGET);
    for other in others {
        burst(other, MAX_KEPT_TICKETS_PER_TARGET);
    }
    assert_eq!(web.tickets_kept(), MAX_KEPT_TICKETS);
    assert!(!meet(first, &api, Offer::Plain), "the oldest went");
    assert!(meet(others.last().unwrap(), &api, Offer::Plain));
    drop(targets);
    assert_eq!(web.tickets_kept(), 0, "nobody is left to use them");
}

/// What comes back in a ClientHello never makes it longer than protocol detection reads.
#[test]
fn long_chains_are_not_put_in_tickets() {
    let ca = Ca::new();
    let api = ca.identity(API);
    let mut longest = 0;
    for names in (0..60).step_by(4) {
        let issued = ca.issue(&leaf(WEB, |l| {
            l.params.subject_alt_names.extend((0..names).map(|n| san(&format!("{n:02}.{WEB}"))));
        }));
        let web = Identity::new(id(WEB), sni(), issued, ca.roots(), clock()).unwrap();
        let target = target(&web, API);
        meet(&target, &api, Offer::Plain);
        let kept = web.tickets_kept();
        let mut hello = Vec::new();
        TlsConn::client(&target).unwrap().take_ciphertext(&mut hello);
        assert!(matches!(detect::detect_tls(&hello), detect::Tls::Hello(_)), "{} bytes", hello.len());
        match kept {
            1 => longest = hello.len(),
            _ => assert!(longest > MAX_TICKET_LEN, "{longest}"),
        }
    }
    assert!(longest < detect::MAX_CLIENT_HELLO_LEN * 3 / 4, "{longest}");
}

// === a client that keeps its last ticket for ever and shows it to anybody

struct Rogue {
    shows: Arc<Shows>,
    slot: Arc<Slot>,
    asks: u8,
}

impl Rogue {
    fn new(issued: Option<Issued>) -> Self {
        let certified = issued.map(|issued| {
            let chain = chain(&issued);
            let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key(issued)).unwrap();
            Arc::new(CertifiedKey::new(chain, key))
        });
        Self { shows: Arc::new(Shows(Mutex::new(certified))), slot: Arc::default(), asks: 1 }
    }

    fn connect(&self, name: &'static str) -> TlsConn {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(self.slot.verifier())
            .with_client_cert_resolver(Arc::clone(&self.shows) as _);
        config.resumption = Resumption::store(Arc::clone(&self.slot) as _);
        config.send_ticket_request = (self.asks > 0)
            .then_some(TicketRequest { new_session_count: self.asks, resumption_count: self.asks });
        let name = ServerName::try_from(name).unwrap();
        TlsConn::new(client_side(config, name), None, None, Session::default())
    }
}

/// Shows a certificate, until it is taken away.
#[derive(Debug)]
struct Shows(Mutex<Option<Arc<CertifiedKey>>>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.lock().unwrap().clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Default)]
struct Slot {
    ticket: Mutex<Option<Tls13ClientSessionValue>>,
    count: AtomicU64,
    /// The same one each time: the library asks whether it is.
    verifier: std::sync::OnceLock<Arc<AnyServer>>,
}

impl Slot {
    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn verifier(&self) -> Arc<AnyServer> {
        Arc::clone(self.verifier.get_or_init(|| Arc::new(AnyServer)))
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slot")
    }
}

impl ClientSessionStore for Slot {
    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.count.fetch_add(1, Ordering::Relaxed);
        *self.ticket.lock().unwrap() = Some(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.ticket.lock().unwrap().take()
    }

    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
}
