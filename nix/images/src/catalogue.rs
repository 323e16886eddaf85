//! weft's images: what is in each, who it runs as, how large it may be.
//!
//! Each holds one static program and nothing that could run anything else: no shell, no C library, no package manager.

use crate::{
    digest::Digest,
    image::{Image, Nothing, Process},
    layer::{Capability, Files, FilesError},
};
use std::collections::BTreeMap;

const MIB: u64 = 1 << 20;
/// Where documents are in an image.
const DOCUMENTS: &str = "usr/share/doc/weft";

/// Users and groups in every image, as Linkerd numbers them.
const PASSWD: &str = "root:x:0:0::/:/\n\
    weft-proxy:x:2102:2102::/:/\n\
    weft-controlplane:x:2103:2103::/var/lib/weft:/\n\
    weft:x:65532:65532::/home/weft:/\n\
    nobody:x:65534:65534::/:/\n";
const GROUP: &str =
    "root:x:0:\nweft-proxy:x:2102:\nweft-controlplane:x:2103:\nweft:x:65532:\nnobody:x:65534:\n";
/// For the C library that is linked in: names of services are looked up in `/etc/hosts`, then by DNS.
const NSSWITCH: &str = "hosts: files dns\n";

/// One of weft's images.
#[derive(Debug)]
pub struct Product {
    /// The image's name, the program's, and its package's.
    pub name: &'static str,
    /// One line about it.
    pub description: &'static str,
    /// Who it runs as.
    pub user: u32,
    /// Arguments it always has.
    pub arguments: &'static [&'static str],
    /// Ports it listens on.
    pub ports: &'static [&'static str],
    /// Directories of its own, which are its user's.
    pub directories: &'static [&'static str],
    /// Where Linkerd's charts and injector look for it.
    pub links: &'static [&'static str],
    /// What it may take from the kernel.
    pub capabilities: &'static [Capability],
    /// The most that a registry may have to store for it, in bytes.
    pub limit: u64,
}

/// The proxy, the redirection step, the control plane, the command line.
pub const PRODUCTS: [Product; 4] = [
    Product {
        name: "weft-proxy",
        description: "weft's proxy: mutual TLS, load balancing, retries, policy and metrics beside a workload",
        user: 2102,
        arguments: &[],
        ports: &["4140/tcp", "4143/tcp", "4190/tcp", "4191/tcp"],
        directories: &[],
        links: &["usr/lib/linkerd/linkerd2-proxy-identity", "usr/lib/linkerd/linkerd2-proxy"],
        capabilities: &[],
        limit: 8 * MIB,
    },
    Product {
        name: "weft-init",
        description: "weft's redirection step: leads a pod's connections to its proxy, or validates that they are",
        user: 0,
        arguments: &[],
        ports: &[],
        directories: &[],
        links: &["usr/lib/linkerd/linkerd2-proxy-init", "usr/lib/linkerd/linkerd2-network-validator"],
        capabilities: &[Capability::NetAdmin, Capability::NetRaw],
        limit: 2 * MIB,
    },
    Product {
        name: "weft-controlplane",
        description: "weft's control plane: discovery, policy, identity, names, registry and admin API",
        user: 2103,
        arguments: &["--state", "/var/lib/weft"],
        ports: &["53/tcp", "53/udp", "7443/tcp", "8080/tcp", "8086/tcp", "8090/tcp", "9990/tcp"],
        directories: &["var/lib/weft"],
        links: &[],
        capabilities: &[],
        limit: 14 * MIB,
    },
    Product {
        name: "weft",
        description: "weft's command line, and the whole mesh in one program",
        user: 65_532,
        arguments: &[],
        ports: &[],
        directories: &["home/weft"],
        links: &[],
        capabilities: &[],
        limit: 25 * MIB,
    },
];

/// What an image is made of beside its description.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The version: its tag.
    pub version: &'a str,
    /// What it runs on: `amd64`, `arm64`.
    pub architecture: &'a str,
    /// The digest of the sources.
    pub sources: &'a Digest,
    /// Where the sources are published, if they are.
    pub repository: Option<&'a str>,
    /// The program.
    pub program: &'a [u8],
    /// weft's licence.
    pub license: &'a str,
    /// What is in the program (SPDX).
    pub sbom: &'a str,
    /// The licences of what is in the program.
    pub notices: &'a str,
}

impl Product {
    /// The image.
    ///
    /// # Errors
    /// Only if the catalogue is wrong.
    pub fn image(&self, inputs: Inputs<'_>) -> Result<Image, FilesError> {
        let path = format!("usr/bin/{}", self.name);
        let mut program = Files::default();
        program.program(&path, inputs.program, self.capabilities)?;
        for directory in self.directories {
            program.directory(directory, 0o700, self.user)?;
        }
        for link in self.links {
            program.link(link, &format!("/{path}"))?;
        }
        let mut documents = Files::default();
        documents
            .file(&format!("{DOCUMENTS}/LICENSE"), 0o644, inputs.license)?
            .file(&format!("{DOCUMENTS}/THIRD-PARTY"), 0o644, inputs.notices)?
            .file(&format!("{DOCUMENTS}/sbom.spdx.json"), 0o644, inputs.sbom)?;
        let entrypoint = [format!("/{path}")].into_iter().chain(self.arguments.iter().map(|&a| a.to_owned()));
        Ok(Image {
            reference: format!("{}:{}", self.name, inputs.version),
            architecture: inputs.architecture.to_owned(),
            process: Process {
                user: format!("{0}:{0}", self.user),
                exposed_ports: self.ports.iter().map(|&port| (port.to_owned(), Nothing {})).collect(),
                entrypoint: entrypoint.collect(),
                working_dir: "/".to_owned(),
                stop_signal: "SIGTERM".to_owned(),
                ..Process::default()
            },
            labels: self.labels(inputs),
            layers: vec![
                base()?.layer("users, names, mount points"),
                program.layer(self.name),
                documents.layer("documents"),
            ],
        })
    }

    /// Keys as the OCI image specification, "Annotations", has them, and the digest of the sources.
    fn labels(&self, inputs: Inputs<'_>) -> BTreeMap<String, String> {
        let oci = |key: &str, value: &str| (format!("org.opencontainers.image.{key}"), value.to_owned());
        let mut labels = BTreeMap::from([
            oci("title", self.name),
            oci("description", self.description),
            oci("version", inputs.version),
            oci("licenses", "Apache-2.0"),
            ("weft.sources".to_owned(), inputs.sources.to_string()),
        ]);
        labels.extend(inputs.repository.map(|repository| oci("source", repository)));
        labels
    }
}

/// What every image stands on: the same bytes, so that nodes have it once.
fn base() -> Result<Files, FilesError> {
    let mut base = Files::default();
    base.file("etc/passwd", 0o644, PASSWD)?
        .file("etc/group", 0o644, GROUP)?
        .file("etc/nsswitch.conf", 0o644, NSSWITCH)?
        .directory("dev", 0o755, 0)?
        .directory("proc", 0o555, 0)?
        .directory("run", 0o755, 0)?
        .directory("sys", 0o555, 0)?
        .directory("tmp", 0o1777, 0)?;
    Ok(base)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Summary;
    use std::collections::BTreeSet;

    fn inputs<'a>(sources: &'a Digest) -> Inputs<'a> {
        Inputs {
            version: "0.1.0",
            architecture: "amd64",
            sources,
            repository: None,
            program: b"program",
            license: "free",
            sbom: "{}",
            notices: "",
        }
    }

    #[test]
    fn every_product_makes_an_image() {
        let sources = Digest::of(b"");
        let mut bases = BTreeSet::new();
        for product in &PRODUCTS {
            let image = product.image(inputs(&sources)).unwrap();
            let archive = image.archive();
            assert_eq!(Summary::of(&archive.bytes).unwrap(), archive.summary);
            bases.insert(archive.summary.layers[0]);
            assert_eq!(image.labels["weft.sources"], sources.to_string());
        }
        assert_eq!(bases.len(), 1, "one base layer for all");
    }

    /// Only the step that puts redirect rules in force is root; only it may take capabilities.
    #[test]
    fn nobody_is_root_without_need() {
        for product in &PRODUCTS {
            let privileged = product.name == "weft-init";
            assert_eq!(product.user == 0, privileged, "{}", product.name);
            assert_eq!(!product.capabilities.is_empty(), privileged, "{}", product.name);
            assert!(PASSWD.lines().any(|line| line.split(':').nth(2) == Some(&product.user.to_string())));
            assert!(GROUP.lines().any(|line| line.split(':').nth(2) == Some(&product.user.to_string())));
        }
    }
}
