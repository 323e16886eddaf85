{
  # Stands in for nixpkgs where no binary cache is to be had: the same names for what nix/*.nix ask of `pkgs`, made of
  # Debian's packages, the official Rust toolchain and the crates of Cargo.lock, each known by its hash. See prepare.sh.
  description = "Stand-in for nixpkgs, for building weft offline";
  outputs =
    { self }:
    {
      lib = import ./lib.nix;
      legacyPackages.x86_64-linux = import ./default.nix { system = "x86_64-linux"; };
      # Evaluates, but has no toolchain to build with.
      legacyPackages.aarch64-linux = import ./default.nix { system = "aarch64-linux"; };
    };
}
