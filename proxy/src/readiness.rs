//! Whether the proxy is ready, and what it waits for while it is not.

use std::sync::{Mutex, PoisonError};

/// Ready once the first certificate is installed; never not ready again after that, as peers and probes expect.
#[derive(Debug, Default)]
pub struct Readiness(Mutex<State>);

#[derive(Debug)]
enum State {
    Waiting(String),
    Ready,
}

impl Default for State {
    fn default() -> Self {
        Self::Waiting("start-up".to_owned())
    }
}

impl Readiness {
    /// What it waits for now, with the last failure if there was one. No effect once ready.
    pub fn waiting(&self, what: impl Into<String>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Waiting(_) = *state {
            *state = State::Waiting(what.into());
        }
    }

    /// Ready from now on.
    pub fn ready(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::Ready;
    }

    /// `Ok` when ready, else what it waits for.
    ///
    /// # Errors
    /// What the proxy waits for.
    pub fn check(&self) -> Result<(), String> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Ready => Ok(()),
            State::Waiting(what) => Err(what.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_back() {
        let readiness = Readiness::default();
        assert!(readiness.check().is_err());
        readiness.waiting("a certificate");
        assert_eq!(readiness.check(), Err("a certificate".to_owned()));
        readiness.ready();
        readiness.waiting("anything");
        assert_eq!(readiness.check(), Ok(()));
    }
}
