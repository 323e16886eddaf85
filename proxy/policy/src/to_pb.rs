//! To API messages.
