//! The program: what can be typed, and what comes of it.

use crate::{
    assemble, build::Build, catalogue::PRODUCTS, crates::Crates, digests::Digests, image::Summary,
    pack::Pack, recipe::Recipe, sbom::Toolchain, sources::Sources,
};
use clap::{Parser, Subcommand};
use std::{
    error::Error,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Exit code of a command line that is wrong (sysexits.h).
const USAGE: u8 = 64;
/// Where digests are recorded, below the root.
const RECORDED: &str = "nix/digests.json";

type Done = Result<(), Box<dyn Error>>;

/// Assembles weft's OCI images: the same bytes from the same files, anywhere.
#[derive(Debug, Parser)]
#[command(name = "weft-images", version, disable_help_subcommand = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compile with cargo and assemble, without Nix
    Build {
        /// The sources
        #[arg(long, value_name = "DIR", default_value = ".")]
        root: PathBuf,
        /// What to compile for
        #[arg(long, value_name = "TRIPLE", default_value = "x86_64-unknown-linux-gnu")]
        target: String,
        /// Cargo's folder
        #[arg(long, value_name = "DIR", default_value = "target/images")]
        target_dir: PathBuf,
        /// Where the images go
        #[arg(long, value_name = "DIR", default_value = "target/images/out")]
        out: PathBuf,
        /// Refuse to build with other compilers than Nix' sandbox has
        #[arg(long)]
        same_compilers: bool,
    },
    /// Write down what the programs are made of: SBOMs, licence texts, the digest of their sources
    Describe {
        /// The sources
        #[arg(long, value_name = "DIR", default_value = ".")]
        root: PathBuf,
        /// What they are compiled for
        #[arg(long, value_name = "TRIPLE")]
        target: String,
        /// Version of Rust
        #[arg(long, value_name = "VERSION")]
        rust: String,
        /// Version of the GNU C library
        #[arg(long, value_name = "VERSION")]
        glibc: String,
        /// Where it goes
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Put compiled programs into images
    Assemble {
        /// Where the programs are
        #[arg(long, value_name = "DIR")]
        binaries: PathBuf,
        /// What `describe` has written
        #[arg(long, value_name = "DIR")]
        description: PathBuf,
        /// A text that must not be in a program, such as the folder it was built in; may be given more than once
        #[arg(long = "foreign", value_name = "TEXT")]
        foreign: Vec<String>,
        /// Where the images go
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Put files of this machine into an image
    Pack {
        /// What goes in, as JSON
        spec: PathBuf,
        /// The archive
        out: PathBuf,
    },
    /// Check every digest in archives, and show them
    Inspect {
        /// OCI archives
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// Tell how two builds differ
    Compare {
        /// A folder of images, or a file of digests
        one: PathBuf,
        /// Another one
        other: PathBuf,
    },
    /// Check a build: every digest, the sizes, and what is recorded for the same sources
    Check {
        /// A folder of images
        folder: PathBuf,
        /// What is recorded
        #[arg(long, value_name = "FILE", default_value = RECORDED)]
        recorded: PathBuf,
        /// Refuse a record of other sources: for releases
        #[arg(long)]
        release: bool,
    },
    /// Record a build's digests
    Record {
        /// A folder of images
        folder: PathBuf,
        /// Where to
        #[arg(long, value_name = "FILE", default_value = RECORDED)]
        recorded: PathBuf,
    },
    /// Show the digest of the sources
    Sources {
        /// The sources
        #[arg(long, value_name = "DIR", default_value = ".")]
        root: PathBuf,
        /// Show all files, as sha256sum does; the digest is that of this list
        #[arg(long)]
        list: bool,
    },
}

/// The whole program.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            eprintln!("weft-images: {text}");
            ExitCode::FAILURE
        }
    }
}

impl Command {
    fn run(self) -> Done {
        match self {
            Self::Build { root, target, target_dir, out, same_compilers } => {
                let root = fs::canonicalize(&root).map_err(|error| format!("{}: {error}", root.display()))?;
                let at = |path: PathBuf| root.join(path);
                let (target_directory, out) = (at(target_dir), at(out));
                build(&Build { root, target, target_directory, out }, same_compilers)
            }
            Self::Describe { root, target, rust, glibc, out } => {
                assemble::describe(&root, &target, &Toolchain { rust, glibc }, &out)?;
                Ok(())
            }
            Self::Assemble { binaries, description, foreign, out } => {
                print!("{}", table(&assemble::assemble(&description, &binaries, &foreign, &out)?));
                Ok(())
            }
            Self::Pack { spec, out } => {
                let bytes = fs::read(&spec).map_err(|error| format!("{}: {error}", spec.display()))?;
                let pack: Pack =
                    serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", spec.display()))?;
                let archive = pack.archive()?;
                fs::write(&out, &archive.bytes).map_err(|error| format!("{}: {error}", out.display()))?;
                println!("{}", archive.summary.manifest);
                Ok(())
            }
            Self::Inspect { archives } => archives.iter().try_for_each(|path| inspect(path)),
            Self::Compare { one, other } => compare(&one, &other),
            Self::Check { folder, recorded, release } => check(&folder, &recorded, release),
            Self::Record { folder, recorded } => {
                let digests = Digests::read(&folder)?;
                fs::write(&recorded, digests.text())
                    .map_err(|error| format!("{}: {error}", recorded.display()))?;
                println!("recorded in {}: read the difference before you commit it", recorded.display());
                Ok(())
            }
            Self::Sources { root, list } => {
                let recipe = Recipe::read(&root)?;
                let crates = Crates::ask(&root, &recipe.packages, "x86_64-unknown-linux-gnu")?;
                let sources = Sources::read(&root, &crates.members, &recipe.sources)?;
                if list {
                    print!("{}", sources.list())
                } else {
                    println!("{}", sources.digest())
                }
                Ok(())
            }
        }
    }
}

fn build(build: &Build, same_compilers: bool) -> Done {
    let others = build.others()?;
    for other in &others {
        eprintln!("weft-images: {other}");
    }
    if !others.is_empty() {
        let text = "other compilers give other digests than Nix does";
        if same_compilers {
            return Err(format!("{text}; nix/offline/prepare.sh --relock takes what is here").into());
        }
        eprintln!("weft-images: {text}");
    }
    print!("{}", table(&build.run()?));
    println!("in {}", build.out.display());
    Ok(())
}

fn table(digests: &Digests) -> String {
    let line = |(name, summary): (&String, &Summary)| {
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let size = summary.compressed_bytes as f64 / f64::from(1 << 20);
        format!("{name:<18} {} {size:5.1} MiB\n", summary.manifest)
    };
    digests.images.iter().map(line).collect()
}

fn inspect(path: &Path) -> Done {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let summary = Summary::of(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("{}: every digest in it is right", path.display());
    println!("  manifest    {}", summary.manifest);
    println!("  config      {}", summary.config);
    for layer in &summary.layers {
        println!("  layer       {layer}");
    }
    println!("  archive     {}", summary.archive);
    println!("  compressed  {} bytes", summary.compressed_bytes);
    Ok(())
}

fn compare(one: &Path, other: &Path) -> Done {
    let (first, second) = (Digests::read(one)?, Digests::read(other)?);
    let differences = first.differences(&second);
    if differences.is_empty() {
        println!("the same: {} images of sources {}", first.images.len(), first.sources);
        return Ok(());
    }
    let lines: Vec<String> = differences.iter().map(|difference| format!("\n  {difference}")).collect();
    Err(format!("{} and {} differ:{}", one.display(), other.display(), lines.concat()).into())
}

fn check(folder: &Path, recorded: &Path, release: bool) -> Done {
    let digests = Digests::read(folder)?;
    for product in &PRODUCTS {
        let name = product.name;
        let path = folder.join(format!("{name}.oci.tar"));
        let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let summary = Summary::of(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        if digests.images.get(name) != Some(&summary) {
            return Err(format!("{} is not what {} says", path.display(), crate::digests::FILE).into());
        }
        if summary.compressed_bytes > product.limit {
            let (size, limit) = (summary.compressed_bytes, product.limit);
            return Err(format!("{name} has {size} bytes, more than the {limit} it may have").into());
        }
        println!("{name}: {} bytes of at most {}", summary.compressed_bytes, product.limit);
    }
    let golden = Digests::read(recorded)?;
    let differences = golden.differences(&digests);
    if differences.is_empty() {
        println!("as recorded in {}", recorded.display());
        return Ok(());
    }
    let same_inputs = golden.sources == digests.sources && golden.toolchain == digests.toolchain;
    if same_inputs || release {
        let lines: Vec<String> = differences.iter().map(|difference| format!("\n  {difference}")).collect();
        let next = "if the sources were to change: weft-images record";
        return Err(format!("not what {} records; {next}{}", recorded.display(), lines.concat()).into());
    }
    println!(
        "{} records other sources, so there is nothing to compare with; weft-images record",
        recorded.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests;
