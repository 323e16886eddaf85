//! The client of the control plane's registry, over the Unix socket in its state directory.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::net::UnixStream;
use weft_admin_client::Problem;
use weft_controlplane::registry::{
    api::{Answer, Registration},
    http::Workloads,
};

/// The socket's name in the state directory.
pub const SOCKET: &str = "admin.sock";
/// How long the control plane may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer read, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Where the registry is. One connection per request: there are few.
#[derive(Clone, Debug)]
pub struct Registry {
    socket: PathBuf,
}

/// Why the registry did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Nobody answers there.
    #[error("no control plane answers at {}", .socket.display())]
    Absent {
        /// Where.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the control plane at {} did not answer", .socket.display())]
    Broken {
        /// Where.
        socket: PathBuf,
        /// Why.
        source: hyper::Error,
    },
    /// It took too long.
    #[error("the control plane at {} did not answer within {PATIENCE:?}", .0.display())]
    Late(PathBuf),
    /// It said no.
    #[error("the control plane refused: {0}")]
    Refused(Box<Problem>),
    /// It said something that is no answer.
    #[error("the control plane's answer is not understood: {0}")]
    Strange(String),
}

impl Registry {
    /// The registry of the control plane with this state directory.
    pub fn in_state(state: &Path) -> Self {
        Self { socket: state.join(SOCKET) }
    }

    /// Registers a workload, changes it or renews its lease.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn register(
        &self,
        namespace: &str,
        pod: &str,
        registration: &Registration,
    ) -> Result<Answer, RegistryError> {
        let body = serde_json::to_vec(registration).map_err(|e| RegistryError::Strange(e.to_string()))?;
        let answer = self.send(Method::PUT, &path(namespace, pod), body).await?;
        serde_json::from_slice(&answer).map_err(|e| RegistryError::Strange(e.to_string()))
    }

    /// Removes a workload. That there is none is no error.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn remove(&self, namespace: &str, pod: &str) -> Result<(), RegistryError> {
        self.send(Method::DELETE, &path(namespace, pod), Vec::new()).await.map(drop)
    }

    /// Names of all workloads: namespace and pod.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn list(&self) -> Result<Vec<(String, String)>, RegistryError> {
        let answer = self.send(Method::GET, "/registry/v1/workloads", Vec::new()).await?;
        let list: Workloads =
            serde_json::from_slice(&answer).map_err(|e| RegistryError::Strange(e.to_string()))?;
        Ok(list.workloads.into_iter().map(|listed| (listed.namespace, listed.pod)).collect())
    }

    /// Whether the control plane answers.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub async fn ping(&self) -> Result<(), RegistryError> {
        self.send(Method::GET, "/registry/v1/workloads", Vec::new()).await.map(drop)
    }

    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Bytes, RegistryError> {
        let exchange = self.exchange(method, path, body);
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .map_err(|_| RegistryError::Late(self.socket.clone()))?
    }

    async fn exchange(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Bytes, RegistryError> {
        let broken = |source| RegistryError::Broken { socket: self.socket.clone(), source };
        let strange = |e: &dyn std::fmt::Display| RegistryError::Strange(e.to_string());
        let stream = UnixStream::connect(&self.socket).await;
        let stream =
            stream.map_err(|source| RegistryError::Absent { socket: self.socket.clone(), source })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| strange(&e))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|e| strange(&e))?.to_bytes();
        connection.abort();
        if status.is_success() { Ok(body) } else { Err(RegistryError::Refused(refusal(status, &body))) }
    }
}

fn path(namespace: &str, pod: &str) -> String {
    format!("/registry/v1/workloads/{namespace}/{pod}")
}

/// The problem in an answer; made up where whoever answered knows no problems.
fn refusal(status: StatusCode, body: &[u8]) -> Box<Problem> {
    let problem = serde_json::from_slice(body).unwrap_or_else(|_| Problem {
        kind: "about:blank".into(),
        title: status.canonical_reason().unwrap_or("an error").to_owned(),
        status: status.as_u16(),
        detail: None,
        instance: None,
        advice: None,
        faults: Vec::new(),
    });
    Box::new(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_whoever_answers() {
        let body =
            br#"{"type":"urn:weft:problem:conflict","title":"Conflict","status":409,"detail":"taken"}"#;
        assert_eq!(refusal(StatusCode::CONFLICT, body).to_string(), "Conflict: taken");
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, b"oops").to_string(), "Bad Gateway");
    }

    #[tokio::test]
    async fn nobody_there_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let error = Registry::in_state(dir.path()).ping().await.unwrap_err();
        assert!(matches!(error, RegistryError::Absent { .. }), "{error}");
        assert!(error.to_string().ends_with("admin.sock"), "{error}");
    }
}
