use super::*;
use crate::{digest::Digest, elf};
use clap::CommandFactory as _;

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

fn run(arguments: &[&str]) -> Result<(), String> {
    let arguments = ["weft-images"].iter().chain(arguments);
    Cli::try_parse_from(arguments).unwrap().command.run().map_err(|error| error.to_string())
}

/// A folder of images of programs that do nothing.
fn folder(directory: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (described, binaries, out) =
        (directory.join("described"), directory.join("bin"), directory.join("out"));
    let toolchain = Toolchain { rust: "1.95.0".into(), glibc: "2.36".into() };
    assemble::describe(&root, "x86_64-unknown-linux-gnu", &toolchain, &described).unwrap();
    fs::create_dir(&binaries).unwrap();
    for product in &PRODUCTS {
        fs::write(binaries.join(product.name), elf::tests::program(62, 1, product.name.as_bytes())).unwrap();
    }
    assemble::assemble(&described, &binaries, &[], &out).unwrap();
    out
}

#[test]
fn a_build_is_checked_against_the_record() {
    let directory = tempfile::tempdir().unwrap();
    let out = folder(directory.path());
    let (out, record) = (out.to_str().unwrap(), directory.path().join("digests.json"));
    let recorded = ["--recorded", record.to_str().unwrap()];
    let check = |more: &[&str]| run(&[["check", out].as_slice(), &recorded, more].concat());
    assert!(check(&[]).unwrap_err().ends_with("digests.json cannot be read"));
    run(&[["record", out].as_slice(), &recorded].concat()).unwrap();
    assert_eq!(check(&["--release"]), Ok(()));

    // The same sources, another image: never.
    let mut golden = Digests::read(&record).unwrap();
    golden.images.get_mut("weft").unwrap().manifest = Digest::of(b"");
    fs::write(&record, golden.text()).unwrap();
    assert!(check(&[]).unwrap_err().contains("weft-images record\n  weft: sha256:e3b0c4"));

    // Other sources: only a release minds.
    golden.sources = Digest::of(b"");
    fs::write(&record, golden.text()).unwrap();
    assert_eq!(check(&[]), Ok(()));
    assert!(check(&["--release"]).unwrap_err().contains("sources: sha256:e3b0c4"));
    assert!(run(&["compare", out, record.to_str().unwrap()]).unwrap_err().contains("sources: "));
    assert_eq!(run(&["compare", out, out]), Ok(()));
}

#[test]
fn an_archive_that_was_changed_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let out = folder(directory.path());
    let record = directory.path().join("digests.json");
    run(&["record", out.to_str().unwrap(), "--recorded", record.to_str().unwrap()]).unwrap();
    let archive = out.join("weft-init.oci.tar");
    run(&["inspect", archive.to_str().unwrap()]).unwrap();
    fs::copy(out.join("weft-proxy.oci.tar"), &archive).unwrap();
    let check = run(&["check", out.to_str().unwrap(), "--recorded", record.to_str().unwrap()]);
    assert!(check.unwrap_err().ends_with("weft-init.oci.tar is not what digests.json says"));
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&archive, bytes).unwrap();
    assert!(run(&["inspect", archive.to_str().unwrap()]).is_err());
}

#[test]
fn an_image_that_is_too_large_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let out = folder(directory.path());
    let binaries = directory.path().join("bin");
    // Not compressible: the digests of counted numbers.
    let noise: Vec<u8> =
        (0u32..90_000).flat_map(|n| Digest::of(&n.to_le_bytes()).hex().into_bytes()).collect();
    fs::write(binaries.join("weft-init"), elf::tests::program(62, 1, &noise)).unwrap();
    assemble::assemble(&directory.path().join("described"), &binaries, &[], &out).unwrap();
    let error = run(&["check", out.to_str().unwrap(), "--recorded", "none"]).unwrap_err();
    assert!(
        error.starts_with("weft-init has ") && error.ends_with("than the 2097152 it may have"),
        "{error}"
    );
}

#[test]
fn sources_are_those_of_the_images() {
    let directory = tempfile::tempdir().unwrap();
    let digests = Digests::read(&folder(directory.path())).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    run(&["sources", "--root", root.to_str().unwrap()]).unwrap();
    let recipe = Recipe::read(&root).unwrap();
    let crates = Crates::ask(&root, &recipe.packages, "x86_64-unknown-linux-gnu").unwrap();
    assert_eq!(Sources::read(&root, &crates.members, &recipe.sources).unwrap().digest(), digests.sources);
}
