//! An image: layers, how to start what is in them, and the archive that carries it.
//!
//! Written to the OCI image specification 1.1 (`image-layout`, `index`, `manifest`, `config`), without any time. A
//! `manifest.json` beside `index.json` lets tools that know only Docker's archives load the same file.

use crate::{
    digest::Digest,
    layer::Layer,
    tar::{self, Meta, Node, ReadError, Writer},
};
use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io::Read as _};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const REFERENCE: &str = "org.opencontainers.image.ref.name";
const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const TOOL: &str = "weft-images";
/// The most that a layer may unpack to when an archive is checked: 1 GiB.
const MAX_UNPACKED: u64 = 1 << 30;

/// An image to be.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name and tag: `weft-proxy:0.1.0`.
    pub reference: String,
    /// What it runs on: `amd64`, `arm64`.
    pub architecture: String,
    /// How it is started.
    pub process: Process,
    /// Labels of the image, which are annotations of its manifest too.
    pub labels: BTreeMap<String, String>,
    /// What is in it, the lowest first.
    pub layers: Vec<Layer>,
}

/// How an image is started (OCI image configuration, `config`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Process {
    /// User and group, as numbers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Ports it listens on: `4143/tcp`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Nothing>,
    /// `NAME=value`
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The program and the arguments it always has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Arguments unless others are given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Where it starts.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels; [`Image::labels`] are put here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What asks it to end.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
}

/// `{}`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nothing {}

/// An image in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The file.
    pub bytes: Vec<u8>,
    /// What is in it.
    pub summary: Summary,
}

/// What identifies an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Summary {
    /// Of the manifest: what registries and runtimes call the image's digest.
    pub manifest: Digest,
    /// Of the configuration: what podman and Docker call the image's id.
    pub config: Digest,
    /// Of the layers before compression.
    pub layers: Vec<Digest>,
    /// Of the archive file.
    pub archive: Digest,
    /// What a registry stores and a node pulls: manifest, configuration and compressed layers, in bytes.
    pub compressed_bytes: u64,
}

/// An archive that is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not tar.
    #[error(transparent)]
    Tar(#[from] ReadError),
    /// A file is missing.
    #[error("there is no {0} in it")]
    Missing(String),
    /// A blob's bytes are not those its name says.
    #[error("{name} holds {found}")]
    Blob {
        /// Its name.
        name: String,
        /// What it holds.
        found: Digest,
    },
    /// A document is not what the specification says.
    #[error("{name} is not what it should be")]
    Document {
        /// Which.
        name: String,
        /// Why.
        source: serde_json::Error,
    },
    /// More or fewer than one image.
    #[error("{0} images in it, expected one")]
    Images(usize),
    /// A layer cannot be unpacked, or is not what the configuration says.
    #[error("layer {0} unpacks to something else than the configuration says")]
    Layer(Digest),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
    annotations: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: String,
    manifests: Vec<Descriptor>,
}

#[derive(Serialize, Deserialize)]
struct Configuration {
    architecture: String,
    os: String,
    config: Process,
    rootfs: RootFs,
    history: Vec<Step>,
}

#[derive(Serialize, Deserialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Vec<Digest>,
}

#[derive(Serialize, Deserialize)]
struct Step {
    created_by: String,
    comment: String,
}

/// Docker's own list of what is in an archive.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl Descriptor {
    fn of(media_type: &str, blob: &[u8]) -> Self {
        let (media_type, digest) = (media_type.to_owned(), Digest::of(blob));
        Self { media_type, digest, size: blob.len() as u64, platform: None, annotations: BTreeMap::new() }
    }
}

impl Image {
    /// The archive.
    #[must_use]
    pub fn archive(&self) -> Archive {
        let configuration = json(&Configuration {
            architecture: self.architecture.clone(),
            os: "linux".to_owned(),
            config: Process { labels: self.labels.clone(), ..self.process.clone() },
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: self.layers.iter().map(|layer| layer.diff_id).collect(),
            },
            history: self
                .layers
                .iter()
                .map(|layer| Step { created_by: TOOL.to_owned(), comment: layer.title.clone() })
                .collect(),
        });
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            config: Descriptor::of(CONFIG, &configuration),
            layers: self.layers.iter().map(|layer| Descriptor::of(LAYER, &layer.blob)).collect(),
            annotations: self.labels.clone(),
        };
        let docker = json(&[DockerImage {
            config: blob_path(&manifest.config.digest),
            repo_tags: vec![self.reference.clone()],
            layers: manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect(),
        }]);
        let manifest = json(&manifest);
        let platform = Platform { architecture: self.architecture.clone(), os: "linux".to_owned() };
        let index = json(&Index {
            schema_version: 2,
            media_type: INDEX.to_owned(),
            manifests: vec![Descriptor {
                platform: Some(platform),
                annotations: BTreeMap::from([(REFERENCE.to_owned(), self.reference.clone())]),
                ..Descriptor::of(MANIFEST, &manifest)
            }],
        });

        let layers = self.layers.iter().map(|layer| layer.blob.as_slice());
        let blobs: BTreeMap<String, &[u8]> = layers
            .chain([configuration.as_slice(), manifest.as_slice()])
            .map(|blob| (blob_path(&Digest::of(blob)), blob))
            .collect();
        let (directory, file) =
            (Meta { mode: 0o755, ..Meta::default() }, Meta { mode: 0o644, ..Meta::default() });
        let mut tar = Writer::default();
        tar.put("blobs", &directory, Node::Directory);
        tar.put("blobs/sha256", &directory, Node::Directory);
        for (path, blob) in &blobs {
            tar.put(path, &file, Node::File(blob));
        }
        tar.put("index.json", &file, Node::File(&index));
        tar.put("manifest.json", &file, Node::File(&docker));
        tar.put("oci-layout", &file, Node::File(LAYOUT.as_bytes()));
        let bytes = tar.finish();
        let summary = Summary {
            manifest: Digest::of(&manifest),
            config: Digest::of(&configuration),
            layers: self.layers.iter().map(|layer| layer.diff_id).collect(),
            archive: Digest::of(&bytes),
            compressed_bytes: blobs.values().map(|blob| blob.len() as u64).sum(),
        };
        Archive { bytes, summary }
    }
}

impl Summary {
    /// Reads an archive and checks every digest in it, layers unpacked.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn of(archive: &[u8]) -> Result<Self, ArchiveError> {
        let entries = tar::read(archive)?;
        let files: BTreeMap<&str, &[u8]> =
            entries.iter().map(|entry| (entry.path.as_str(), entry.bytes)).collect();
        let file =
            |name: &str| files.get(name).copied().ok_or_else(|| ArchiveError::Missing(name.to_owned()));
        let blob = |digest: &Digest| {
            let name = blob_path(digest);
            let bytes = file(&name)?;
            let found = Digest::of(bytes);
            if found == *digest { Ok(bytes) } else { Err(ArchiveError::Blob { name, found }) }
        };
        let index: Index = document("index.json", file("index.json")?)?;
        let [image] = index.manifests.as_slice() else {
            return Err(ArchiveError::Images(index.manifests.len()));
        };
        let manifest_bytes = blob(&image.digest)?;
        let manifest: Manifest = document("the manifest", manifest_bytes)?;
        let config_bytes = blob(&manifest.config.digest)?;
        let configuration: Configuration = document("the configuration", config_bytes)?;
        let diff_ids = configuration.rootfs.diff_ids;
        let mut compressed_bytes = (manifest_bytes.len() + config_bytes.len()) as u64;
        let mut wanted = diff_ids.iter();
        for layer in &manifest.layers {
            let packed = blob(&layer.digest)?;
            let mut unpacked = Vec::new();
            GzDecoder::new(packed)
                .take(MAX_UNPACKED)
                .read_to_end(&mut unpacked)
                .map_err(|_| ArchiveError::Layer(layer.digest))?;
            if wanted.next() != Some(&Digest::of(&unpacked)) {
                return Err(ArchiveError::Layer(layer.digest));
            }
            compressed_bytes += packed.len() as u64;
        }
        Ok(Self {
            manifest: image.digest,
            config: manifest.config.digest,
            layers: diff_ids,
            archive: Digest::of(archive),
            compressed_bytes,
        })
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Structs and sorted maps only: the same text each time.
#[expect(clippy::expect_used, reason = "these types have nothing that JSON has not")]
fn json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("plain structs")
}

fn document<'a, T: Deserialize<'a>>(name: &str, bytes: &'a [u8]) -> Result<T, ArchiveError> {
    serde_json::from_slice(bytes).map_err(|source| ArchiveError::Document { name: name.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::Files;

    fn image() -> Image {
        let mut base = Files::default();
        base.file("etc/passwd", 0o644, "root:x:0:0::/:/bin/false\n").unwrap();
        let mut program = Files::default();
        program.file("bin/program", 0o755, vec![7; 5_000]).unwrap();
        Image {
            reference: "program:1.0".into(),
            architecture: "amd64".into(),
            process: Process {
                user: "2102:2102".into(),
                entrypoint: vec!["/bin/program".into()],
                exposed_ports: BTreeMap::from([("4143/tcp".into(), Nothing {})]),
                ..Process::default()
            },
            labels: BTreeMap::from([("org.opencontainers.image.version".into(), "1.0".into())]),
            layers: vec![base.layer("base"), program.layer("program")],
        }
    }

    /// The digest is part of what is promised: whoever changes the format changes every published digest.
    #[test]
    fn the_same_bytes_each_time() {
        let archive = image().archive();
        assert_eq!(archive, image().archive());
        assert_eq!(Summary::of(&archive.bytes).unwrap(), archive.summary);
        assert_eq!(
            archive.summary.manifest.to_string(),
            "sha256:68d05e14620b835013361306472e8e5d77828f56c5389b1ad82746206448e53e"
        );
    }

    #[test]
    fn no_time_is_told() {
        let archive = image().archive();
        for entry in tar::read(&archive.bytes).unwrap() {
            let text = String::from_utf8_lossy(entry.bytes);
            assert!(!text.contains("created\""), "{} says when it was made", entry.path);
        }
    }

    #[test]
    fn every_digest_is_checked() {
        let good = image().archive().bytes;
        let entries = tar::read(&good).unwrap();
        // Each blob, damaged in its middle, is found out.
        for (number, _) in
            entries.iter().enumerate().filter(|(_, e)| e.path.starts_with("blobs/") && e.kind == '0')
        {
            let mut tar = Writer::default();
            for (at, entry) in entries.iter().enumerate() {
                let mut bytes = entry.bytes.to_vec();
                if at == number {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                }
                let node = if entry.kind == '5' { Node::Directory } else { Node::File(&bytes) };
                tar.put(entry.path.trim_end_matches('/'), &entry.meta, node);
            }
            let error = Summary::of(&tar.finish()).unwrap_err();
            assert!(matches!(error, ArchiveError::Blob { .. }), "{error}");
        }
    }

    /// A layer that is what its digest says and not what the configuration says.
    #[test]
    fn a_layer_that_unpacks_to_something_else() {
        let mut image = image();
        image.layers[0].diff_id = image.layers[1].diff_id;
        let error = Summary::of(&image.archive().bytes).unwrap_err();
        assert!(matches!(error, ArchiveError::Layer(_)), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = Summary::of(&Writer::default().finish()).unwrap_err();
        assert_eq!(error.to_string(), "there is no index.json in it");
    }
}
