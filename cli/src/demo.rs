//! `weft demo`: a whole mesh on this machine, to look at or to prove.
//!
//! ```text
//!   topology ─▶ mesh (control plane, pods) ─▶ load_run ─┬─▶ session: model ─▶ view | plain
//!    what          made and unmade             requests  └─▶ check: scenario ─▶ table
//! ```
//!
//! Read first: [`topology`], [`mesh::Mesh`], [`session::run`].

pub mod check;
pub mod control_plane;
pub mod load_run;
pub mod mesh;
pub mod metrics;
pub mod model;
pub mod plain;
pub mod screen;
pub mod session;
pub mod topology;
pub mod view;
pub mod wire;

/// What the demo stands on, in words.
#[derive(Clone, Debug)]
pub struct Ground {
    /// Its name.
    pub name: &'static str,
    /// What is not shown on it, and why.
    pub missing: Vec<String>,
}
