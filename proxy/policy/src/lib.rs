//! The one policy model and its pure decisions.
