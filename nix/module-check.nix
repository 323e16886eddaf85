# The module, evaluated: what units come of which options, and what is refused.
{ pkgs, packages }:
let
  inherit (pkgs) lib;
  inherit (lib) mkOption types;

  # What the module gives values to; NixOS has these options.
  surroundings = {
    options = {
      systemd.services = mkOption { type = types.attrsOf types.anything; default = { }; };
      networking.firewall.allowedTCPPorts = mkOption { type = types.listOf types.port; default = [ ]; };
      networking.firewall.allowedUDPPorts = mkOption { type = types.listOf types.port; default = [ ]; };
      environment.systemPackages = mkOption { type = types.listOf types.package; default = [ ]; };
    };
  };
  evaluate = weft: (lib.evalModules {
    modules = [
      surroundings
      (import ./module.nix { packagesOf = _: packages; })
      { services.weft = weft; }
    ];
    specialArgs = { inherit pkgs; };
  }).config;
  refused = weft: !(builtins.tryEval (builtins.deepSeq (start (evaluate weft)) true)).success;
  start = config: map (unit: unit.serviceConfig.ExecStart) (lib.attrValues config.systemd.services);

  nothing = evaluate { };
  plain = evaluate { controlPlane.enable = true; };
  everything = evaluate {
    controlPlane = {
      enable = true;
      listen = "0.0.0.0";
      advertise = "192.0.2.1";
      manifests = [ "/etc/weft/policies" "/etc/weft/more.yaml" ];
      defaultInboundPolicy = "all-authenticated";
      ports.dns = 5353;
      openFirewall = true;
      extraArgs = [ "--allow-l5d-request-headers" ];
    };
    workloads = {
      web = {
        command = [ "/bin/server" "--text" "it's on" ];
        ports = [ 8080 8081 ];
        publish = [ "80:8080" ];
        labels.app = "web";
        user = "www";
      };
      db = {
        command = [ "/bin/db" ];
        ports = [ 5432 ];
        opaquePorts = [ 5432 ];
        environment.PGDATA = "/data";
      };
    };
  };

  has = text: part: lib.any (start: builtins.substring start (builtins.stringLength part) text == part) (
    builtins.genList (n: n) (builtins.stringLength text)
  );
  controlLine = everything.systemd.services.weft-controlplane.serviceConfig.ExecStart;
  webLine = everything.systemd.services.weft-run-web.serviceConfig.ExecStart;
  dbLine = everything.systemd.services.weft-run-db.serviceConfig.ExecStart;
  claims = {
    "nothing is enabled by itself" = nothing.systemd.services == { } && nothing.environment.systemPackages == [ ];
    "the firewall stays shut" = plain.networking.firewall.allowedTCPPorts == [ ];
    "the firewall is opened" =
      everything.networking.firewall.allowedTCPPorts == [ 8086 8090 8080 5353 ]
      && everything.networking.firewall.allowedUDPPorts == [ 5353 ];
    "the control plane gets its options" =
      has controlLine "/bin/weft-controlplane --state /var/lib/weft --listen 0.0.0.0 --advertise 192.0.2.1 --manifests /etc/weft/policies --manifests /etc/weft/more.yaml "
      && has controlLine " --default-inbound-policy all-authenticated "
      && has controlLine " --destination-port 8086 --dns-port 5353 --identity-port 8080 --metrics-port 9990 --policy-port 8090 "
      && has controlLine " --allow-l5d-request-headers";
    "without an address to advertise there is none" =
      !(has plain.systemd.services.weft-controlplane.serviceConfig.ExecStart "--advertise");
    "a program is meshed" =
      has webLine "/bin/weft run --quiet --name web --namespace default --state /var/lib/weft --port 8080 --port 8081 --publish 80:8080 --label 'app=web' --user www -- /bin/server --text 'it'\\''s on'";
    "a database is opaque" = has dbLine " --port 5432 --opaque 5432 --env 'PGDATA=/data' -- /bin/db";
    "programs wait for the control plane" =
      everything.systemd.services.weft-run-db.after == [ "network.target" "weft-controlplane.service" ];
    "a policy that is none is refused" = refused { controlPlane = { enable = true; defaultInboundPolicy = "some"; }; };
    "a port that is none is refused" = refused { controlPlane = { enable = true; ports.dns = 65536; }; };
    "a text is not a port" = refused { workloads.web = { command = [ "x" ]; ports = [ "8080" ]; }; };
    "an option that is none is refused" = refused { controlPlane = { enable = true; statedir = "/x"; }; };
    "a program is needed" = refused { workloads.web.ports = [ 80 ]; };
    "a program that is none is refused" = refused { workloads.web.command = [ ]; };
  };
  broken = lib.filter (claim: !claims.${claim}) (lib.attrNames claims);
in
if broken != [ ] then
  throw "nix/module.nix: not so: ${lib.concatStringsSep "; " broken}"
else
  # Its text is made of what was evaluated; the options of each unit are accepted by the programs themselves.
  pkgs.runCommand "weft-module-checked" { } ''
    cat > $out <<'TEXT'
    ${lib.concatStringsSep "\n" (lib.attrNames claims)}
    TEXT
    ${packages.controlplane}/bin/weft-controlplane --help > help
    for flag in state listen advertise manifests workload-network service-network cluster-domain trust-domain \
        default-inbound-policy certificate-lifetime dns-upstream destination-port policy-port identity-port metrics-port \
        dns-port admin-listen log-level; do
      grep -q -e "--$flag" help || { echo "weft-controlplane has no --$flag" >&2; exit 1; }
    done
    ${packages.cli}/bin/weft run --help > help
    for flag in quiet name namespace state service-account port opaque publish label env user proxy-log; do
      grep -q -e "--$flag" help || { echo "weft run has no --$flag" >&2; exit 1; }
    done
  ''
