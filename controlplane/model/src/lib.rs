//! Normalised mesh facts and their projection.
