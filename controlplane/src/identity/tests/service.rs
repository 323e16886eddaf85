//! The gRPC shell at its limits.

use super::{WEB, csr, identity, open};
use crate::identity::{IdentityService, MAX_CERTIFY_AT_ONCE, Outcome, Outcomes};
use linkerd2_proxy_api::identity::{CertifyRequest, identity_server::Identity};
use std::sync::Arc;
use tonic::{Code, Request};

#[tokio::test]
async fn too_many_at_once_are_told_to_try_again() {
    let dir = tempfile::tempdir().unwrap();
    let now = jiff::Timestamp::now();
    let (authority, _store) = open(dir.path(), now).await;
    let token = authority.mint(&identity(WEB), "default", "web-0", now).await.unwrap().reveal();
    let outcomes = Arc::new(Outcomes::default());
    let service = IdentityService::new(Arc::new(authority), Arc::clone(&outcomes));
    let request = || {
        Request::new(CertifyRequest {
            identity: WEB.into(),
            token: token.clone().into_bytes(),
            certificate_signing_request: csr(WEB),
        })
    };

    let others = service.permits.acquire_many(MAX_CERTIFY_AT_ONCE.try_into().unwrap()).await.unwrap();
    let status = service.certify(request()).await.unwrap_err();
    assert_eq!((status.code(), outcomes.value(Outcome::Busy)), (Code::Unavailable, 1));
    drop(others);
    service.certify(request()).await.unwrap();
    assert_eq!(outcomes.value(Outcome::Issued), 1);
}

#[tokio::test]
async fn a_state_that_cannot_be_used_is_a_reason_to_try_later_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let now = jiff::Timestamp::now();
    let (authority, store) = open(dir.path(), now).await;
    let token = authority.mint(&identity(WEB), "default", "web-0", now).await.unwrap().reveal();
    let outcomes = Arc::new(Outcomes::default());
    let service = IdentityService::new(Arc::new(authority), Arc::clone(&outcomes));
    store.close().await;
    let request = CertifyRequest {
        identity: WEB.into(),
        token: token.into_bytes(),
        certificate_signing_request: csr(WEB),
    };
    let status = service.certify(Request::new(request)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(
        status.message().starts_with("the certificate could not be recorded: read join token: "),
        "{status}"
    );
    assert!(status.message().contains("restart the control plane"), "{status}");
    assert_eq!(outcomes.value(Outcome::Failed), 1);
}
