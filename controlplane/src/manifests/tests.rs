//! Manifests in a directory of their own.

use std::{fs, path::Path, time::Duration};

use tempfile::TempDir;
use tokio::{sync::watch, time::timeout};
use weft_model::facts::Facts;

use super::*;
use crate::{metrics::Metrics, testkit::Kit};

fn server(name: &str, port: u16) -> String {
    format!(
        "apiVersion: policy.linkerd.io/v1beta3\nkind: Server\nmetadata: {{name: {name}}}\nspec: {{port: {port}, podSelector: {{}}}}\n---\n"
    )
}

/// Events as short text.
fn show(events: &[Event]) -> Vec<String> {
    let show = |event: &Event| match event {
        Event::Written(Object::Server(server)) => format!("+{}:{}", server.id.name, server.port),
        Event::Written(object) => format!("+{}", object.id().name),
        Event::Erased(_, id) => format!("-{}", id.name),
        Event::Problems(file, problems) => {
            format!("{}: {}", Path::new(&**file).file_name().unwrap().to_string_lossy(), problems.len())
        }
        other => format!("{other:?}"),
    };
    events.iter().map(show).collect()
}

struct Dir {
    dir: TempDir,
    manifests: Manifests,
}

impl Dir {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap(), manifests: Manifests::default() }
    }

    fn paths(&self) -> Vec<PathBuf> {
        vec![self.dir.path().to_owned()]
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.path().join(file), text).unwrap();
    }

    /// One look, and what follows from it.
    fn look(&mut self) -> Vec<String> {
        let (due, mut events) = self.manifests.seen(&look(&self.paths()), false);
        events.extend(self.manifests.replace(due.iter().map(|path| read(path)).collect()));
        show(&events)
    }

    /// Looks until nothing moves, at most thrice.
    fn settle(&mut self) -> Vec<String> {
        (0..3).flat_map(|_| self.look()).collect()
    }
}

#[test]
fn loading_takes_all_manifests_of_a_directory() {
    let dir = Dir::new();
    dir.write("b.yml", &server("b", 2));
    dir.write("a.yaml", &(server("a", 1) + &server("c", 3)));
    dir.write("notes.txt", "not a manifest");
    dir.write(".hidden.yaml", "{");
    fs::create_dir(dir.dir.path().join("below.yaml")).unwrap();
    let (_, events) = load(&dir.paths()).unwrap();
    assert_eq!(show(&events), ["+a:1", "+c:3", "a.yaml: 0", "+b:2", "b.yml: 0"]);
    let (_, events) = load(&[dir.dir.path().join("b.yml")]).unwrap();
    assert_eq!(show(&events), ["+b:2", "b.yml: 0"]);
    assert!(load(&[]).unwrap().1.is_empty());
}

#[test]
fn loading_tells_all_problems_of_all_files() {
    let dir = Dir::new();
    dir.write("a.yaml", "kind: Servr\n");
    dir.write("b.yaml", &server("b", 0));
    dir.write("c.yaml", &server("twice", 1));
    dir.write("d.yaml", &server("twice", 2));
    let missing = dir.dir.path().join("none");
    let problems = load(&[dir.dir.path().to_owned(), missing]).unwrap_err();
    let text: Vec<String> = problems
        .iter()
        .map(|problem| problem.to_string().replace(&*dir.dir.path().to_string_lossy(), "DIR"))
        .collect();
    assert_eq!(text.len(), 5, "{text:#?}");
    assert!(text[0].starts_with("DIR/a.yaml:1:1: apiVersion is missing"), "{text:#?}");
    assert!(text[2].starts_with("DIR/b.yaml:4:14: spec.port: 0: expected"), "{text:#?}");
    assert_eq!(text[3], "DIR/d.yaml:1:1: Server default/twice is written in DIR/c.yaml:1:1 too");
    assert!(text[4].starts_with("DIR/none: cannot be read: "), "{text:#?}");
}

#[test]
fn a_file_is_read_when_it_is_still() {
    let mut dir = Dir::new();
    dir.write("a.yaml", &server("a", 1));
    assert_eq!(dir.look(), Vec::<String>::new(), "new, perhaps not whole yet");
    dir.write("a.yaml", &(server("a", 1) + "kind: [half"));
    assert_eq!(dir.look(), Vec::<String>::new(), "it moved");
    dir.write("a.yaml", &(server("a", 1) + &server("b", 2)));
    assert_eq!(dir.look(), Vec::<String>::new(), "it moved again");
    assert_eq!(dir.look(), ["+a:1", "+b:2", "a.yaml: 0"]);
    assert_eq!(dir.look(), Vec::<String>::new(), "once");
}

#[test]
fn changes_replace_a_file_as_a_whole() {
    let mut dir = Dir::new();
    dir.write("a.yaml", &(server("a", 1) + &server("b", 2)));
    dir.settle();
    dir.write("a.yaml", &(server("b", 20) + &server("c", 3)));
    assert_eq!(dir.settle(), ["-a", "+b:20", "+c:3", "a.yaml: 0"]);
    dir.write("a.yaml", "");
    assert_eq!(dir.settle(), ["-b", "-c", "a.yaml: 0"]);
}

#[test]
fn a_bad_file_leaves_the_last_good_one_in_force() {
    let mut dir = Dir::new();
    dir.write("a.yaml", &(server("a", 1) + &server("b", 2)));
    dir.settle();
    dir.write("a.yaml", &(server("a", 10) + &server("b", 0)));
    assert_eq!(dir.settle(), ["a.yaml: 1"]);
    assert_eq!(dir.manifests.problems().len(), 1);
    dir.write("a.yaml", &server("a", 10));
    assert_eq!(dir.settle(), ["-b", "+a:10", "a.yaml: 0"]);
    assert!(dir.manifests.problems().is_empty());
}

#[test]
fn a_file_that_is_gone_takes_its_objects_along() {
    let mut dir = Dir::new();
    dir.write("a.yaml", &server("a", 1));
    dir.write("b.yaml", "kind: [bad");
    dir.settle();
    fs::remove_file(dir.dir.path().join("a.yaml")).unwrap();
    fs::remove_file(dir.dir.path().join("b.yaml")).unwrap();
    assert_eq!(dir.look(), Vec::<String>::new(), "perhaps it is being replaced");
    assert_eq!(dir.look(), ["-a", "a.yaml: 0", "b.yaml: 0"]);
}

#[test]
fn a_directory_that_is_gone_changes_nothing() {
    let mut dir = Dir::new();
    dir.write("a.yaml", &server("a", 1));
    dir.settle();
    let away = dir.dir.path().with_extension("away");
    fs::rename(dir.dir.path(), &away).unwrap();
    assert_eq!(dir.settle().len(), 1, "it is reported");
    assert_eq!(dir.manifests.problems().len(), 1);
    fs::rename(&away, dir.dir.path()).unwrap();
    assert_eq!(dir.settle().len(), 1, "and no more");
    assert!(dir.manifests.problems().is_empty());
}

#[test]
fn an_object_may_move_to_another_file() {
    let mut dir = Dir::new();
    dir.write("a.yaml", &(server("a", 1) + &server("moves", 2)));
    dir.write("b.yaml", &server("b", 3));
    dir.settle();
    dir.write("a.yaml", &server("a", 1));
    dir.write("b.yaml", &(server("b", 3) + &server("moves", 4)));
    let events = dir.settle();
    let erased = events.iter().position(|event| event == "-moves").unwrap();
    let written = events.iter().position(|event| event == "+moves:4").unwrap();
    assert!(erased < written, "{events:?}");
    dir.write("c.yaml", &server("b", 9));
    assert_eq!(dir.settle(), ["c.yaml: 1"], "a second file with it is bad");
}

#[test]
fn the_number_of_files_is_bounded() {
    let mut manifests = Manifests::default();
    let stamp = Stamp { modified: (0, 0), changed: (0, 0), length: 0, inode: 0 };
    let found = (0..MAX_FILES + 5).map(|n| (PathBuf::from(format!("{n}.yaml")), Ok(stamp))).collect();
    let (due, _) = manifests.seen(&Look { found, blind: Vec::new() }, true);
    assert_eq!(due.len(), MAX_FILES);
}

#[tokio::test]
async fn following_puts_changes_in_force() {
    let dir = Dir::new();
    dir.write("a.yaml", &server("a", 1));
    let kit = Kit::new().await;
    let (manifests, events) = load(&dir.paths()).unwrap();
    kit.mesh.apply(events);
    let (stop, stopping) = watch::channel(false);
    let metrics = Arc::new(Metrics::default());
    let task = tokio::spawn(follow(
        manifests,
        dir.paths(),
        kit.mesh.clone(),
        kit.registry.clone(),
        metrics.clone(),
        stopping,
    ));
    let until = async |what: &str, is_so: &dyn Fn(&Facts) -> bool| {
        let wait = async {
            while !kit.mesh.read(|mesh| is_so(mesh.facts())) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(5), wait).await.expect(what);
    };
    dir.write(
        "web.yaml",
        "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}",
    );
    until("the service is there, with an address", &|facts| {
        facts.service(&Id::new("default", "web")).is_some_and(|service| !service.addresses.is_empty())
    })
    .await;
    dir.write("a.yaml", "kind: [bad");
    until("the problem is reported", &|facts| facts.problems().count() == 1).await;
    assert_eq!(kit.mesh.read(|mesh| mesh.facts().count(Kind::Server)), 1, "the last good one stays");
    fs::remove_file(dir.dir.path().join("web.yaml")).unwrap();
    until("the written service is gone", &|facts| facts.count(Kind::Service) == 0).await;
    assert!(metrics.manifest_reloads.value() >= 2);
    stop.send(true).unwrap();
    timeout(Duration::from_secs(5), task).await.expect("it stops").unwrap();
}
