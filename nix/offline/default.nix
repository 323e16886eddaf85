# The stand-in's packages. Whatever is built is built in Nix's own sandbox, which has nothing of the machine in it; inside
# it, each derivation has a root folder of unpacked Debian packages (a mount namespace and a chroot).
{ system }:
let
  lib = import ./lib.nix;
  lock = lib.importJSON ./lock.json;

  # A file or folder that prepare.sh has put into the store, known by its hash. Nothing here can make it.
  seed =
    mode: name: hash:
    derivation {
      inherit name system;
      builder = "/bin/sh";
      args = [ "-c" "echo '${name} is not in the Nix store: run nix/offline/prepare.sh' >&2; exit 1" ];
      outputHashMode = mode;
      outputHashAlgo = "sha256";
      outputHash = hash;
      preferLocalBuild = true;
    };
  file = seed "flat";
  folder = seed "recursive";

  withoutEpoch =
    version:
    let
      parts = builtins.match "[0-9]+:(.*)" version;
    in
    if parts == null then version else builtins.head parts;
  debFile = deb: builtins.replaceStrings [ "~" ] [ "-" ] "${deb.name}_${withoutEpoch deb.version}_${deb.arch}.deb";

  busybox = folder "busybox" lock.busybox;
  rust = folder "rust" lock.rust.hash;
  debs = map (deb: file (debFile deb) deb.sha256) lock.debs;
  versionOf = name: (builtins.head (builtins.filter (deb: deb.name == name) lock.debs)).version;

  # By busybox alone, before there is anything else.
  bootstrap =
    name: script: attributes:
    derivation (
      attributes
      // {
        inherit name system;
        builder = "${busybox}/bin/busybox";
        args = [ "sh" "-eu" "-c" ''b() { ${busybox}/bin/busybox "$@"; }; ${script}'' ];
      }
    );

  root = bootstrap "debian-root" ''
    b mkdir -p $out/nix $out/proc $out/dev $out/tmp $out/build $out/etc
    for deb in $debs; do b dpkg-deb -x $deb $out; done
    b rm -rf $out/usr/share/doc $out/usr/share/man $out/usr/share/locale $out/usr/share/info
    b ln -sf gawk $out/usr/bin/awk
    b ln -sf gcc $out/usr/bin/cc
    b echo 'root:x:0:0::/build:/bin/bash' > $out/etc/passwd
    b echo 'root:x:0:' > $out/etc/group
  '' { inherit debs; };

  # Runs `buildCommand` by bash in the root folder.
  mkDerivation =
    arguments@{
      name ? "${arguments.pname}-${arguments.version}",
      buildCommand,
      nativeBuildInputs ? [ ],
      meta ? { },
      ...
    }:
    let
      attributes = removeAttrs arguments [ "nativeBuildInputs" "buildInputs" "meta" ];
      built = derivation (
        attributes
        // {
          inherit name system;
          passAsFile = [ "buildCommand" ];
          builder = "${busybox}/bin/busybox";
          args = [
            "sh"
            "-eu"
            "-c"
            ''
              b=${busybox}/bin/busybox
              exec $b unshare -U -r -m $b sh -eu -c '
                for folder in nix proc dev tmp build; do '$b' mount --rbind /$folder ${root}/$folder; done
                exec '$b' chroot ${root} /bin/bash -c "umask 022; cd /build && exec /bin/bash -eu -o pipefail $buildCommandPath"
              '
            ''
          ];
          PATH = lib.concatStringsSep ":" (map (package: "${package}/bin") nativeBuildInputs ++ [ "/usr/bin" "/bin" ]);
          LC_ALL = "C";
          SOURCE_DATE_EPOCH = "1";
          HOME = "/build";
        }
      );
    in
    built
    // {
      inherit meta name;
      pname = arguments.pname or name;
      version = arguments.version or "";
    };
  runCommand =
    name: attributes: command:
    mkDerivation (attributes // { inherit name; buildCommand = command; });

  # One folder of all crates, as `cargo vendor` makes it.
  vendor =
    lockFile:
    let
      crates = builtins.filter (package: package ? checksum) (lib.importTOML lockFile).package;
      named = package: "${package.name}-${package.version}";
    in
    bootstrap "cargo-vendor-dir" ''
      b mkdir -p $out
      set -- $names
      for crate in $files; do
        b tar -xzf $crate -C $out
        # Cargo wants to know what the crate's own file hashed to.
        sum=''${sums%% *}; sums=''${sums#* }
        b echo "{\"files\":{},\"package\":\"$sum\"}" > $out/$1/.cargo-checksum.json
        shift
      done
    '' {
      names = map named crates;
      # As nixpkgs' importCargoLock names them.
      files = map (package: file "crate-${named package}.tar.gz" package.checksum) crates;
      sums = lib.concatStringsSep " " (map (package: package.checksum) crates);
    };

  cpu = builtins.head (builtins.split "-" system);
  rustcTarget = "${cpu}-unknown-linux-gnu";
  toolchain = rust // { inherit (lock.rust) version; };
in
{
  inherit lib system runCommand;
  stdenv = {
    inherit mkDerivation;
    hostPlatform = {
      inherit system;
      rust = { inherit rustcTarget; };
    };
  };
  rustc = toolchain;
  cargo = toolchain;
  clippy = toolchain;
  rustfmt = toolchain;
  glibc = {
    version = versionOf "libc6-dev";
    static = root;
  };

  # As nixpkgs' in what nix/default.nix gives it.
  rustPlatform.buildRustPackage =
    {
      pname,
      version,
      src,
      cargoLock,
      buildType ? "release",
      cargoBuildFlags ? [ ],
      postPatch ? "",
      buildPhase ? ''
        cargo build --profile ${buildType} --offline --locked --target ${rustcTarget} ${lib.escapeShellArgs cargoBuildFlags}
      '',
      installPhase ? ''
        mkdir -p $out/bin
        find target/${rustcTarget}/${buildType} -maxdepth 1 -type f -perm -u+x ! -name '*.so' -exec install -m755 -t $out/bin {} +
      '',
      nativeBuildInputs ? [ ],
      env ? { },
      meta ? { },
      ...
    }:
    mkDerivation (
      env
      // {
        inherit pname version src meta;
        vendor = vendor cargoLock.lockFile;
        nativeBuildInputs = nativeBuildInputs ++ [ rust ];
        buildCommand = ''
          cp -r $src source
          chmod -R u+w source
          cd source
          ln -s $vendor /build/cargo-vendor-dir
          export CARGO_HOME=/build/cargo
          mkdir -p $CARGO_HOME
          printf '[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "/build/cargo-vendor-dir"\n' > $CARGO_HOME/config.toml
          ${postPatch}
          ${buildPhase}
          ${installPhase}
        '';
      }
    );

  mkShell = _: runCommand "shell" { } "echo 'nix develop needs nixpkgs itself' > $out";
}
