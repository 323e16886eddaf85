//! What one snapshot may hold. A message that is over a limit is invalid, or loses what is over it, as said here.

use std::time::Duration;

/// Endpoints of one destination. The ones over it are left out and reported.
pub const MAX_ENDPOINTS: usize = 65_536;

/// Routes of one policy, and rules of one route. A policy over it is invalid.
pub const MAX_ROUTES: usize = 4_096;

/// Matches of one rule, and conditions in one match. A policy over it is invalid.
pub const MAX_MATCHES: usize = 1_024;

/// Backends of one distribution. A policy over it is invalid.
pub const MAX_BACKENDS: usize = 4_096;

/// Authorizations of one server or route, and networks or identities of one authorization. A policy over it is invalid.
pub const MAX_AUTHORIZATIONS: usize = 16_384;

/// How deep `all`, `any` and `not` may be nested in a profile's conditions. A profile's route over it is left out.
pub const MAX_CONDITION_DEPTH: usize = 32;

/// Bytes a compiled regular expression may take. A policy over it is invalid.
pub const MAX_REGEX_BYTES: usize = 1 << 20;

/// The longest time a message can name: 10,000 years (`google.protobuf.Duration`). A field over it is invalid.
pub const MAX_DURATION: Duration = Duration::from_secs(315_576_000_000);

/// Bytes of a query parameter's value that are decoded on the stack; longer ones that a regular expression looks at
/// are decoded on the heap.
pub const QUERY_VALUE_BUFFER: usize = 256;
