//! Manifests against what they are read as: `golden/NAME.yaml` and `golden/NAME.txt`.

use std::sync::Arc;

use super::read;
use crate::{event::Object, fact::Id};

fn read_file(name: &str, text: &str) -> Result<Vec<Object>, String> {
    let lines =
        |problems: Vec<crate::Problem>| problems.iter().map(|problem| format!("{problem}\n")).collect();
    read(&Arc::from(name), text).map_err(lines)
}

#[test]
fn every_kind_is_read() {
    let objects = read_file("good.yaml", include_str!("golden/good.yaml"))
        .unwrap_or_else(|problems| panic!("{problems}"));
    let found: Vec<String> =
        objects.iter().map(|object| format!("{} {}", object.kind().as_str(), object.id())).collect();
    assert_eq!(
        found,
        [
            "Service default/web",
            "Server shop/web-http",
            "ServerAuthorization shop/old",
            "AuthorizationPolicy shop/front-only",
            "MeshTLSAuthentication shop/front",
            "NetworkAuthentication nets/inside",
            "HTTPRoute default/split",
            "HTTPRoute shop/get",
            "GRPCRoute default/greet",
            "ServiceProfile default/web.default.svc.cluster.local",
        ]
    );
    let lines: Vec<u32> = objects.iter().filter_map(Object::source).map(|source| source.at.line).collect();
    assert!(lines.is_sorted() && lines.first() == Some(&2), "{lines:?}");

    let Object::Service(service) = &objects[0] else { panic!("{objects:?}") };
    assert_eq!(service.opaque_ports.as_ref().map(ToString::to_string).as_deref(), Some("4444-4446,9000"));
    assert_eq!(service.traffic.route.retries.as_ref().map(|retries| retries.statuses.len()), Some(3));
    let Object::AuthorizationPolicy(policy) = &objects[3] else { panic!("{objects:?}") };
    assert_eq!(policy.network, Some(Id::new("nets", "inside")));
    let Object::HttpRoute(route) = &objects[6] else { panic!("{objects:?}") };
    assert_eq!(route.parents.len(), 1, "a Gateway is somebody else's parent");
    assert_eq!(route.rules[0].backends.iter().map(|backend| backend.weight).collect::<Vec<_>>(), [9, 1]);
    let Object::ServiceProfile(profile) = &objects[9] else { panic!("{objects:?}") };
    assert_eq!(profile.overrides.iter().map(|to| to.weight).collect::<Vec<_>>(), [5_000, 10_000]);
}

#[test]
fn all_problems_are_told_at_once() {
    for (name, text, expected) in [
        ("shape.yaml", include_str!("golden/shape.yaml"), include_str!("golden/shape.txt")),
        (
            "authorization.yaml",
            include_str!("golden/authorization.yaml"),
            include_str!("golden/authorization.txt"),
        ),
        ("routes.yaml", include_str!("golden/routes.yaml"), include_str!("golden/routes.txt")),
    ] {
        let problems = read_file(name, text).expect_err(name);
        assert_eq!(problems, expected, "{name} has these problems now:\n{problems}");
    }
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let problems = read_file("large.yaml", &"#".repeat(super::MAX_FILE_SIZE + 1)).unwrap_err();
    assert_eq!(problems, "large.yaml: is larger than 4194304 bytes\n");
}

#[test]
fn problems_over_the_bound_are_counted() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n".to_owned()
        + &"  - {port: 0}\n".repeat(300);
    let problems = read_file("many.yaml", &text).unwrap_err();
    assert_eq!(problems.lines().count(), crate::problem::MAX_PROBLEMS_PER_FILE + 1);
    assert_eq!(problems.lines().last(), Some("many.yaml: and 100 more problems"));
}

/// Whatever a file becomes while somebody edits it, it is objects or problems, each in its place.
#[test]
fn edits_never_break_the_reader() {
    use proptest::{prelude::*, test_runner::TestRunner};
    let good = include_str!("golden/good.yaml");
    let lines: Vec<&str> = good.lines().collect();
    let edit = (
        0..lines.len(),
        0..lines.len(),
        0..good.len(),
        prop::sample::select(&[": ", "[", "}", "- ", "é", "\t", "&a ", "0", ""]),
    );
    let mut runner = TestRunner::new(ProptestConfig { cases: 300, ..ProptestConfig::default() });
    let check = |(from, to, at, insert): (usize, usize, usize, &str)| {
        let mut edited: Vec<&str> = lines.clone();
        let line = edited.remove(from);
        edited.insert(to.min(edited.len()), line);
        let mut text = edited.join("\n");
        let at = (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.insert_str(at, insert);
        if let Err(problems) = read(&Arc::from("edited.yaml"), &text) {
            prop_assert!(!problems.is_empty());
            let last = u32::try_from(text.lines().count()).unwrap() + 1;
            prop_assert!(problems.iter().all(|problem| problem.source.at.line <= last), "{problems:?}");
        }
        Ok(())
    };
    runner.run(&edit, check).unwrap();
}

#[test]
fn nothing_is_no_objects() {
    for text in ["", "---\n", "# only a comment\n", "---\n---\n"] {
        assert_eq!(read_file("empty.yaml", text), Ok(Vec::new()), "{text:?}");
    }
}
