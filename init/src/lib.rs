//! Redirect rules of a pod: plan, render, apply, verify.
