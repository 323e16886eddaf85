//! From a tree of sources to a description of its programs, and from that and the programs to a folder of images.
//!
//! Two steps, because Nix does them in two derivations: describing needs cargo and the crates, assembling needs neither.

use crate::{
    catalogue::{Inputs, PRODUCTS},
    crates::{Crates, CratesError},
    digest::Digest,
    digests::{self, Digests},
    elf::{ElfError, Machine},
    layer::FilesError,
    notices::{self, NoticesError},
    recipe::{Recipe, RecipeError},
    sbom::{self, Program, Toolchain},
    sources::{Sources, SourcesError},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

const DESCRIPTION: &str = "description.json";
const LICENSE: &str = "LICENSE";

/// What is known of the programs before they are compiled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Their version.
    pub version: String,
    /// Where the sources are published, if they are.
    pub repository: Option<String>,
    /// What they run on, as OCI says it.
    pub architecture: String,
    /// The digest of their sources.
    pub sources: Digest,
    /// What they are compiled with.
    pub toolchain: Toolchain,
}

/// Why there is no description, or there are no images.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The crates.
    #[error("what the programs are linked from is not known")]
    Crates(#[from] CratesError),
    /// The sources.
    #[error("the sources cannot be read")]
    Sources(#[from] SourcesError),
    /// Licence texts.
    #[error(transparent)]
    Notices(#[from] NoticesError),
    /// A file.
    #[error("{path} cannot be {verb}")]
    File {
        /// Which.
        path: PathBuf,
        /// Read or written.
        verb: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The description is not one.
    #[error("{path} is not a description")]
    Description {
        /// Which.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// There are no images for this.
    #[error("there are no images for {0}, only for x86_64-unknown-linux-gnu and aarch64-unknown-linux-gnu")]
    Target(String),
    /// A program that does not go into an image.
    #[error("{path} does not go into an image")]
    Program {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ElfError,
    },
    /// The catalogue is wrong.
    #[error("the image {name} cannot be made")]
    Image {
        /// Which.
        name: &'static str,
        /// Why.
        source: FilesError,
    },
}

/// Describes the programs of the sources at `root` in the folder `out`.
///
/// # Errors
/// See [`AssembleError`].
pub fn describe(
    root: &Path,
    target: &str,
    toolchain: &Toolchain,
    out: &Path,
) -> Result<Description, AssembleError> {
    let machine = Machine::of_target(target).ok_or_else(|| AssembleError::Target(target.to_owned()))?;
    let recipe = Recipe::read(root)?;
    let crates = Crates::ask(root, &recipe.packages, target)?;
    let description = Description {
        version: crates.version.clone(),
        repository: crates.repository.clone(),
        architecture: machine.architecture.to_owned(),
        sources: Sources::read(root, &crates.members, &recipe.sources)?.digest(),
        toolchain: toolchain.clone(),
    };
    make(out)?;
    #[expect(clippy::expect_used, reason = "plain structs have nothing that JSON has not")]
    let json = serde_json::to_vec_pretty(&description).expect("a plain struct");
    write(&out.join(DESCRIPTION), &json)?;
    write(&out.join(LICENSE), &read(&root.join(LICENSE))?)?;
    for product in &PRODUCTS {
        let linked = crates.of(product.name)?;
        let program = Program {
            name: product.name,
            version: &description.version,
            architecture: &description.architecture,
            sources: &description.sources,
            toolchain,
        };
        write(&sbom_path(out, product.name), sbom::document(program, &linked).as_bytes())?;
        write(&notices_path(out, product.name), notices::text(&linked, toolchain)?.as_bytes())?;
    }
    Ok(description)
}

/// Puts the programs in the folder `binaries` into images in the folder `out`, with their SBOMs and digests beside them.
/// `foreign` are texts that must not be in a program.
///
/// # Errors
/// See [`AssembleError`].
pub fn assemble(
    described: &Path,
    binaries: &Path,
    foreign: &[String],
    out: &Path,
) -> Result<Digests, AssembleError> {
    let path = described.join(DESCRIPTION);
    let description: Description = serde_json::from_slice(&read(&path)?)
        .map_err(|source| AssembleError::Description { path, source })?;
    let machine = Machine::of_architecture(&description.architecture)
        .ok_or_else(|| AssembleError::Target(description.architecture.clone()))?;
    make(out)?;
    let license = text(&described.join(LICENSE))?;
    let mut images = BTreeMap::new();
    for product in &PRODUCTS {
        let name = product.name;
        let path = binaries.join(name);
        let program = read(&path)?;
        machine.check(&program, foreign).map_err(|source| AssembleError::Program { path, source })?;
        let sbom = text(&sbom_path(described, name))?;
        let inputs = Inputs {
            version: &description.version,
            architecture: &description.architecture,
            sources: &description.sources,
            repository: description.repository.as_deref(),
            program: &program,
            license: &license,
            sbom: &sbom,
            notices: &text(&notices_path(described, name))?,
        };
        let image = product.image(inputs).map_err(|source| AssembleError::Image { name, source })?;
        let archive = image.archive();
        write(&out.join(format!("{name}.oci.tar")), &archive.bytes)?;
        write(&sbom_path(out, name), sbom.as_bytes())?;
        images.insert(name.to_owned(), archive.summary);
    }
    let Description { version, architecture, sources, toolchain, .. } = description;
    let digests = Digests { version, architecture, sources, toolchain, images };
    write(&out.join(digests::FILE), digests.text().as_bytes())?;
    Ok(digests)
}

fn sbom_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.spdx.json"))
}

fn notices_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.third-party.txt"))
}

fn make(folder: &Path) -> Result<(), AssembleError> {
    let refused = |source| AssembleError::File { path: folder.to_owned(), verb: "made", source };
    fs::create_dir_all(folder).map_err(refused)
}

fn read(path: &Path) -> Result<Vec<u8>, AssembleError> {
    fs::read(path).map_err(|source| AssembleError::File { path: path.to_owned(), verb: "read", source })
}

fn text(path: &Path) -> Result<String, AssembleError> {
    fs::read_to_string(path).map_err(|source| AssembleError::File {
        path: path.to_owned(),
        verb: "read",
        source,
    })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), AssembleError> {
    fs::write(path, bytes).map_err(|source| AssembleError::File {
        path: path.to_owned(),
        verb: "written",
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{elf, image::Summary};

    fn toolchain() -> Toolchain {
        Toolchain { rust: "1.95.0".into(), glibc: "2.36".into() }
    }

    /// This tree, described as it is; programs that do nothing.
    #[test]
    fn a_folder_of_images() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let directory = tempfile::tempdir().unwrap();
        let (described, binaries) = (directory.path().join("described"), directory.path().join("bin"));
        let description = describe(&root, "x86_64-unknown-linux-gnu", &toolchain(), &described).unwrap();
        assert_eq!(description.architecture, "amd64");
        fs::create_dir(&binaries).unwrap();
        for product in &PRODUCTS {
            fs::write(binaries.join(product.name), elf::tests::program(62, 1, product.name.as_bytes()))
                .unwrap();
        }
        let (one, other) = (directory.path().join("one"), directory.path().join("other"));
        let digests = assemble(&described, &binaries, &[], &one).unwrap();
        assert_eq!(assemble(&described, &binaries, &[], &other).unwrap(), digests);
        assert_eq!(Digests::read(&one).unwrap(), digests);
        for (name, summary) in &digests.images {
            let archive = fs::read(one.join(format!("{name}.oci.tar"))).unwrap();
            assert_eq!(&Summary::of(&archive).unwrap(), summary);
            let text = String::from_utf8_lossy(&archive);
            assert!(!text.contains(root.to_str().unwrap()), "{name} names this machine's folders");
        }

        // Bad programs are named.
        fs::write(binaries.join("weft-init"), elf::tests::program(62, 3, b"")).unwrap();
        let error = assemble(&described, &binaries, &[], &other).unwrap_err();
        assert!(error.to_string().ends_with("weft-init does not go into an image"), "{error}");
        fs::remove_file(binaries.join("weft-init")).unwrap();
        let error = assemble(&described, &binaries, &[], &other).unwrap_err();
        assert!(error.to_string().ends_with("weft-init cannot be read"), "{error}");
    }

    #[test]
    fn no_images_for_other_machines() {
        let error = describe(Path::new("."), "riscv64gc-unknown-linux-gnu", &toolchain(), Path::new("."))
            .unwrap_err();
        assert!(error.to_string().starts_with("there are no images for riscv64gc"), "{error}");
    }
}
