//! Manifests as Kubernetes users write them, followed as they change.

use crate::mesh::{Mesh, terminate, until};
use std::fs;

fn server(name: &str) -> String {
    format!(
        "apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: {{name: {name}, namespace: default}}\n\
         spec:\n  podSelector: {{matchLabels: {{app: web}}}}\n  port: 8080\n  proxyProtocol: HTTP/1\n"
    )
}

fn only(account: &str) -> String {
    format!(
        "apiVersion: policy.linkerd.io/v1alpha1\nkind: MeshTLSAuthentication\nmetadata: {{name: allowed, namespace: default}}\n\
         spec:\n  identities: [{account}.default.serviceaccount.identity.linkerd.cluster.local]\n---\n\
         apiVersion: policy.linkerd.io/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {{name: allowed, namespace: default}}\n\
         spec:\n  targetRef: {{group: policy.linkerd.io, kind: Server, name: web}}\n\
         \x20 requiredAuthenticationRefs:\n  - {{group: policy.linkerd.io, kind: MeshTLSAuthentication, name: allowed}}\n"
    )
}

#[test]
fn manifests_are_followed_and_a_bad_one_changes_nothing() {
    let machine = weft_tests::machine::Machine::new();
    let directory = machine.files().join("policies");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("server.yaml"), server("web")).unwrap();
    fs::write(directory.join("allowed.yaml"), only("friend")).unwrap();
    let up = Mesh::up(&machine, &["-f", directory.to_str().unwrap()]);
    let mesh = Mesh { up, machine };
    let web = mesh.web("web", &["--publish", "18080:8080"], "text");
    let get = |name: &str| mesh.get(name, "http://web:8080/text").0;

    assert_eq!((get("friend"), get("stranger")), (200, 403));
    // Not meshed, so nobody.
    let ended = mesh
        .machine
        .run("curl", &["-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:18080/text"]);
    assert_eq!(ended.text(), "403");

    fs::write(directory.join("allowed.yaml"), only("stranger")).unwrap();
    until("the change is in force", || get("stranger") == 200);
    assert_eq!(get("friend"), 403);

    fs::write(directory.join("allowed.yaml"), only("friend").replace("identities", "identitties")).unwrap();
    until("the mistake is told", || {
        let shown = mesh.show("readiness").to_string();
        shown.contains("allowed.yaml") && shown.contains("identitties")
    });
    assert_eq!((get("stranger"), get("friend")), (200, 403));

    fs::write(directory.join("allowed.yaml"), only("friend")).unwrap();
    until("the repair is in force", || get("friend") == 200);
    until("nothing is told any more", || !mesh.show("readiness").to_string().contains("identitties"));
    let _ = terminate(web);
    mesh.end();
}

/// Who has no token of this workload's gets no certificate, and the registry keeps tokens to itself.
#[test]
fn certificates_are_for_workloads_that_run() {
    let mesh = Mesh::start();
    let web = mesh.web("web", &[], "text");
    let shown = mesh.show("certificates");
    let identity = "web.default.serviceaccount.identity.linkerd.cluster.local";
    let of_web = shown.as_array().unwrap().iter().filter(|c| c["identity"] == identity).count();
    assert_eq!(of_web, 1, "{shown}");
    for kind in ["services", "workloads", "proxies", "certificates", "readiness"] {
        let text = mesh.show(kind).to_string();
        assert!(!text.replace("tokenId", "").to_ascii_lowercase().contains("token"), "{text}");
        for output in ["table", "wide", "yaml"] {
            let ended = mesh.machine.finish(&["get", kind, "-o", output]);
            assert!(ended.status.success() && !ended.lines.is_empty(), "{kind} {output}: {ended:?}");
        }
    }
    let proxies = mesh.show("proxies").to_string();
    assert!(proxies.contains("web-0"), "{proxies}");
    let _ = terminate(web);
    mesh.end();
}
