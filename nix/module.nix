# NixOS: a control plane as a service, and programs that run meshed, each with a proxy of its own.
{ packagesOf }:
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkEnableOption mkIf mkOption optional optionals types;
  cfg = config.services.weft;
  control = cfg.controlPlane;
  packages = packagesOf pkgs;

  portOption = default: description: mkOption {
    type = types.port;
    inherit default description;
  };
  each = flag: values: lib.concatMap (value: [ flag (toString value) ]) values;
  given = flag: value: optionals (value != null) [ flag (toString value) ];

  # Of every unit: nothing that it does not need.
  hardening = {
    LockPersonality = true;
    MemoryDenyWriteExecute = true;
    NoNewPrivileges = true;
    ProtectClock = true;
    ProtectHostname = true;
    ProtectKernelLogs = true;
    RestrictRealtime = true;
    SystemCallArchitectures = "native";
  };

  controlUnit = {
    description = "weft's control plane";
    wantedBy = [ "multi-user.target" ];
    after = [ "network.target" ];
    serviceConfig = hardening // {
      ExecStart = lib.escapeShellArgs (
        [ (lib.getExe control.package) "--state" "/var/lib/weft" "--listen" control.listen ]
        ++ given "--advertise" control.advertise
        ++ each "--manifests" control.manifests
        ++ [ "--workload-network" control.workloadNetwork "--service-network" control.serviceNetwork ]
        ++ [ "--cluster-domain" control.clusterDomain "--trust-domain" control.trustDomain ]
        ++ [ "--default-inbound-policy" control.defaultInboundPolicy ]
        ++ [ "--certificate-lifetime" control.certificateLifetime ]
        ++ each "--dns-upstream" control.dnsUpstreams
        ++ lib.concatLists (lib.mapAttrsToList (name: port: [ "--${name}-port" (toString port) ]) control.ports)
        ++ [ "--admin-listen" control.adminListen "--log-level" control.logLevel ]
        ++ control.extraArgs
      );
      DynamicUser = true;
      StateDirectory = "weft";
      StateDirectoryMode = "0700";
      # Port 53.
      AmbientCapabilities = [ "CAP_NET_BIND_SERVICE" ];
      CapabilityBoundingSet = [ "CAP_NET_BIND_SERVICE" ];
      PrivateDevices = true;
      ProtectControlGroups = true;
      ProtectHome = true;
      ProtectKernelModules = true;
      ProtectKernelTunables = true;
      ProtectSystem = "strict";
      RestrictAddressFamilies = [ "AF_INET" "AF_INET6" "AF_UNIX" "AF_NETLINK" ];
      RestrictNamespaces = true;
      Restart = "always";
      RestartSec = 1;
    };
  };

  # `weft run` makes a network namespace, redirects what goes in and out of it to a proxy, and runs the program in it.
  workloadUnit = name: workload: {
    description = "${name}, meshed by weft";
    wantedBy = [ "multi-user.target" ];
    after = [ "network.target" ] ++ optional control.enable "weft-controlplane.service";
    wants = optional control.enable "weft-controlplane.service";
    serviceConfig = {
      ExecStart = lib.escapeShellArgs (
        [ (lib.getExe cfg.package) "run" "--quiet" "--name" name ]
        ++ [ "--namespace" workload.namespace "--state" workload.state ]
        ++ given "--service-account" workload.serviceAccount
        ++ each "--port" workload.ports
        ++ each "--opaque" workload.opaquePorts
        ++ each "--publish" workload.publish
        ++ each "--label" (lib.mapAttrsToList (key: value: "${key}=${value}") workload.labels)
        ++ each "--env" (lib.mapAttrsToList (key: value: "${key}=${value}") workload.environment)
        ++ given "--user" workload.user
        ++ given "--proxy-log" workload.proxyLog
        ++ [ "--" ]
        ++ workload.command
      );
      Restart = "always";
      RestartSec = 1;
      # Everything of it ends with it; `weft run` takes back what it made.
      KillMode = "mixed";
    };
  };
in
{
  options.services.weft = {
    package = mkOption {
      type = types.package;
      default = packages.cli;
      description = "The command line, which meshes programs.";
    };

    controlPlane = {
      enable = mkEnableOption "weft's control plane";
      package = mkOption {
        type = types.package;
        default = packages.controlplane;
        description = "The control plane.";
      };
      listen = mkOption {
        type = types.nonEmptyStr;
        default = "127.0.0.1";
        description = "Address to listen on.";
      };
      advertise = mkOption {
        type = types.nullOr types.nonEmptyStr;
        default = null;
        description = "Address that workloads are told; needed when listening on any address.";
      };
      manifests = mkOption {
        type = types.listOf types.path;
        default = [ ];
        description = "Manifests to load and follow: files or directories.";
      };
      workloadNetwork = mkOption {
        type = types.nonEmptyStr;
        default = "10.209.0.0/16";
        description = "Where workloads get addresses from.";
      };
      serviceNetwork = mkOption {
        type = types.nonEmptyStr;
        default = "10.210.0.0/16";
        description = "Where services get virtual addresses from.";
      };
      clusterDomain = mkOption {
        type = types.nonEmptyStr;
        default = "cluster.local";
        description = "Domain of service names.";
      };
      trustDomain = mkOption {
        type = types.nonEmptyStr;
        default = "cluster.local";
        description = "Domain of identities.";
      };
      defaultInboundPolicy = mkOption {
        type = types.enum [
          "all-unauthenticated"
          "all-authenticated"
          "cluster-unauthenticated"
          "cluster-authenticated"
          "deny"
          "audit"
        ];
        default = "all-unauthenticated";
        description = "Who may connect where nothing says otherwise.";
      };
      certificateLifetime = mkOption {
        type = types.nonEmptyStr;
        default = "24h";
        description = "How long certificates are valid.";
      };
      dnsUpstreams = mkOption {
        type = types.listOf types.nonEmptyStr;
        default = [ ];
        description = "Resolvers for names that are not the mesh's; those of /etc/resolv.conf if there are none here.";
      };
      ports = {
        destination = portOption 8086 "Port of the destination service.";
        policy = portOption 8090 "Port of the policy service.";
        identity = portOption 8080 "Port of the identity service.";
        metrics = portOption 9990 "Port of health and metrics.";
        dns = portOption 53 "Port of DNS.";
      };
      adminListen = mkOption {
        type = types.nonEmptyStr;
        default = "127.0.0.1:7443";
        description = "Address of the admin API over HTTPS, or \"off\".";
      };
      logLevel = mkOption {
        type = types.nonEmptyStr;
        default = "info";
        description = "What is logged: error, warn, info, debug, trace, or a filter.";
      };
      openFirewall = mkOption {
        type = types.bool;
        default = false;
        description = "Whether workloads on other machines may connect.";
      };
      extraArgs = mkOption {
        type = types.listOf types.str;
        default = [ ];
        description = "Further arguments.";
      };
    };

    workloads = mkOption {
      default = { };
      description = "Programs that run meshed, by name: each in a network namespace of its own, behind a proxy of its own.";
      type = types.attrsOf (
        types.submodule {
          options = {
            command = mkOption {
              type = types.nonEmptyListOf types.str;
              description = "The program and its arguments.";
            };
            ports = mkOption {
              type = types.listOf types.port;
              default = [ ];
              description = "Ports it serves; with one, it is a service that others reach by its name.";
            };
            opaquePorts = mkOption {
              type = types.listOf types.port;
              default = [ ];
              description = "Ports on which nothing is to be looked at: the server speaks first, or in a protocol of its own.";
            };
            publish = mkOption {
              type = types.listOf types.str;
              default = [ ];
              description = "Ports on this machine for programs that are not meshed: PORT, HERE:PORT or IP:HERE:PORT.";
            };
            namespace = mkOption {
              type = types.nonEmptyStr;
              default = "default";
              description = "Its namespace.";
            };
            serviceAccount = mkOption {
              type = types.nullOr types.nonEmptyStr;
              default = null;
              description = "The service account of its identity; its name if null.";
            };
            labels = mkOption {
              type = types.attrsOf types.str;
              default = { };
              description = "Labels, by which policies can mean it.";
            };
            environment = mkOption {
              type = types.attrsOf types.str;
              default = { };
              description = "Variables of the program's environment.";
            };
            user = mkOption {
              type = types.nullOr types.nonEmptyStr;
              default = null;
              description = "Whom it runs as; root if null.";
            };
            proxyLog = mkOption {
              type = types.nullOr types.nonEmptyStr;
              default = null;
              description = "Filter of its proxy's log.";
            };
            state = mkOption {
              type = types.path;
              default = "/var/lib/weft";
              description = "The control plane's state directory, for its socket.";
            };
          };
        }
      );
    };
  };

  config = {
    systemd.services =
      lib.mapAttrs' (name: workload: lib.nameValuePair "weft-run-${name}" (workloadUnit name workload)) cfg.workloads
      // lib.optionalAttrs control.enable { weft-controlplane = controlUnit; };

    networking.firewall = mkIf (control.enable && control.openFirewall) {
      allowedTCPPorts = [ control.ports.destination control.ports.policy control.ports.identity control.ports.dns ];
      allowedUDPPorts = [ control.ports.dns ];
    };

    environment.systemPackages = optional (control.enable || cfg.workloads != { }) cfg.package;
  };
}
