//! From API messages.
