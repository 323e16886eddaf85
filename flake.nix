{
  description = "weft: a Linkerd-compatible service mesh in Rust";

  # The only input. `--override-input nixpkgs path:./nix/offline` builds the same without a binary cache: nix/README.md.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [ "x86_64-linux" "aarch64-linux" ];
      weft = pkgs: import ./nix { inherit pkgs; };
      forAllSystems = f: lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
    in
    {
      packages = forAllSystems (pkgs: (weft pkgs).packages);
      checks = forAllSystems (pkgs: (weft pkgs).checks);
      devShells = forAllSystems (pkgs: { default = (weft pkgs).shell; });

      apps = forAllSystems (
        pkgs:
        let
          inherit (weft pkgs) packages;
          app = package: {
            type = "app";
            program = lib.getExe package;
            meta.description = package.meta.description;
          };
        in
        {
          default = app packages.cli;
          weft = app packages.cli;
          images = app packages.assembler;
        }
      );

      overlays.default = final: _prev: { weft = (weft final).packages; };
      nixosModules.default = import ./nix/module.nix { packagesOf = pkgs: (weft pkgs).packages; };
      hydraJobs = { inherit (self) packages checks; };
    };
}
