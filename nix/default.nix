# Everything that the flake makes. What is asked of `pkgs` is listed in README.md: nix/offline has to give the same.
{ pkgs }:
let
  inherit (pkgs) lib;
  manifest = lib.importTOML ../Cargo.toml;
  recipe = lib.importJSON ./build.json;
  inherit (manifest.workspace.package) version;
  inherit (manifest.workspace) members;
  target = pkgs.stdenv.hostPlatform.rust.rustcTarget;
  cargoLock.lockFile = ../Cargo.lock;

  at = path: ../. + "/${path}";
  manifests = [ ../Cargo.toml ../Cargo.lock ] ++ map (member: at "${member}/Cargo.toml") members;
  tree = paths: lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions (manifests ++ paths);
  };
  # As `weft-images sources` counts them: a change of anything else builds nothing anew.
  without = member: lib.any (folder: member == folder || lib.hasPrefix "${folder}/" member) recipe.sources.without;
  sources = tree (
    [ ./build.json ]
    ++ map at recipe.sources.also
    ++ map (member: at "${member}/src") (lib.filter (member: !(without member)) members)
  );

  # cargo reads the manifests of all members, and wants each to have something in it.
  fillMembers = ''
    for member in ${lib.escapeShellArgs members}; do
      [ -d "$member/src" ] || { mkdir -p "$member/src"; : > "$member/src/lib.rs"; }
    done
  '';

  # Puts programs into images; the same program as without Nix.
  assembler = pkgs.rustPlatform.buildRustPackage {
    pname = "weft-images";
    inherit version cargoLock;
    src = tree [ ./images/src ];
    postPatch = fillMembers;
    cargoBuildFlags = [ "-p" "weft-images" ];
    doCheck = false;
    auditable = false;
    meta = {
      description = "Assembles weft's OCI images: the same bytes from the same files, anywhere";
      license = lib.licenses.asl20;
      mainProgram = "weft-images";
      platforms = lib.platforms.linux;
    };
  };

  # All programs by one cargo run: dependencies are compiled once, with the features that all of them need. The paths of
  # the sandbox are renamed as `weft-images build` renames those of a machine.
  programs = pkgs.rustPlatform.buildRustPackage {
    pname = "weft-programs";
    inherit version cargoLock;
    src = sources;
    postPatch = fillMembers;
    cargoBuildFlags = lib.concatMap (package: [ "-p" package ]) recipe.packages;
    buildType = recipe.profile;
    buildInputs = [ pkgs.glibc.static ];
    # Tests are run by cargo, on what it has compiled anyway: tests/run.
    doCheck = false;
    auditable = false;
    dontStrip = true;
    dontPatchELF = true;
    env = recipe.env // {
      RUSTFLAGS = lib.concatStringsSep " " (
        recipe.rustflags
        ++ [
          "--remap-path-prefix=/build/source=."
          "--remap-path-prefix=/build/cargo-vendor-dir=/cargo"
          "--remap-path-prefix=/build/source/target=./target"
        ]
      );
      CFLAGS = lib.concatStringsSep " " [
        "-ffile-prefix-map=/build/source=."
        "-ffile-prefix-map=/build/cargo-vendor-dir=/cargo"
        "-ffile-prefix-map=/build/source/target=./target"
      ];
    };
    meta = {
      description = "weft's programs: static, as they are in its images";
      license = lib.licenses.asl20;
      mainProgram = "weft";
      platforms = lib.platforms.linux;
    };
  };

  # SBOMs, licence texts, the digest of the sources: asks cargo, compiles nothing.
  description = pkgs.rustPlatform.buildRustPackage {
    pname = "weft-description";
    inherit version cargoLock;
    src = sources;
    postPatch = fillMembers;
    nativeBuildInputs = [ assembler ];
    buildPhase = ''
      weft-images describe --root . --target ${target} --rust ${pkgs.rustc.version} --glibc ${pkgs.glibc.version} --out description
    '';
    installPhase = "cp -r description $out";
    doCheck = false;
    auditable = false;
    meta = {
      description = "What weft's programs are made of";
      license = lib.licenses.asl20;
    };
  };

  program =
    name: text:
    pkgs.runCommand "${name}-${version}"
      {
        meta = {
          description = text;
          license = lib.licenses.asl20;
          mainProgram = name;
          platforms = lib.platforms.linux;
        };
      }
      ''
        mkdir -p $out/bin
        cp ${programs}/bin/${name} $out/bin/
      '';

  images =
    pkgs.runCommand "weft-images-${version}"
      {
        nativeBuildInputs = [ assembler ];
        meta = {
          description = "weft's OCI images, their SBOMs and digests";
          license = lib.licenses.asl20;
          platforms = lib.platforms.linux;
        };
      }
      ''
        weft-images assemble --binaries ${programs}/bin --description ${description} --foreign /build/ --out $out
      '';

  packages = {
    inherit images assembler;
    default = packages.cli;
    proxy = program "weft-proxy" "weft's proxy: mutual TLS, balancing, retries, policy and metrics beside a workload";
    init = program "weft-init" "weft's redirection step, and validator of it";
    controlplane = program "weft-controlplane" "weft's control plane: discovery, policy, identity, names, registry";
    cli = program "weft" "weft's command line, and the whole mesh in one program";
    sbom = pkgs.runCommand "weft-sbom-${version}" { meta.description = "SPDX documents of weft's programs"; } ''
      mkdir -p $out
      cp ${description}/*.spdx.json $out/
    '';
  };
in
{
  inherit packages;

  checks = {
    # Sizes, every digest, and what is recorded for these very sources and compilers.
    images = pkgs.runCommand "weft-images-checked" { nativeBuildInputs = [ assembler ]; } ''
      weft-images check ${images} --recorded ${./digests.json} | tee $out
    '';
    # Static programs start in an empty world, and refuse what they do not know.
    programs = pkgs.runCommand "weft-programs-checked" { } ''
      for name in ${lib.escapeShellArgs recipe.packages}; do
        ${programs}/bin/$name --version
        status=0
        ${programs}/bin/$name --no-such-option || status=$?
        [ $status -eq 64 ] || { echo "$name: an unknown option ended with $status, expected 64" >&2; exit 1; }
      done
      touch $out
    '';
    module = import ./module-check.nix { inherit pkgs packages; };
  };

  shell = pkgs.mkShell {
    packages = [ pkgs.cargo pkgs.rustc pkgs.clippy pkgs.rustfmt ];
  };
}
