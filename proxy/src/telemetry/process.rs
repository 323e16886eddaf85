//! `process_*`: what the kernel knows of this process.

use super::text::{Kind, Labels, Page};
use std::{fs, time::SystemTime, time::UNIX_EPOCH};

/// What does not change while the process lives.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    start: SystemTime,
}

impl Process {
    /// Of this process, started now.
    pub fn started() -> Self {
        Self { start: SystemTime::now() }
    }

    /// Writes the families. What cannot be read is left out.
    pub fn write(&self, page: &mut Page) {
        let none = Labels::new();
        let now = SystemTime::now();
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut gauge = |name: &str, help: &str, value: f64| {
            page.family(name, Kind::Gauge, help);
            page.decimal(name, &none, value);
        };
        gauge(
            "process_start_time_seconds",
            "Time that the process started, since 1970.",
            seconds(self.start),
        );
        gauge("process_clock_time_seconds", "The process's wall clock.", seconds(now));
        if let Some(stat) = Stat::read() {
            gauge("process_virtual_memory_bytes", "Virtual memory size.", stat.virtual_bytes);
            gauge("process_resident_memory_bytes", "Resident memory size.", stat.resident_bytes);
            gauge("process_threads", "Threads.", stat.threads);
            page.family("process_cpu_seconds_total", Kind::Counter, "User and system CPU time spent.");
            page.decimal("process_cpu_seconds_total", &none, stat.cpu_seconds);
        }
        page.family("process_uptime_seconds_total", Kind::Counter, "Time since the process started.");
        page.decimal(
            "process_uptime_seconds_total",
            &none,
            now.duration_since(self.start).unwrap_or_default().as_secs_f64(),
        );
        if let Ok(fds) = fs::read_dir("/proc/self/fd") {
            page.family("process_open_fds", Kind::Gauge, "Open file descriptors.");
            // One of them is the directory being read.
            page.sample("process_open_fds", &none, fds.count().saturating_sub(1) as u64);
        }
        if let Some(limit) = max_fds() {
            page.family("process_max_fds", Kind::Gauge, "Open file descriptors allowed.");
            page.sample("process_max_fds", &none, limit);
        }
    }
}

/// Fields of `/proc/self/stat` (proc(5)).
struct Stat {
    cpu_seconds: f64,
    threads: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The second field is the command in parentheses and may itself hold spaces and parentheses.
        let fields: Vec<f64> =
            text.rsplit_once(')')?.1.split_whitespace().skip(1).map(|f| f.parse().unwrap_or(0.0)).collect();
        // Numbered as in proc(5), where the state after the command is field 3.
        let field = |number: usize| fields.get(number - 4).copied();
        let ticks_per_second = 100.0;
        let page_size = 4096.0;
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / ticks_per_second,
            threads: field(20)?,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * page_size,
        })
    }
}

/// The soft limit, from `/proc/self/limits`.
fn max_fds() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_parentheses_does_not_shift_the_fields() {
        let stat = Stat::parse(
            "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 12345 8192 2 18446744073709551615",
        )
        .unwrap();
        assert_eq!(
            (stat.cpu_seconds, stat.threads, stat.virtual_bytes, stat.resident_bytes),
            (3.0, 3.0, 8192.0, 8192.0)
        );
    }

    #[test]
    fn this_process_is_described() {
        let mut page = Page::new();
        Process::started().write(&mut page);
        let text = page.into_text();
        for family in [
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_max_fds",
            "process_cpu_seconds_total",
        ] {
            assert!(text.contains(&format!("\n{family} ")), "{family} in {text}");
        }
    }
}
