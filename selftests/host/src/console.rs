// SPDX-License-Identifier: GPL-2.0

//! The terminal: what is typed goes to the guest's first serial port.

use crate::ending::End;
use crate::machine::Machine;
use crate::sync::lock;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use vmm_sys_util::terminal::Terminal;

/// Ctrl-A, after which a key is for us.
const ESCAPE: u8 = 1;
/// How often a guest that does not read is looked at again.
const PATIENCE: Duration = Duration::from_millis(20);

/// A terminal in raw mode, put back when this is dropped.
pub(crate) struct RawTerminal(());

impl RawTerminal {
    /// Puts the standard input into raw mode if it is a terminal.
    pub(crate) fn enter() -> Option<Self> {
        let input = io::stdin();
        if !input.is_terminal() {
            return None;
        }
        input.lock().set_raw_mode().ok().map(|()| Self(()))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = io::stdin().lock().set_canon_mode();
    }
}

/// What is typed, divided.
#[derive(Debug, PartialEq, Eq)]
enum Key {
    /// For the guest.
    Guest(u8),
    /// Ctrl-A x: end.
    Quit,
    /// The start of one of ours, or one that means nothing.
    Nothing,
}

/// Knows what the last key was.
#[derive(Default)]
struct Keyboard {
    /// It was [`ESCAPE`].
    escaped: bool,
}

impl Keyboard {
    /// A key is typed. Ctrl-A twice is Ctrl-A for the guest.
    fn key(&mut self, byte: u8) -> Key {
        match (core::mem::take(&mut self.escaped), byte) {
            (true, b'x' | b'X') => Key::Quit,
            (true, ESCAPE) => Key::Guest(ESCAPE),
            (true, _) => Key::Nothing,
            (false, ESCAPE) => {
                self.escaped = true;
                Key::Nothing
            }
            (false, byte) => Key::Guest(byte),
        }
    }
}

/// Reads the standard input until its end, in a thread of its own. Only a terminal has an escape key.
///
/// # Errors
///
/// No more threads.
pub(crate) fn start(machine: &Arc<Machine>) -> io::Result<()> {
    let machine = machine.clone();
    let escapes = io::stdin().is_terminal();
    // A read of `Stdin` would hold its lock, which is needed to put the terminal back.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let read = move || {
        let mut keyboard = Keyboard::default();
        let mut bytes = [0; 256];
        while let Ok(count) = input.read(&mut bytes) {
            if count == 0 {
                return;
            }
            let mut typed = Vec::new();
            for byte in bytes.iter().take(count).copied() {
                match if escapes {
                    keyboard.key(byte)
                } else {
                    Key::Guest(byte)
                } {
                    Key::Guest(byte) => typed.push(byte),
                    Key::Quit => machine.ending().set(End::Stopped("Ctrl-A x")),
                    Key::Nothing => {}
                }
            }
            while !lock(machine.ports().console()).is_drained() {
                thread::sleep(PATIENCE);
            }
            lock(machine.ports().console()).send(&typed);
        }
    };
    thread::Builder::new().name("console".into()).spawn(read)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_is_for_us() {
        let mut keyboard = Keyboard::default();
        let mut typed =
            |text: &[u8]| -> Vec<Key> { text.iter().map(|byte| keyboard.key(*byte)).collect() };
        assert_eq!(typed(b"a"), [Key::Guest(b'a')]);
        assert_eq!(typed(b"\x01x"), [Key::Nothing, Key::Quit]);
        assert_eq!(typed(b"\x01\x01"), [Key::Nothing, Key::Guest(1)]);
        assert_eq!(
            typed(b"\x01bx"),
            [Key::Nothing, Key::Nothing, Key::Guest(b'x')]
        );
    }
}
