//! The licence texts of what a program is linked from: most licences want them to go with the program.

use crate::{
    crates::{Crate, Key},
    sbom::Toolchain,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

/// How the files begin that hold such texts.
const NAMES: [&str; 7] = ["license", "licence", "copying", "notice", "copyright", "unlicense", "patents"];
/// The largest such file: 1 MiB.
const MAX_TEXT: u64 = 1 << 20;
const RULE: &str = "================================================================================";

/// Why there are no notices.
#[derive(Debug, thiserror::Error)]
#[error("the licence texts in {path} cannot be read")]
pub struct NoticesError {
    path: PathBuf,
    source: io::Error,
}

/// Writes all texts, each once, with the names of the crates that have it.
///
/// # Errors
/// A crate's directory cannot be read.
pub fn text(crates: &BTreeMap<&Key, &Crate>, toolchain: &Toolchain) -> Result<String, NoticesError> {
    // The same text with other line breaks is the same text; what is shown is the first of them.
    let mut texts: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    let mut without = Vec::new();
    for ((name, version), item) in crates.iter().filter(|(_, item)| item.checksum.is_some()) {
        let found =
            read(&item.directory).map_err(|source| NoticesError { path: item.directory.clone(), source })?;
        let license = item.license.as_deref().unwrap_or("no licence declared");
        if found.is_empty() {
            without.push(format!("{name} {version} ({license}; its package has no text)"));
        }
        for text in found {
            let same = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let (_, of) = texts.entry(same).or_insert((text, BTreeSet::new()));
            of.insert(format!("{name} {version} ({license})"));
        }
    }
    let mut out = String::new();
    let Toolchain { rust, glibc } = toolchain;
    // Writing to a string does not fail.
    let _ = write!(
        out,
        "What this program is linked from, and under which licences. weft itself: see LICENSE.\n\n\
         The Rust standard library {rust} is licensed under MIT or Apache-2.0.\n\
         The GNU C library {glibc} is licensed under the LGPL, version 2.1 or later, and linked statically. Its sources are\n\
         those of the distribution whose package this version names; the sources of this program and how it is built are\n\
         public, so that it can be linked with another version of that library.\n"
    );
    for line in without {
        let _ = writeln!(out, "{line}");
    }
    for (text, of) in texts.into_values() {
        let _ = write!(out, "\n{RULE}\n");
        for name in of {
            let _ = writeln!(out, "{name}");
        }
        let _ = write!(out, "{RULE}\n\n{}\n", text.trim_matches('\n'));
    }
    Ok(out)
}

/// The texts in a crate's directory, by the names of their files.
fn read(directory: &Path) -> io::Result<Vec<String>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        let metadata = fs::metadata(entry.path())?;
        if metadata.is_file()
            && metadata.len() <= MAX_TEXT
            && NAMES.iter().any(|start| name.starts_with(start))
        {
            let text = String::from_utf8_lossy(&fs::read(entry.path())?).replace("\r\n", "\n");
            found.insert(name, text);
        }
    }
    Ok(found.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_once() {
        let directory = tempfile::tempdir().unwrap();
        let make = |name: &str, files: &[(&str, &str)]| {
            let at = directory.path().join(name);
            fs::create_dir(&at).unwrap();
            for (file, text) in files {
                fs::write(at.join(file), text).unwrap();
            }
            Crate {
                license: Some("MIT".into()),
                checksum: Some("ab".into()),
                directory: at,
                ..Crate::default()
            }
        };
        let key = |name: &str| (name.to_owned(), "1.0.0".to_owned());
        let crates = [
            (key("a"), make("a", &[("LICENSE-MIT", "Be kind.\nA.\n"), ("README.md", "Not this.")])),
            (key("b"), make("b", &[("license", "Be kind.\r\n  A."), ("COPYING", "Copy.")])),
            (key("c"), make("c", &[])),
            (key("ours"), Crate { checksum: None, ..make("ours", &[("LICENSE", "Ours.")]) }),
        ];
        let linked = crates.iter().map(|(key, item)| (key, item)).collect();
        let toolchain = Toolchain { rust: "1.95.0".into(), glibc: "2.36".into() };
        let text = text(&linked, &toolchain).unwrap();
        let rest = text.split_once("library.\n").unwrap().1;
        assert_eq!(
            rest,
            format!(
                "c 1.0.0 (MIT; its package has no text)\n\
                 \n{RULE}\na 1.0.0 (MIT)\nb 1.0.0 (MIT)\n{RULE}\n\nBe kind.\nA.\n\
                 \n{RULE}\nb 1.0.0 (MIT)\n{RULE}\n\nCopy.\n"
            )
        );
        let gone = Crate {
            checksum: Some("ab".into()),
            directory: directory.path().join("gone"),
            ..Crate::default()
        };
        let error = super::text(&BTreeMap::from([(&key("gone"), &gone)]), &toolchain).unwrap_err();
        assert!(error.to_string().contains("gone cannot be read"), "{error}");
    }
}
