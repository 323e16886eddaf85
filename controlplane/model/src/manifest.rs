//! Manifests: YAML as Kubernetes users write it, to objects.
//!
//! [`read`] takes one file's text and gives its objects or all its problems: an object with a problem
//! makes the file bad as a whole, so that a file's objects come and go together. It is the only
//! validation there is; whoever wants to check a manifest calls it.
//!
//! ```text
//!   text ──tree──▶ nodes with places ──meta, kind──▶ one reader per kind ──▶ Object | Problems
//! ```

use std::sync::Arc;

use weft_policy::Pattern;

use self::{
    meta::Meta,
    reader::{At, Fields, Reader},
};
use crate::{
    event::Object,
    fact::authz::RouteGroup,
    problem::{Problem, nearest},
};

pub mod reader;
pub mod tree;

mod annotations;
mod authn;
mod authz;
mod filter;
mod meta;
mod profile;
mod reference;
mod route;
mod selector;
mod server;
mod service;

#[cfg(test)]
mod tests;

/// The largest file that is read, in bytes.
pub const MAX_FILE_SIZE: usize = 4 << 20;

const POLICY: &[&str] = &[
    "policy.linkerd.io/v1beta3",
    "policy.linkerd.io/v1beta2",
    "policy.linkerd.io/v1beta1",
    "policy.linkerd.io/v1alpha1",
];
const POLICY_ALPHA: &[&str] = &["policy.linkerd.io/v1alpha1"];
const POLICY_HTTP_ROUTE: &[&str] = &[
    "policy.linkerd.io/v1beta3",
    "policy.linkerd.io/v1beta2",
    "policy.linkerd.io/v1beta1",
    "policy.linkerd.io/v1alpha1",
    "gateway.networking.k8s.io/v1",
    "gateway.networking.k8s.io/v1beta1",
];
const GRPC_ROUTE: &[&str] = &["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1alpha2"];
const PROFILE: &[&str] = &["linkerd.io/v1alpha2", "linkerd.io/v1alpha1"];

/// The kinds that are understood, with the `apiVersion`s each may have.
const KINDS: &[(&str, &[&str])] = &[
    ("AuthorizationPolicy", POLICY_ALPHA),
    ("GRPCRoute", GRPC_ROUTE),
    ("HTTPRoute", POLICY_HTTP_ROUTE),
    ("MeshTLSAuthentication", POLICY_ALPHA),
    ("NetworkAuthentication", POLICY_ALPHA),
    ("Server", POLICY),
    ("ServerAuthorization", POLICY),
    ("Service", &["v1"]),
    ("ServiceProfile", PROFILE),
];

/// Reads the objects of a file. `file` is its name as the user gave it.
///
/// # Errors
/// Every problem of the file, in the order of their places.
pub fn read(file: &Arc<str>, text: &str) -> Result<Vec<Object>, Vec<Problem>> {
    if text.len() > MAX_FILE_SIZE {
        return Err(vec![Problem::file(file, format!("is larger than {MAX_FILE_SIZE} bytes"))]);
    }
    let documents = tree::documents(file, text).map_err(|problem| vec![*problem])?;
    let mut r = Reader::new(file.clone());
    let mut objects: Vec<Object> = Vec::new();
    for document in &documents {
        document_objects(&At::root(document), &mut r, &mut objects);
    }
    let mut problems = r.finish();
    if problems.is_empty() {
        Ok(objects)
    } else {
        problems.sort_by_key(|problem| (problem.source.at.line == 0, problem.source.at));
        Err(problems)
    }
}

/// The objects of one document: one, or those of a `List`.
fn document_objects(document: &At<'_>, r: &mut Reader, objects: &mut Vec<Object>) {
    let is_list = match document.value() {
        tree::Value::Map(entries) => entries
            .iter()
            .any(|entry| entry.key == "kind" && entry.value.value == tree::Value::Text("List".into())),
        _ => false,
    };
    if !is_list {
        add(object(document, r), document, r, objects);
        return;
    }
    document.fields(r, |f, r| {
        f.ignore(&["apiVersion", "kind", "metadata"]);
        for item in f.need(r, "items", "the objects")?.list(r) {
            add(object(&item, r), &item, r, objects);
        }
        Some(())
    });
}

/// Adds an object, unless there is one of its kind and name already.
fn add(object: Option<Object>, at: &At<'_>, r: &mut Reader, objects: &mut Vec<Object>) {
    let Some(object) = object else { return };
    let same = |other: &&Object| other.kind() == object.kind() && other.id() == object.id();
    match objects.iter().find(same).and_then(Object::source) {
        Some(first) => {
            let message = format!(
                "{} {} is written a second time; first at {first}",
                object.kind().as_str(),
                object.id()
            );
            at.reject(r, message);
        }
        None => objects.push(object),
    }
}

fn object(at: &At<'_>, r: &mut Reader) -> Option<Object> {
    at.fields(r, |f, r| {
        f.ignore(&["status"]);
        let version = f.need(r, "apiVersion", "the object's API, such as policy.linkerd.io/v1beta3");
        let kind_at = f.need(r, "kind", "the object's kind, such as Server");
        let kind = kind_at.as_ref().and_then(|at| at.text(r))?;
        let Some((kind, versions)) = KINDS.iter().find(|(name, _)| *name == kind) else {
            let names = KINDS.iter().map(|(name, _)| *name);
            let suggestion = nearest(kind, names.clone()).map(str::to_owned);
            let expected =
                format!("kind is not known; expected one of {}", names.collect::<Vec<_>>().join(", "));
            if let Some(at) = kind_at {
                at.reject_with(r, expected, suggestion);
            }
            // Its fields are not ours to judge.
            f.ignore_rest();
            return None;
        };
        let choices: Vec<(&str, &str)> = versions.iter().map(|version| (*version, *version)).collect();
        let version = version.and_then(|at| at.choice(r, &choices));
        let before = r.count();
        let meta = meta::read(f, r);
        let spec = f.need(r, "spec", "what the object is about")?;
        let object = spec.fields(r, |spec, r| by_kind(kind, version.unwrap_or_default(), meta, spec, r))?;
        // A name that stands in for a bad one goes nowhere.
        (version.is_some() && r.count() == before).then_some(object)
    })
}

fn by_kind(kind: &str, version: &str, meta: Meta<'_>, spec: &Fields<'_>, r: &mut Reader) -> Option<Object> {
    let group = match version.starts_with(RouteGroup::Gateway.as_str()) {
        true => RouteGroup::Gateway,
        false => RouteGroup::Linkerd,
    };
    Some(match kind {
        "AuthorizationPolicy" => Object::AuthorizationPolicy(authz::policy(meta, spec, r)?.into()),
        "GRPCRoute" => Object::GrpcRoute(route::grpc(meta, spec, r)?.into()),
        "HTTPRoute" => Object::HttpRoute(route::http(group, meta, spec, r)?.into()),
        "MeshTLSAuthentication" => Object::MeshTlsAuthentication(authn::mesh_tls(meta, spec, r)?.into()),
        "NetworkAuthentication" => Object::NetworkAuthentication(authn::network(meta, spec, r)?.into()),
        "Server" => Object::Server(server::read(meta, spec, r)?.into()),
        "ServerAuthorization" => {
            Object::ServerAuthorization(authz::server_authorization(meta, spec, r)?.into())
        }
        "Service" => Object::Service(service::read(meta, spec, r)?.into()),
        "ServiceProfile" => Object::ServiceProfile(profile::read(meta, spec, r)?.into()),
        _ => return None,
    })
}

/// A regular expression, in the syntax proxies have.
fn expression(at: &At<'_>, r: &mut Reader) -> Option<Pattern> {
    at.parse(r, "a regular expression", |text| {
        Pattern::new(text).map_err(|error| {
            // The other lines repeat the expression.
            let why = error.source.to_string();
            let line = why.lines().last().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        })
    })
}
