//! The control plane: destination, policy, identity, DNS, registry.
