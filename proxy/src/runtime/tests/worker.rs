//! The real worker on the event loop: a meshed connection over loopback, from TLS to the application and back.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use weft_engine::Worker;
use weft_engine::metrics::Registry;
use weft_net::tls::{Identity, Issued, Offer, Received, Roots, Target, TlsConn, WallClock};
use weft_net::transport_header::TransportHeader;
use weft_policy::inbound::DefaultPolicy;

use super::*;

const WEB: &str = "web.default.serviceaccount.identity.linkerd.cluster.local";
const API: &str = "api.default.serviceaccount.identity.linkerd.cluster.local";

fn identities(names: [&str; 2]) -> [Identity; 2] {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    names.map(|name| {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &ca).unwrap();
        let issued = Issued { chain: vec![leaf.der().to_vec()], key: key.serialize_der() };
        let roots = Roots::from_der([ca.der().to_vec()]).unwrap();
        Identity::new(name.parse().unwrap(), name.parse().unwrap(), issued, roots, WallClock::System).unwrap()
    })
}

/// An application that sends back all it gets, then ends.
fn application() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            std::thread::spawn(move || io::copy(&mut stream.try_clone().unwrap(), &mut stream));
        }
    });
    port
}

/// A client's end of a TLS connection over a socket that blocks.
struct Meshed {
    tls: TlsConn,
    socket: TcpStream,
    plaintext: Vec<u8>,
    closed: bool,
}

impl Meshed {
    fn write(&mut self) {
        while self.tls.wants_write() {
            self.tls.write_to(&mut self.socket).unwrap();
        }
    }

    fn read(&mut self) -> Received {
        let mut buf = vec![0; 16 * 1024];
        let len = self.socket.read(&mut buf).unwrap();
        assert!(len > 0, "the stream was cut");
        let received = self.tls.receive(&buf[..len], &mut self.plaintext).unwrap();
        self.closed |= received.closed;
        received
    }

    fn connect(address: SocketAddr, target: &Target) -> Self {
        let tls = TlsConn::client(target).unwrap();
        let mut meshed = Self { tls, socket: client(address), plaintext: Vec::new(), closed: false };
        while meshed.tls.is_handshaking() {
            meshed.write();
            meshed.read();
        }
        meshed.write();
        assert!(meshed.tls.is_tagged());
        meshed
    }

    fn send(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let sent = self.tls.send(&[IoSlice::new(data)]).unwrap();
            data = &data[sent..];
            self.write();
        }
    }
}

#[tokio::test]
async fn a_meshed_connection_reaches_the_application() {
    let port = application();
    let [web, api] = identities([WEB, API]);
    let config = config(2, |_| ());
    let listeners = Listeners::bind(&config).unwrap();
    let inbound = listeners.inbound()[0];
    let registry = Arc::<Registry>::default();
    let counted = Arc::clone(&registry);
    let (runtime, mut questions) = start(&config, listeners, move |number, shell| {
        let policy = Arc::new(DefaultPolicy::AllAuthenticated.server(&[], true, PATIENCE));
        let mut config = weft_engine::Config::with_default_policy(policy);
        config.worker = number;
        config.inbound.listen_port = inbound.port();
        Worker::new(config, Arc::clone(&registry), shell)
    })
    .unwrap();
    let handle = runtime.handle();
    handle.identity(&api).unwrap();
    handle.accept();

    let mut header = Vec::new();
    TransportHeader { port: port.try_into().unwrap(), name: None, protocol: None }.encode(&mut header);
    let data = noise(200_000, 3);
    let expected = API.parse::<weft_names::DnsName>().unwrap();
    let target = web.target(expected.clone().into(), &expected, Offer::Tagged).unwrap();
    for connection in 0..5 {
        let mut meshed = Meshed::connect(inbound, &target);
        assert_eq!(meshed.tls.is_resumed(), connection > 0, "by whichever worker");
        meshed.send(&header);
        for part in data.chunks(20_000) {
            meshed.send(part);
            let wanted = meshed.plaintext.len() + part.len();
            while meshed.plaintext.len() < wanted {
                meshed.read();
            }
        }
        assert!(meshed.plaintext == data);
        // Our end is the application's, and its end is ours.
        meshed.tls.close();
        meshed.write();
        while !meshed.closed {
            meshed.read();
        }
    }
    // Nobody answers, and the default policy serves.
    let asked = tokio::time::timeout(PATIENCE, questions.next()).await.unwrap();
    assert_eq!(asked.1, Question::Port { port });

    handle.drain();
    ended(runtime).await;
    let handshakes = |kind: usize| {
        let mut sum = 0;
        counted.workers.visit(|_, blocks, _| {
            sum += blocks.iter().map(|worker| worker.handshakes_accepted[kind].get()).sum::<u64>();
        });
        sum
    };
    assert_eq!((handshakes(0), handshakes(1)), (1, 4), "full and resumed");
}
