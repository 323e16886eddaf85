//! The terminal while the live view is on.

use super::{model::Model, view};
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, SystemTime},
};
use tokio::sync::mpsc;

/// How often the thread that waits for keys looks whether it should end.
const POLL: Duration = Duration::from_millis(100);
/// Keys that wait.
const QUEUE: usize = 16;

/// The alternate screen. Dropping it brings the old one back.
#[derive(Debug)]
pub struct Screen {
    terminal: DefaultTerminal,
    keys: mpsc::Receiver<Key>,
    ended: Arc<AtomicBool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Quit,
    Other,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// It is none.
    pub fn open() -> io::Result<Self> {
        let mut terminal = ratatui::try_init()?;
        terminal.clear()?;
        let (sender, keys) = mpsc::channel(QUEUE);
        let ended = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&ended);
        thread::Builder::new().name("keys".into()).spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let key = match event::poll(POLL) {
                    Ok(false) => continue,
                    Ok(true) => event::read().map_or(Key::Quit, |event| meaning(&event)),
                    // A terminal that is gone.
                    Err(_) => Key::Quit,
                };
                if sender.blocking_send(key).is_err() || key == Key::Quit {
                    return;
                }
            }
        })?;
        Ok(Self { terminal, keys, ended })
    }

    /// Draws.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn draw(&mut self, model: &Model) -> io::Result<()> {
        self.terminal.draw(|frame| view::draw(frame, model, SystemTime::now())).map(drop)
    }

    /// Waits for a key. Whether it means the end; anything else only has the screen drawn again.
    pub async fn quit(&mut self) -> bool {
        self.keys.recv().await != Some(Key::Other)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        ratatui::restore();
    }
}

fn meaning(event: &Event) -> Key {
    let Event::Key(key) = event else { return Key::Other };
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        _ if key.kind != KeyEventKind::Press => Key::Other,
        KeyCode::Char('c' | 'd') if control => Key::Quit,
        KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
        _ => Key::Other,
    }
}
