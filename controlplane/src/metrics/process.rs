//! The `process_*` metrics every Prometheus client has, from `/proc/self`.

use std::{fs, time::Duration};

use super::text::Text;

/// Clock ticks per second in `/proc/self/stat`. Linux shows user space 100 on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;
/// Where `utime`, `stime` and `starttime` stand in `/proc/self/stat`, counted after the command's `)`.
const UTIME: usize = 11;
const STIME: usize = 12;
const START_TIME: usize = 19;

/// Writes what can be found out about this process; what cannot is left out.
pub fn write(text: &mut Text) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = match stat.rsplit_once(')') {
        Some((_, rest)) => rest.split_ascii_whitespace().collect(),
        None => Vec::new(),
    };
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
    if let (Some(user), Some(system)) = (ticks(UTIME), ticks(STIME)) {
        let seconds = (user + system) / TICKS_PER_SECOND;
        text.counter("process_cpu_seconds_total", "CPU time of user and system, in seconds.", seconds);
    }
    if let (Some(start), Some(boot)) = (ticks(START_TIME), boot_time()) {
        let start = boot + start / TICKS_PER_SECOND;
        text.gauge("process_start_time_seconds", "When the process started, in seconds since 1970.", start);
    }
    if let Some(resident) = resident_bytes() {
        text.gauge("process_resident_memory_bytes", "Resident memory, in bytes.", resident);
    }
    if let Ok(fds) = fs::read_dir("/proc/self/fd") {
        // One of them is this directory's.
        text.gauge("process_open_fds", "Open file descriptors.", fds.count().saturating_sub(1));
    }
    if let Some(limit) = fd_limit() {
        text.gauge("process_max_fds", "The most file descriptors there may be.", limit);
    }
}

/// Resident memory in bytes.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// When the machine started, in seconds since 1970.
fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let seconds: u64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).as_secs_f64())
}

fn fd_limit() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_all_of_them() {
        let mut text = Text::default();
        write(&mut text);
        let page = text.finish();
        for name in [
            "process_cpu_seconds_total",
            "process_start_time_seconds",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
        ] {
            let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
            assert!(value.parse::<f64>().unwrap() >= 0.0, "{name} {value}");
        }
    }
}
