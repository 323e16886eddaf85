//! Counts what the allocator is asked for, while counting is on.
//!
//! The one place of the workspace with `unsafe`: a global allocator cannot be written without it. It hands every call to
//! the system's and adds numbers.

#![expect(unsafe_code, reason = "GlobalAlloc is an unsafe trait; the bench is never part of a product")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
};

/// The system's allocator, counted. `#[global_allocator]` in the programs that count.
#[derive(Debug)]
pub struct Counting;

static ON: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicI64 = AtomicI64::new(0);

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls of `alloc`, `alloc_zeroed` and `realloc`.
    pub calls: u64,
    /// Bytes asked for and not given back. Also below zero, when what is given back was asked for while counting was off.
    pub live: i64,
}

/// What was counted until now.
#[must_use]
pub fn counts() -> Counts {
    Counts { calls: CALLS.load(Relaxed), live: LIVE.load(Relaxed) }
}

/// Switches counting on or off.
pub fn count(on: bool) {
    ON.store(on, Relaxed);
}

fn add(calls: u64, bytes: i64) {
    if ON.load(Relaxed) {
        CALLS.fetch_add(calls, Relaxed);
        LIVE.fetch_add(bytes, Relaxed);
    }
}

// SAFETY: every method is the system allocator's, with the caller's own arguments; counting touches only atomics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(1, layout.size() as i64);
        // SAFETY: as the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        add(0, -(layout.size() as i64));
        // SAFETY: as the caller's.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(1, layout.size() as i64);
        // SAFETY: as the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        add(1, new_size as i64 - layout.size() as i64);
        // SAFETY: as the caller's.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}
