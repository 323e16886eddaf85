//! Connections to control-plane services: look-up, TCP, mesh TLS, HTTP/2.
//!
//! A [`Channel`] connects when it is first used and again after it broke; waiting between attempts is the callers' part
//! ([`super::follow`]). Loopback services are spoken to in plaintext, all others over mesh TLS with the identity they must have.

use crate::config::{ControlService, Side, parse::ControlAddr};
use hickory_resolver::TokioResolver;
use hyper_util::rt::TokioIo;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
    sync::watch,
};
use tonic::transport::{Channel, Endpoint};
use weft_names::{DnsName, IdentityName};
use weft_net::tls::{Identity, IdentityError, Offer, Roots, Target, WallClock};

/// PINGs on connections to the control plane, so that a silent death is noticed.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// How long a PING may stay unanswered.
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// How long name look-up, connecting and handshake may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection that should prove who we are waits for the first certificate; then it is made without.
const FIRST_CERTIFICATE: Duration = Duration::from_secs(2);

/// How control-plane services are met: with our certificate once there is one, without before.
#[derive(Clone)]
pub struct Secure {
    roots: Roots,
    identity: watch::Receiver<Option<Arc<Identity>>>,
    waits: bool,
}

impl Secure {
    /// Against these roots, with the latest of `identity`.
    pub fn new(roots: Roots, identity: watch::Receiver<Option<Arc<Identity>>>) -> Self {
        Self { roots, identity, waits: false }
    }

    /// The same, but the first connections wait a while for the certificate, so that the service knows who calls.
    pub fn proving(self) -> Self {
        Self { waits: true, ..self }
    }

    async fn certificate(&mut self) {
        if self.waits {
            // Late or never: the service decides what it tells strangers.
            let _ = tokio::time::timeout(FIRST_CERTIFICATE, self.identity.wait_for(Option::is_some)).await;
        }
    }

    /// How to meet the service that must be `name`.
    fn target(&self, name: &DnsName) -> Result<Target, IdentityError> {
        let id = IdentityName::from(name.clone());
        match &*self.identity.borrow() {
            Some(identity) => identity.target(id, name, Offer::Plain),
            None => Target::anonymous(&self.roots, &WallClock::System, id, name),
        }
    }
}

/// A channel to `service`. Each new connection uses the latest certificate, and carries `mark` so that redirection lets it
/// pass.
///
/// # Errors
/// When the service's address makes no URI.
pub(super) fn channel(
    service: &ControlService,
    side: &Side,
    mark: Option<u32>,
    secure: Secure,
) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{}", service.addr.authority()))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true);
    let connect = Connect {
        addr: service.addr.clone(),
        name: service.name.clone(),
        timeout: side.connect_timeout,
        keepalive: side.connect_keepalive,
        mark,
        secure,
    };
    Ok(endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
        let connect = connect.clone();
        async move { connect.connect().await.map(TokioIo::new) }
    })))
}

#[derive(Clone)]
struct Connect {
    addr: ControlAddr,
    name: Option<DnsName>,
    timeout: Duration,
    keepalive: Option<Duration>,
    mark: Option<u32>,
    secure: Secure,
}

impl Connect {
    async fn connect(mut self) -> io::Result<ControlIo> {
        if self.name.is_some() {
            self.secure.certificate().await;
        }
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "no address");
        for addr in resolve(&self.addr).await? {
            match tokio::time::timeout(self.timeout, self.tcp(addr)).await {
                Ok(Ok(tcp)) => return self.secure(tcp).await,
                Ok(Err(error)) => failed = with_context(&error, format!("connecting to {addr}")),
                Err(_) => {
                    failed = io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("connecting to {addr} took over {:?}", self.timeout),
                    )
                }
            }
        }
        Err(failed)
    }

    async fn tcp(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(mark) = self.mark {
            socket2::SockRef::from(&socket).set_mark(mark)?;
        }
        socket.connect(addr).await
    }

    async fn secure(self, tcp: TcpStream) -> io::Result<ControlIo> {
        tcp.set_nodelay(true)?;
        if let Some(keepalive) = self.keepalive {
            socket2::SockRef::from(&tcp)
                .set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(keepalive))?;
        }
        let Some(name) = self.name else { return Ok(ControlIo::Plain(tcp)) };
        let target =
            self.secure.target(&name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let tls = tokio_rustls::TlsConnector::from(target.config()).connect(target.server_name(), tcp).await;
        tls.map(|tls| ControlIo::Tls(Box::new(tls)))
            .map_err(|error| with_context(&error, format!("TLS with {name}")))
    }
}

fn with_context(error: &io::Error, what: String) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// The addresses of a service: SRV targets that spell a pod's address, else A and AAAA.
async fn resolve(addr: &ControlAddr) -> io::Result<Vec<SocketAddr>> {
    let (name, port) = match addr {
        ControlAddr::Socket(addr) => return Ok(vec![*addr]),
        ControlAddr::Name(name, port) if name == "localhost" => {
            return Ok(vec![
                ([127, 0, 0, 1], *port).into(),
                SocketAddr::new(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), *port),
            ]);
        }
        ControlAddr::Name(name, port) => (format!("{name}."), *port),
    };
    let failed = |error: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::NotFound, format!("looking up {name}: {error}"))
    };
    // Made anew each time: it is rare, and resolv.conf may have changed.
    let resolver =
        TokioResolver::builder_tokio().and_then(|builder| builder.build()).map_err(|error| failed(&error))?;
    if let Ok(found) = resolver.srv_lookup(name.as_str()).await {
        let addrs: Vec<_> = found
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                hickory_resolver::proto::rr::RData::SRV(srv) => {
                    Some(SocketAddr::new(dashed_ip(&srv.target.to_utf8())?, srv.port))
                }
                _ => None,
            })
            .collect();
        if !addrs.is_empty() {
            return Ok(addrs);
        }
    }
    let found = resolver.lookup_ip(name.as_str()).await.map_err(|error| failed(&error))?;
    Ok(found.iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

/// The first label of an SRV target is the pod's address with dashes: `10-1-2-3.…` or `fd00--1.…`.
fn dashed_ip(target: &str) -> Option<IpAddr> {
    let label = target.split('.').next()?;
    label.replace('-', ".").parse().or_else(|_| label.replace('-', ":").parse()).ok()
}

/// A connection to the control plane.
pub(super) enum ControlIo {
    /// To loopback.
    Plain(TcpStream),
    /// To anything else.
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl AsyncRead for ControlIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ControlIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
    };
    use weft_net::tls::Issued;

    #[test]
    fn srv_targets_spell_addresses() {
        assert_eq!(dashed_ip("10-1-2-3.linkerd-dst.svc."), Some([10, 1, 2, 3].into()));
        assert_eq!(dashed_ip("fd00--1.linkerd-dst.svc."), "fd00::1".parse().ok());
        assert_eq!(dashed_ip("linkerd-dst.svc."), None);
    }

    const WEB: &str = "web.default.serviceaccount.identity.linkerd.cluster.local";

    fn secure() -> (watch::Sender<Option<Arc<Identity>>>, Arc<Identity>, Secure) {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName(WEB.try_into().unwrap())];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &ca).unwrap();
        let issued = Issued { chain: vec![leaf.der().to_vec()], key: key.serialize_der() };
        let roots = Roots::from_der([ca.der().to_vec()]).unwrap();
        let name = WEB.parse().unwrap();
        let identity =
            Identity::new(name, WEB.parse().unwrap(), issued, roots.clone(), WallClock::System).unwrap();
        let (sender, receiver) = watch::channel(None);
        (sender, Arc::new(identity), Secure::new(roots, receiver))
    }

    async fn waited(mut secure: Secure) -> Duration {
        let start = tokio::time::Instant::now();
        secure.certificate().await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_certificate_is_waited_for_by_those_who_prove_who_they_are() {
        let (_sender, _, secure) = secure();
        assert_eq!(waited(secure.clone()).await, Duration::ZERO);
        let took = waited(secure.proving()).await;
        // The clock has steps of a millisecond.
        assert!(
            (FIRST_CERTIFICATE..FIRST_CERTIFICATE + Duration::from_millis(2)).contains(&took),
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_ends_with_the_certificate() {
        let (sender, identity, secure) = secure();
        let secure = secure.proving();
        let after = FIRST_CERTIFICATE / 2;
        let issue = async {
            tokio::time::sleep(after).await;
            sender.send_replace(Some(identity));
        };
        let (took, ()) = tokio::join!(waited(secure.clone()), issue);
        assert!((after..after + Duration::from_millis(2)).contains(&took), "{took:?}");
        // Only the first: one that is there is not waited for.
        assert_eq!(waited(secure).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_who_could_issue_one_is_not_waited_for() {
        let (sender, _, secure) = secure();
        drop(sender);
        assert_eq!(waited(secure.proving()).await, Duration::ZERO);
    }

    /// Before anything is sent: a service that is not there is found out only after the wait.
    #[tokio::test(start_paused = true)]
    async fn connections_wait_before_they_are_made() {
        let (_sender, _, secure) = secure();
        // Bound and not listening: nobody answers there, and nobody else gets it.
        let nobody = TcpSocket::new_v4().unwrap();
        nobody.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let connect = Connect {
            addr: ControlAddr::Socket(nobody.local_addr().unwrap()),
            name: Some(WEB.parse().unwrap()),
            timeout: Duration::from_secs(60),
            keepalive: None,
            mark: None,
            secure: secure.proving(),
        };
        let start = tokio::time::Instant::now();
        assert!(connect.connect().await.is_err());
        assert!(start.elapsed() >= FIRST_CERTIFICATE, "{:?}", start.elapsed());
    }
}
