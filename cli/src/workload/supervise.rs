//! The life of one meshed program: takes traffic when its ports are open, is told signals, ends with its pod.

use super::{pod::Pod, site::Site};
use nix::sys::signal::Signal;
use std::{
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// Between two looks at ports that are not open yet.
const POLL: Duration = Duration::from_millis(50);
/// How long a peer may take to learn that a workload is gone, before its program is told to end.
const SETTLE: Duration = Duration::from_millis(300);
/// How long connections may take to end after the program has.
const GRACE: Duration = Duration::from_secs(2);
/// Signals that wait to be passed on.
const QUEUE: usize = 16;

/// What there is to be told to whoever started it.
pub trait Voice {
    /// One line.
    fn say(&mut self, text: &str);
}

impl<F: FnMut(&str)> Voice for F {
    fn say(&mut self, text: &str) {
        self(text);
    }
}

/// Sees to a pod whose program was started until that ends. How it ended.
///
/// `patience` is how long closed ports are waited for before that is said.
///
/// # Errors
/// Signals cannot be received.
pub async fn supervise(
    mut pod: Pod,
    site: &Site,
    mut signals: mpsc::Receiver<Signal>,
    patience: Duration,
    voice: &mut impl Voice,
) -> Option<ExitStatus> {
    let name = pod.spec.name.clone();
    let mut waiting: Vec<u16> = pod.spec.registration.ports.iter().map(|port| port.port).collect();
    let start = Instant::now();
    let mut said_closed = false;
    let mut away = false;
    let mut leaving = false;
    if waiting.is_empty() {
        pod.set_ready(true).await;
    }
    let mut looks = tokio::time::interval(POLL);
    let status = loop {
        let program = pod.program.as_mut()?;
        tokio::select! {
            status = program.wait() => break status,
            Some(signal) = signals.recv() => {
                if !leaving && ends(signal) {
                    leaving = true;
                    pod.set_ready(false).await;
                    // Only those who serve are asked things that peers must first stop asking.
                    if !pod.spec.registration.ports.is_empty() {
                        tokio::time::sleep(SETTLE).await;
                    }
                }
                if let Some(program) = pod.program.as_ref().filter(|_| !from_terminal(signal)) {
                    program.signal(signal);
                }
            }
            status = pod.proxy.ended() => {
                voice.say(&format!("the proxy of {name} ended with {status}; starting it again"));
                if let Err(error) = pod.restart_proxy(site).await {
                    voice.say(&weft_proxy::error_chain(&error));
                    tokio::time::sleep(GRACE).await;
                }
            }
            _ = looks.tick() => {
                if let Some(port) = waiting.last().copied() {
                    if pod.place.is_open(port).await {
                        waiting.pop();
                        if waiting.is_empty() {
                            pod.set_ready(true).await;
                            voice.say(&format!("{name} takes traffic"));
                        }
                    } else if !said_closed && start.elapsed() > patience {
                        said_closed = true;
                        voice.say(&format!(
                            "{name} has not opened port {port} on {} after {} s; it gets no traffic until it does",
                            pod.place.ip(),
                            patience.as_secs(),
                        ));
                    }
                }
                match pod.lease.trouble() {
                    Some(trouble) if !away => {
                        away = true;
                        voice.say(&format!("{name} is not renewed: {trouble}; it goes on with what it knows"));
                    }
                    None if away => {
                        away = false;
                        voice.say(&format!("{name} is renewed again"));
                    }
                    _ => {}
                }
            }
        }
    };
    if let Some(port) = waiting.last() {
        voice.say(&format!(
            "{name}: the program ended with {} before it opened port {port}",
            in_words(status)
        ));
    }
    // Away or not: the lease runs out.
    let _ = pod.lease.end().await;
    pod.proxy.drain(GRACE).await;
    Some(status)
}

/// Signals that are passed on, as they come.
///
/// # Errors
/// They cannot be received.
pub fn signals() -> std::io::Result<mpsc::Receiver<Signal>> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    for which in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGWINCH,
    ] {
        let mut stream = signal(SignalKind::from_raw(which as i32))?;
        let sender = sender.clone();
        tokio::spawn(
            async move { while stream.recv().await.is_some() && sender.send(which).await.is_ok() {} },
        );
    }
    Ok(receiver)
}

/// The exit code that tells how a program ended: its own, or 128 and the signal.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn in_words(status: ExitStatus) -> String {
    match status.code() {
        Some(127) => "code 127 (no such program)".into(),
        Some(126) => "code 126 (it cannot be run)".into(),
        Some(code) => format!("code {code}"),
        None => status.to_string(),
    }
}

/// Whether a program that gets it is meant to end.
fn ends(signal: Signal) -> bool {
    matches!(signal, Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT | Signal::SIGHUP)
}

/// Whether a signal was sent by the terminal, which sends it to the program as well.
fn from_terminal(signal: Signal) -> bool {
    let by_key = matches!(signal, Signal::SIGINT | Signal::SIGQUIT | Signal::SIGWINCH);
    let foreground = rustix::termios::tcgetpgrp(std::io::stdin()).ok();
    by_key && foreground == Some(rustix::process::getpgrp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        let of = |raw| exit_code(ExitStatus::from_raw(raw));
        assert_eq!((of(0), of(3 << 8), of(127 << 8)), (0, 3, 127));
        assert_eq!(of(Signal::SIGKILL as i32), 137);
        assert_eq!(in_words(ExitStatus::from_raw(127 << 8)), "code 127 (no such program)");
    }
}
