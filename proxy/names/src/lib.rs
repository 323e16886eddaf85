//! Parsed names: identities, DNS names, authorities, ports, networks, resources.
