//! What has happened in a run. What is wrong is written down, and fails the seed.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(crate) struct Book {
    /// How often each request's head reached a server.
    pub(crate) seen: BTreeMap<u32, u32>,
    /// How often a server has refused a request unseen.
    pub(crate) refused: BTreeMap<u32, u32>,
    /// Requests that were met with the end of their connection.
    pub(crate) away: BTreeSet<u32>,
    /// How often clients have asked.
    pub(crate) asked: BTreeMap<u32, u32>,
    /// How often a connection that a server broke took each request with it.
    pub(crate) struck: BTreeMap<u32, u32>,
    /// How often each was behind the last that a server took on its connection.
    pub(crate) unseen: BTreeMap<u32, u32>,
    /// How many connections servers have broken.
    pub(crate) broken: u32,
    pub(crate) outcomes: BTreeMap<u32, Outcome>,
    pub(crate) wrong: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The whole response came, from the server or from a proxy.
    Whole { status: u16, grpc: Option<u8>, by_proxy: bool },
    /// The client knows that something is missing.
    Told,
    /// The client went away by itself.
    Left,
}

impl Outcome {
    /// A whole response of the server's.
    pub(crate) fn served(status: u16) -> Self {
        Self::Whole { status, grpc: None, by_proxy: false }
    }
}

impl Book {
    pub(crate) fn wrong(&mut self, what: String) {
        self.wrong.push(what);
    }

    pub(crate) fn ends(&mut self, id: u32, outcome: Outcome) {
        if let Some(before) = self.outcomes.insert(id, outcome) {
            self.wrong(format!("request {id} ended twice: {before:?}, {outcome:?}"));
        }
    }
}
