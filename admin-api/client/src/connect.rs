//! Reaching a control plane: Unix socket, or TCP and TLS.

use crate::error::ClientError;
use bytes::Bytes;
use http::HeaderValue;
use http_body_util::Empty;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{fmt, path::PathBuf, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

/// A control plane that is asked over HTTPS.
#[derive(Clone)]
pub struct Https {
    /// `HOST:PORT`, such as `localhost:7443`. The host must be a name or address in the server's certificate.
    pub address: String,
    /// The control plane's trust anchors, PEM (`trust-anchors.pem` in its state directory).
    pub anchors: Vec<u8>,
    /// The token (`admin.token` in its state directory).
    pub token: String,
}

#[derive(Clone)]
pub(crate) enum Target {
    Unix(PathBuf),
    Https { address: String, server: ServerName<'static>, tls: TlsConnector, token: HeaderValue },
}

impl Https {
    pub(crate) fn into_target(self) -> Result<Target, ClientError> {
        let Self { address, anchors, token } = self;
        let host = address
            .rsplit_once(':')
            .filter(|(_, port)| port.parse::<u16>().is_ok())
            .map(|(host, _)| host.trim_start_matches('[').trim_end_matches(']').to_owned());
        let server = host
            .and_then(|host| ServerName::try_from(host).ok())
            .ok_or_else(|| ClientError::Address { address: address.clone() })?;

        let mut roots = RootCertStore::empty();
        for anchor in CertificateDer::pem_slice_iter(&anchors) {
            let anchor = anchor.map_err(|_| ClientError::Anchors)?;
            roots.add(anchor).map_err(|_| ClientError::Anchors)?;
        }
        if roots.is_empty() {
            return Err(ClientError::Anchors);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(ClientError::Setup)?
            .with_root_certificates(roots)
            .with_no_client_auth();

        let mut token =
            HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| ClientError::Token)?;
        token.set_sensitive(true);
        Ok(Target::Https { address, server, tls: TlsConnector::from(Arc::new(config)), token })
    }
}

impl Target {
    pub(crate) async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, ClientError> {
        let refused = |source| ClientError::Connect { target: self.to_string(), source };
        match self {
            Self::Unix(path) => self.speak(UnixStream::connect(path).await.map_err(refused)?).await,
            Self::Https { address, server, tls, .. } => {
                let tcp = TcpStream::connect(address).await.map_err(refused)?;
                let stream = tls
                    .connect(server.clone(), tcp)
                    .await
                    .map_err(|source| ClientError::Tls { target: self.to_string(), source })?;
                self.speak(stream).await
            }
        }
    }

    async fn speak<S>(&self, stream: S) -> Result<SendRequest<Empty<Bytes>>, ClientError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|source| ClientError::Exchange { target: self.to_string(), source })?;
        // Ends with the sender; its errors come out of the sender too.
        tokio::spawn(connection);
        Ok(sender)
    }

    /// For the `Host` header.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Unix(_) => "localhost",
            Self::Https { address, .. } => address,
        }
    }

    /// For the `Authorization` header.
    pub(crate) fn token(&self) -> Option<HeaderValue> {
        match self {
            Self::Unix(_) => None,
            Self::Https { token, .. } => Some(token.clone()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Https { address, .. } => write!(f, "https://{address}"),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

impl fmt::Debug for Https {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Https").field("address", &self.address).finish_non_exhaustive()
    }
}
