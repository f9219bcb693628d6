//! The terminal while something is watched: taken at the beginning, given back whatever happens, and its keys.

use std::io::{self, IsTerminal};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

/// What a person does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    /// q, Esc or Ctrl-C.
    Quit,
    /// The window has another size.
    Redraw,
}

/// Can pictures be drawn, and keys be read?
pub(super) fn is_there() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    io::stdout().is_terminal() && io::stdin().is_terminal() && !dumb
}

/// https://no-color.org: whoever sets it to anything wants none.
pub(super) fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The whole terminal. Dropping it gives it back, and so does a panic.
pub(super) struct Screen {
    pub terminal: DefaultTerminal,
}

impl Screen {
    pub(super) fn take() -> io::Result<Screen> {
        Ok(Screen { terminal: ratatui::try_init()? })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Keys, from a thread of their own: reading them waits, and the process does not wait for that thread at its end. The channel
/// closes when the terminal does.
pub(super) fn keys() -> mpsc::Receiver<Key> {
    let (tell, keys) = mpsc::channel(8);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if meaning(&event).is_some_and(|key| tell.blocking_send(key).is_err()) {
                return;
            }
        }
    });
    keys
}

fn meaning(event: &Event) -> Option<Key> {
    match event {
        Event::Resize(_, _) => Some(Key::Redraw),
        Event::Key(KeyEvent { code, modifiers, kind, .. }) if *kind != KeyEventKind::Release => match code {
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(Key::Quit),
            KeyCode::Char('c' | 'd') if modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_escape_and_control_c_quit_and_a_new_size_draws_again() {
        let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        let none = KeyModifiers::NONE;
        let cases = [
            (key(KeyCode::Char('q'), none), Some(Key::Quit)),
            (key(KeyCode::Esc, none), Some(Key::Quit)),
            (key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Quit)),
            (key(KeyCode::Char('c'), none), None),
            (Event::Resize(120, 40), Some(Key::Redraw)),
            (Event::FocusLost, None),
        ];
        for (event, expect) in cases {
            assert_eq!(meaning(&event), expect, "{event:?}");
        }
    }
}
