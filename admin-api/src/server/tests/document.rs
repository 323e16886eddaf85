//! The document: fresh, whole, and true.

use super::serve;
use crate::server::document;
use serde_json::{Map, Value};
use std::{collections::BTreeSet, fs, path::Path};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi/weft-admin.json");

/// `WEFT_BLESS=1 cargo test -p weft-admin-api` writes the file anew.
#[test]
fn the_committed_document_is_what_the_code_says() {
    let text = document().unwrap();
    if std::env::var_os("WEFT_BLESS").is_some() {
        fs::write(Path::new(FILE), &text).unwrap();
    }
    let committed = fs::read_to_string(FILE).unwrap();
    assert!(
        committed == text,
        "openapi/weft-admin.json is stale: run WEFT_BLESS=1 cargo test -p weft-admin-api"
    );
}

fn parsed() -> Value {
    serde_json::from_str(&document().unwrap()).unwrap()
}

/// Calls `visit` with every object of the document and where it is.
fn walk(value: &Value, at: &str, visit: &mut impl FnMut(&str, &Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visit(at, object);
            for (key, value) in object {
                walk(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), visit);
            }
        }
        Value::Array(items) => {
            for (i, value) in items.iter().enumerate() {
                walk(value, &format!("{at}/{i}"), visit);
            }
        }
        _ => {}
    }
}

#[test]
fn no_reference_dangles_and_no_schema_is_unused() {
    let document = parsed();
    let mut used = BTreeSet::new();
    walk(&document, "", &mut |at, object| {
        if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
            let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{at}: {reference}"));
            assert!(document.pointer(pointer).is_some(), "{at}: {reference} leads nowhere");
            used.insert(reference.rsplit('/').next().unwrap().to_owned());
        }
    });
    let schemas: BTreeSet<_> =
        document["components"]["schemas"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(schemas, used);
}

/// What generators of clients stumble over.
#[test]
fn types_are_plain() {
    let document = parsed();
    assert_eq!(document["openapi"], "3.1.0");
    walk(&document, "", &mut |at, object| {
        for word in ["prefixItems", "anyOf", "allOf"] {
            assert!(!object.contains_key(word), "{at} has {word}");
        }
        assert!(
            !object.contains_key("oneOf") || object.contains_key("discriminator"),
            "{at}: union without a kind"
        );
        if object.get("type") == Some(&Value::from("object")) && at.starts_with("/components") {
            let named = at.strip_prefix("/components/schemas/").is_some_and(|name| !name.contains('/'));
            assert!(named || object.contains_key("additionalProperties"), "{at}: an object without a name");
        }
        if object.contains_key("enum") {
            assert_eq!(object.get("type"), Some(&Value::from("string")), "{at}");
        }
        assert!(!matches!(object.get("type"), Some(Value::Array(_))), "{at}: nullable instead of left out");
    });
}

#[test]
fn every_operation_says_what_it_is() {
    let document = parsed();
    let tags: BTreeSet<_> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert_eq!(method, "get", "{path} is not read-only");
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id), "{id} twice");
            assert!(operation["summary"].as_str().is_some_and(|text| text.ends_with('.')), "{path}");
            for tag in operation["tags"].as_array().unwrap() {
                assert!(tags.contains(tag.as_str().unwrap()), "{path}: {tag}");
            }
            let names = path.matches('{').count();
            let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
            assert_eq!(
                parameters.iter().filter(|parameter| parameter["in"] == "path").count(),
                names,
                "{path}"
            );
            for parameter in parameters {
                assert!(parameter["description"].as_str().is_some(), "{path}: {parameter}");
            }
        }
    }
    assert_eq!(ids.len(), 11);
}

/// Checks a value against the part of JSON Schema that the document uses; fields it does not name are faults.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        return check(document, document.pointer(&reference[1..]).unwrap(), value, at);
    }
    match schema["type"].as_str() {
        Some("object") => {
            let object = value.as_object().unwrap_or_else(|| panic!("{at} is no object: {value}"));
            for name in schema["required"].as_array().into_iter().flatten() {
                assert!(object.contains_key(name.as_str().unwrap()), "{at} lacks {name}");
            }
            for (name, value) in object {
                let property =
                    schema["properties"].get(name).unwrap_or_else(|| &schema["additionalProperties"]);
                assert!(!property.is_null(), "{at}.{name} is not in the document");
                check(document, property, value, &format!("{at}.{name}"));
            }
        }
        Some("array") => {
            for (i, value) in value.as_array().unwrap().iter().enumerate() {
                check(document, &schema["items"], value, &format!("{at}[{i}]"));
            }
        }
        Some("string") => {
            let text = value.as_str().unwrap_or_else(|| panic!("{at} is no text: {value}"));
            if let Some(words) = schema["enum"].as_array() {
                assert!(words.contains(value), "{at}: {value}");
            }
            if schema["format"] == "date-time" {
                text.parse::<jiff::Timestamp>().unwrap_or_else(|error| panic!("{at}: {error}"));
            }
        }
        Some("integer") => assert!(value.is_i64() || value.is_u64(), "{at}: {value}"),
        Some("boolean") => assert!(value.is_boolean(), "{at}: {value}"),
        other => panic!("{at}: type {other:?} of {schema}"),
    }
}

#[tokio::test]
async fn answers_are_as_the_document_says() {
    let served = serve(3).await;
    let document = parsed();
    let serial = format!("{:032x}", 1);
    for (path, template, status) in [
        ("/v1/services", "/v1/services", "200"),
        ("/v1/services?limit=0", "/v1/services", "4XX"),
        ("/v1/services/default/web", "/v1/services/{namespace}/{name}", "200"),
        ("/v1/services/default/none", "/v1/services/{namespace}/{name}", "4XX"),
        ("/v1/workloads", "/v1/workloads", "200"),
        ("/v1/workloads/default/web-0", "/v1/workloads/{namespace}/{name}", "200"),
        ("/v1/proxies", "/v1/proxies", "200"),
        ("/v1/proxies/default/web-0", "/v1/proxies/{namespace}/{name}", "200"),
        ("/v1/certificates?limit=2", "/v1/certificates", "200"),
        (&format!("/v1/certificates/{serial}"), "/v1/certificates/{serial}", "200"),
        ("/v1/readiness", "/v1/readiness", "200"),
        ("/v1/version", "/v1/version", "200"),
    ] {
        let (code, value) = served.get(path).await;
        assert!(code.as_str().starts_with(&status[..1]), "{path}: {code} {value}");
        let content = &document["paths"][template]["get"]["responses"][status]["content"];
        let (_, media) = content.as_object().unwrap().iter().next().unwrap();
        check(&document, &media["schema"], &value, path);
    }
    let (_, served_document) = served.get("/openapi.json").await;
    assert_eq!(served_document, document);
}
