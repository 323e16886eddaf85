# The functions of nixpkgs' `lib` that flake.nix and nix/*.nix use.
let
  inherit (builtins) any elem filter head isList isString length listToAttrs match replaceStrings stringLength substring;
  modules = import ./modules.nix lib;
  lib = {
    inherit (builtins) all any attrNames attrValues concatMap elem filter mapAttrs;
    inherit (modules) evalModules mkEnableOption mkIf mkOption types;

    genAttrs = names: f: listToAttrs (map (name: { inherit name; value = f name; }) names);
    nameValuePair = name: value: { inherit name value; };
    mapAttrs' = f: set: listToAttrs (map (name: f name set.${name}) (builtins.attrNames set));
    mapAttrsToList = f: set: map (name: f name set.${name}) (builtins.attrNames set);
    optional = condition: item: if condition then [ item ] else [ ];
    optionals = condition: items: if condition then items else [ ];
    optionalAttrs = condition: set: if condition then set else { };
    optionalString = condition: text: if condition then text else "";
    concatStringsSep = builtins.concatStringsSep;
    concatLists = builtins.concatLists;
    hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
    escapeShellArg =
      item:
      let
        text = toString item;
      in
      if match "[[:alnum:],._+:@%/-]+" text != null then text else "'" + replaceStrings [ "'" ] [ "'\\''" ] text + "'";
    escapeShellArgs = items: lib.concatStringsSep " " (map lib.escapeShellArg items);
    importTOML = path: builtins.fromTOML (builtins.readFile path);
    importJSON = path: builtins.fromJSON (builtins.readFile path);
    getExe = package: "${package}/bin/${package.meta.mainProgram or package.pname}";
    licenses.asl20 = { spdxId = "Apache-2.0"; fullName = "Apache License 2.0"; free = true; };
    platforms.linux = [ "x86_64-linux" "aarch64-linux" ];

    # Unions of paths, files or directories.
    fileset = {
      unions = paths: paths;
      toSource =
        { root, fileset }:
        let
          wanted = map toString fileset;
          inside = path: item: path == item || lib.hasPrefix (item + "/") path || lib.hasPrefix (path + "/") item;
        in
        {
          outPath = builtins.path {
            name = "source";
            path = root;
            filter = path: _: any (inside path) wanted;
          };
        };
    };
  };
in
lib
