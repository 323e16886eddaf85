//! Manifests: objects or problems with their places; and what is read makes views that proxies understand.
//!
//! Input: text.

use std::sync::Arc;

use weft_model::{Event, Projection, Settings, manifest};
use weft_policy::{from_pb, to_pb};

use crate::mesh;

/// The target.
///
/// # Panics
/// When a property does not hold.
pub fn run(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    let file: Arc<str> = "f.yaml".into();
    match manifest::read(&file, text) {
        Ok(objects) => {
            let lines = text.lines().count() as u32 + 1;
            for object in &objects {
                let source = object.source().expect("an object of a manifest has a place");
                assert!((1..=lines).contains(&source.at.line), "line {} of {lines}", source.at.line);
                assert!(!object.id().name.is_empty() && !object.id().namespace.is_empty());
            }
            told(objects);
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            let mut last = 0;
            for problem in &problems {
                let shown = problem.to_string();
                assert!(shown.starts_with("f.yaml") && !shown.contains('\n'), "{shown:?}");
                assert!(shown.len() < 4_000, "a problem of {} bytes", shown.len());
                let line = problem.source.at.line;
                assert!(line >= last || line == 0, "in order of their places");
                last = line;
            }
        }
    }
}

/// What is told of it is understood by proxies, in whatever order the objects came.
fn told(objects: Vec<weft_model::Object>) {
    let mut one = Projection::new(Settings::with_defaults());
    one.apply(mesh::registered());
    let mut other = Projection::new(Settings::with_defaults());
    for object in objects.iter().rev() {
        other.apply([Event::Written(object.clone())]);
    }
    other.apply(mesh::registered());
    let changes = one.apply(objects.iter().cloned().map(Event::Written));
    assert_eq!(
        one.apply(objects.into_iter().map(Event::Written)).generation,
        changes.generation,
        "nothing new"
    );
    let (one, other) = (mesh::told(&mut one), mesh::told(&mut other));
    assert_eq!((&one.outbound, &one.inbound), (&other.outbound, &other.inbound));
    assert_eq!((&one.profiles, &one.endpoints), (&other.profiles, &other.endpoints));
    for policy in &one.outbound {
        let understood = from_pb::outbound(&to_pb::outbound(policy)).map_err(|p| p.text());
        assert_eq!(understood.as_ref(), Ok(policy));
    }
    for policy in &one.inbound {
        // A server's namespace is not told; but for that it is the same.
        let once = from_pb::server(&to_pb::server(policy)).unwrap_or_else(|p| panic!("{}", p.text()));
        let twice = from_pb::server(&to_pb::server(&once)).map_err(|p| p.text());
        assert_eq!(
            (&once.protocol, once.authorizations.len()),
            (&policy.protocol, policy.authorizations.len())
        );
        assert_eq!(twice, Ok(once));
    }
    for profile in &one.profiles {
        let (understood, problems) = from_pb::profile(&to_pb::profile(profile));
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(&understood, profile);
    }
}

/// The documents of a manifest one by one, and what is odd in YAML.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let odd = [
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}, {port: 80}], selector: {app: web}}\n",
        "{\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {\"name\": \"a\"}, \"spec\": {}}",
        "a: &x [1]\nb: *x\n<<: {c: d}\n",
        "kind: Sever\napiVersion: policy.linkerd.io/v1beta3\nmetadata: {name: \"\\u0007\"}\nspec: {port: 99999}\n",
        "? [complex, key]\n: |-\n  text\n---\n!!binary aGVsbG8=\n...\n",
        "spec: {a: 0x1F, b: 1e400, c: .nan, d: 0o17, e: 12345678901234567890123, f: ~, g: yes}\n",
        "k: v\nk: w\n",
        "%YAML 1.2\n---\nkey: >+\n  folded\n\n  text\n# end",
    ];
    let documents = mesh::MANIFEST.split("---\n").map(str::to_owned);
    documents.chain(odd.map(str::to_owned)).map(String::into_bytes).chain([mesh::MANIFEST.into()]).collect()
}
