//! What is in a program, as an SPDX 2.3 document (ISO/IEC 5962): its crates, the C libraries that some of them carry, the C
//! and Rust run-time libraries it is linked with.

use crate::{
    crates::{Crate, Key},
    digest::Digest,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs};

/// SPDX wants a time; the bytes must not depend on one.
const CREATED: &str = "1970-01-01T00:00:00Z";
const UNKNOWN: &str = "NOASSERTION";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";

/// C libraries that crates carry: whose, where its version is, and what is defined as it.
const CARRIED: &[Carried] = &[
    Carried {
        by: "aws-lc-sys",
        name: "aws-lc",
        license: "ISC AND (Apache-2.0 OR ISC)",
        header: "aws-lc/include/openssl/base.h",
        define: "AWSLC_VERSION_NUMBER_STRING",
    },
    Carried {
        by: "libsqlite3-sys",
        name: "sqlite",
        license: "blessing",
        header: "sqlite3/sqlite3.h",
        define: "SQLITE_VERSION",
    },
];

struct Carried {
    by: &'static str,
    name: &'static str,
    license: &'static str,
    header: &'static str,
    define: &'static str,
}

/// What every program is compiled and linked with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Toolchain {
    /// The version of Rust and its standard library.
    pub rust: String,
    /// The version of the GNU C library, which is linked statically.
    pub glibc: String,
}

/// A program, to describe it.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Its package.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// What it runs on: `amd64`, `arm64`.
    pub architecture: &'a str,
    /// The digest of its sources.
    pub sources: &'a Digest,
    /// What it is compiled with.
    pub toolchain: &'a Toolchain,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: String,
    document_namespace: String,
    creation_info: Creation,
    packages: Vec<Package>,
    relationships: Vec<Relationship>,
}

#[derive(Serialize)]
struct Creation {
    created: &'static str,
    creators: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    #[serde(rename = "SPDXID")]
    id: String,
    name: String,
    version_info: String,
    download_location: &'static str,
    files_analyzed: bool,
    license_declared: String,
    license_concluded: &'static str,
    copyright_text: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checksums: Vec<Checksum>,
    external_refs: Vec<Reference>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum {
    algorithm: &'static str,
    checksum_value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: String,
    relationship_type: &'static str,
    related_spdx_element: String,
}

/// Writes the document. Crates that carry C libraries are looked into for the versions of those.
#[must_use]
pub fn document(program: Program<'_>, crates: &BTreeMap<&Key, &Crate>) -> String {
    let Program { name, version, architecture, sources, toolchain } = program;
    let mut document = Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        id: DOCUMENT,
        name: format!("{name}-{version}"),
        document_namespace: format!("urn:weft:sbom:{name}:{version}:{architecture}:{}", sources.hex()),
        creation_info: Creation { created: CREATED, creators: vec![format!("Tool: weft-images-{version}")] },
        packages: Vec::new(),
        relationships: Vec::new(),
    };
    let main = id("cargo", name, version);
    document.relate(DOCUMENT, "DESCRIBES", &main);
    for (key, item) in crates {
        let (name, version) = key;
        let own = id("cargo", name, version);
        document.packages.push(Package {
            checksums: item.checksum.iter().map(|value| sha256(value.clone())).collect(),
            ..package(own.clone(), "cargo", name, version, item.license.as_deref())
        });
        for (name, version) in &item.dependencies {
            document.relate(&own, "DEPENDS_ON", &id("cargo", name, version));
        }
        for carried in CARRIED.iter().filter(|carried| carried.by == name) {
            let version = fs::read_to_string(item.directory.join(carried.header)).ok();
            let version = version.as_deref().and_then(|header| defined(header, carried.define));
            let version = version.unwrap_or(UNKNOWN);
            let theirs = id("generic", carried.name, version);
            document.packages.push(package(
                theirs.clone(),
                "generic",
                carried.name,
                version,
                Some(carried.license),
            ));
            document.relate(&own, "CONTAINS", &theirs);
        }
    }
    for (name, version, license) in
        [("rust", &toolchain.rust, "MIT OR Apache-2.0"), ("glibc", &toolchain.glibc, "LGPL-2.1-or-later")]
    {
        let theirs = id("generic", name, version);
        document.packages.push(package(theirs.clone(), "generic", name, version, Some(license)));
        document.relate(&main, "STATIC_LINK", &theirs);
    }
    #[expect(clippy::expect_used, reason = "these types have nothing that JSON has not")]
    let mut text = serde_json::to_string_pretty(&document).expect("plain structs");
    text.push('\n');
    text
}

impl Document {
    fn relate(&mut self, from: &str, kind: &'static str, to: &str) {
        self.relationships.push(Relationship {
            spdx_element_id: from.to_owned(),
            relationship_type: kind,
            related_spdx_element: to.to_owned(),
        });
    }
}

fn package(id: String, kind: &str, name: &str, version: &str, license: Option<&str>) -> Package {
    Package {
        id,
        name: name.to_owned(),
        version_info: version.to_owned(),
        download_location: UNKNOWN,
        files_analyzed: false,
        license_declared: license.map_or_else(|| UNKNOWN.to_owned(), expression),
        license_concluded: UNKNOWN,
        copyright_text: UNKNOWN,
        checksums: Vec::new(),
        external_refs: vec![Reference {
            reference_category: "PACKAGE-MANAGER",
            reference_type: "purl",
            reference_locator: format!("pkg:{kind}/{name}@{}", version.replace('+', "%2B")),
        }],
    }
}

/// What some manifests still write with a slash is an OR (The Cargo Book, "The license field").
fn expression(license: &str) -> String {
    license.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ")
}

fn sha256(value: String) -> Checksum {
    Checksum { algorithm: "SHA256", checksum_value: value }
}

/// SPDX ids are of letters, digits, `.` and `-` (SPDX 2.3, 7.2).
fn id(kind: &str, name: &str, version: &str) -> String {
    let text = format!("SPDXRef-{kind}-{name}-{version}");
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect()
}

/// What a C header defines as a string.
fn defined<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.lines().find_map(|line| {
        let value = line.strip_prefix("#define")?.trim_start().strip_prefix(name)?;
        value.strip_prefix([' ', '\t'])?.trim().strip_prefix('"')?.strip_suffix('"')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn key(name: &str, version: &str) -> Key {
        (name.to_owned(), version.to_owned())
    }

    #[test]
    fn a_program_with_sqlite() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("sqlite3")).unwrap();
        let header = "#define SQLITE_VERSION_NUMBER 3\n#define SQLITE_VERSION        \"3.51.3\"\n";
        fs::write(directory.path().join("sqlite3/sqlite3.h"), header).unwrap();
        let (main, sys) = (key("weft", "0.1.0"), key("libsqlite3-sys", "0.37.0+x"));
        let ours = Crate {
            license: Some("Apache-2.0".into()),
            dependencies: BTreeSet::from([sys.clone()]),
            ..Crate::default()
        };
        let theirs = Crate {
            license: Some("MIT/Apache-2.0".into()),
            checksum: Some("ab".into()),
            directory: directory.path().to_owned(),
            ..Crate::default()
        };
        let crates = BTreeMap::from([(&main, &ours), (&sys, &theirs)]);
        let toolchain = Toolchain { rust: "1.95.0".into(), glibc: "2.36-9+deb12u14".into() };
        let program = Program {
            name: "weft",
            version: "0.1.0",
            architecture: "amd64",
            sources: &Digest::of(b""),
            toolchain: &toolchain,
        };
        let text = document(program, &crates);
        assert_eq!(text, document(program, &crates));
        assert!(!text.contains(directory.path().to_str().unwrap()), "no path of this machine");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let packages: Vec<String> = value["packages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| {
                let locator = p["externalRefs"][0]["referenceLocator"].as_str().unwrap();
                format!("{locator} {}", p["licenseDeclared"].as_str().unwrap())
            })
            .collect();
        assert_eq!(
            packages,
            [
                "pkg:cargo/libsqlite3-sys@0.37.0%2Bx MIT OR Apache-2.0",
                "pkg:generic/sqlite@3.51.3 blessing",
                "pkg:cargo/weft@0.1.0 Apache-2.0",
                "pkg:generic/rust@1.95.0 MIT OR Apache-2.0",
                "pkg:generic/glibc@2.36-9%2Bdeb12u14 LGPL-2.1-or-later",
            ]
        );
        // Every end of every relationship is there (SPDX 2.3, 11.1).
        let ids: BTreeSet<&str> =
            value["packages"].as_array().unwrap().iter().map(|p| p["SPDXID"].as_str().unwrap()).collect();
        for relationship in value["relationships"].as_array().unwrap() {
            let from = relationship["spdxElementId"].as_str().unwrap();
            let to = relationship["relatedSpdxElement"].as_str().unwrap();
            assert!((from == DOCUMENT || ids.contains(from)) && ids.contains(to), "{from} {to}");
        }
        assert_eq!(value["packages"][0]["SPDXID"], "SPDXRef-cargo-libsqlite3-sys-0.37.0-x");
    }

    #[test]
    fn defines() {
        assert_eq!(defined("#define A \"1\"", "A"), Some("1"));
        assert_eq!(defined("#define AB \"1\"\n#define A 1", "A"), None);
    }
}
