//! An image of anything, from a description in JSON: tests pack other people's programs with it.

use crate::{
    image::{Archive, Image, Process},
    layer::{Files, FilesError},
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::PathBuf,
};

/// An image.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pack {
    /// Name and tag.
    pub reference: String,
    /// What it runs on: `amd64`.
    pub architecture: String,
    /// How it is started.
    #[serde(default)]
    pub process: Process,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What is in it, the lowest first.
    pub layers: Vec<PackLayer>,
}

/// A layer.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackLayer {
    /// What it is.
    pub title: String,
    /// Folders of this machine whose contents are taken.
    #[serde(default)]
    pub trees: Vec<PathBuf>,
    /// What of them is left out, relative to them.
    #[serde(default)]
    pub skip: BTreeSet<String>,
    /// Single files.
    #[serde(default)]
    pub files: Vec<PackFile>,
    /// Links: path to target.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    /// Directories.
    #[serde(default)]
    pub directories: Vec<PackDirectory>,
}

/// A file, from this machine or with its text.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackFile {
    /// Where it goes.
    pub path: String,
    /// Its mode.
    #[serde(default = "plain")]
    pub mode: u32,
    /// Where it is.
    #[serde(default)]
    pub source: Option<PathBuf>,
    /// What is in it, if it is nowhere.
    #[serde(default)]
    pub text: String,
}

/// A directory.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackDirectory {
    /// Where it is.
    pub path: String,
    /// Its mode.
    #[serde(default = "open")]
    pub mode: u32,
    /// Whose it is.
    #[serde(default)]
    pub owner: u32,
}

fn plain() -> u32 {
    0o644
}

fn open() -> u32 {
    0o755
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file of this machine.
    #[error("{path} cannot be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What goes in.
    #[error("layer {title:?} cannot be made")]
    Files {
        /// Which.
        title: String,
        /// Why.
        source: FilesError,
    },
}

impl Pack {
    /// The image.
    ///
    /// # Errors
    /// See [`PackError`].
    pub fn archive(&self) -> Result<Archive, PackError> {
        let mut layers = Vec::new();
        for layer in &self.layers {
            let contents = layer.contents()?;
            let files = layer
                .files(&contents)
                .map_err(|source| PackError::Files { title: layer.title.clone(), source })?;
            layers.push(files.layer(&layer.title));
        }
        let image = Image {
            reference: self.reference.clone(),
            architecture: self.architecture.clone(),
            process: self.process.clone(),
            labels: self.labels.clone(),
            layers,
        };
        Ok(image.archive())
    }
}

impl PackLayer {
    fn contents(&self) -> Result<Vec<Vec<u8>>, PackError> {
        let read = |file: &PackFile| match &file.source {
            None => Ok(file.text.clone().into_bytes()),
            Some(path) => fs::read(path).map_err(|source| PackError::Read { path: path.clone(), source }),
        };
        self.files.iter().map(read).collect()
    }

    fn files(&self, contents: &[Vec<u8>]) -> Result<Files, FilesError> {
        let mut files = Files::default();
        for tree in &self.trees {
            files.tree(tree, &self.skip)?;
        }
        for (file, bytes) in self.files.iter().zip(contents) {
            files.file(&file.path, file.mode, bytes.clone())?;
        }
        for (path, target) in &self.links {
            files.link(path, target)?;
        }
        for directory in &self.directories {
            files.directory(&directory.path, directory.mode, directory.owner)?;
        }
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Summary;

    #[test]
    fn a_program_of_somebody_elses() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("nginx"), "program").unwrap();
        let spec = serde_json::json!({
            "reference": "nginx:1", "architecture": "amd64",
            "process": {"Entrypoint": ["/nginx"], "User": "1000:1000"},
            "layers": [{
                "title": "nginx", "trees": [directory.path()],
                "files": [{"path": "etc/nginx.conf", "text": "events {}"}],
                "links": {"log": "/dev/stdout"},
                "directories": [{"path": "cache", "mode": 0o700, "owner": 1000}]
            }]
        });
        let pack: Pack = serde_json::from_value(spec).unwrap();
        let archive = pack.archive().unwrap();
        assert_eq!(Summary::of(&archive.bytes).unwrap(), archive.summary);
        let mut twice = pack.clone();
        twice.layers[0].links.insert("nginx".into(), "x".into());
        let error = twice.archive().unwrap_err();
        assert_eq!(error.to_string(), "layer \"nginx\" cannot be made");
        let mut gone = pack;
        gone.layers[0].files[0].source = Some("none".into());
        assert_eq!(gone.archive().unwrap_err().to_string(), "none cannot be read");
    }
}
