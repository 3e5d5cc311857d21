// SPDX-License-Identifier: GPL-2.0

//! The program, from its command line to its exit status.

use crate::console::{self, RawTerminal};
use crate::control::{client, handle, Handler, Server};
use crate::ending::{End, STATUS_ERROR, STATUS_USAGE};
use crate::machine::Machine;
use crate::options::{self, Boot, Command};
use crate::report::report;
use serde_json::Value;
use std::ffi::OsString;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};
use vmm_sys_util::signal::register_signal_handler;

/// SIGHUP, SIGINT and SIGTERM.
const TERMINATING: [i32; 3] = [1, 2, 15];

/// Written when the program is to end.
static TERMINATE: OnceLock<EventFd> = OnceLock::new();

/// Runs the program. Returns its exit status.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    match options::parse(arguments) {
        Ok(Command::Print(text)) => {
            print(text);
            0
        }
        Ok(Command::Boot(options)) => boot(&options),
        Ok(Command::Control(request)) => match client::ask(&request) {
            Ok(Value::Null) => 0,
            Ok(value) => {
                print(&format!("{value:#}\n"));
                0
            }
            Err(error) => {
                report(format_args!("{error}"));
                STATUS_ERROR
            }
        },
        Err(error) => {
            report(format_args!("{error} (hvhost --help shows what there is)"));
            STATUS_USAGE
        }
    }
}

/// Says what was asked for. If nobody reads it, nobody misses it.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Boots a guest and waits for its end.
fn boot(options: &Boot) -> u8 {
    report(format_args!("seed {}", options.seed));
    let end = match try_boot(options) {
        Ok(end) => end,
        Err(error) => {
            report(format_args!("{error}"));
            return STATUS_ERROR;
        }
    };
    report(format_args!("{end}"));
    if end == End::Reset && options.reset_is_success {
        0
    } else {
        end.status()
    }
}

/// As [`boot`], which reports the end.
fn try_boot(options: &Boot) -> Result<End, String> {
    let terminate = EventFd::new(EFD_NONBLOCK).map_err(|error| error.to_string())?;
    let terminate = TERMINATE.get_or_init(|| terminate);
    for signal in TERMINATING {
        register_signal_handler(signal, terminate_program)
            .map_err(|error| format!("signals: {error}"))?;
    }
    let (machine, vcpus) = Machine::new(options)?;
    let _server = match &options.control {
        Some(path) => {
            let machine = machine.clone();
            let handler: Handler = Arc::new(move |line, answer| handle(&machine, line, answer));
            Some(Server::start(path, handler)?)
        }
        None => None,
    };
    let _terminal = RawTerminal::enter();
    console::start(&machine).map_err(|error| format!("console: {error}"))?;
    Ok(machine.run(vcpus, terminate))
}

/// Takes a signal that ends the program. Writing to an eventfd is safe in a signal handler.
extern "C" fn terminate_program<I, C>(_number: i32, _info: *mut I, _context: *mut C) {
    if let Some(event) = TERMINATE.get() {
        let _ = event.write(1);
    }
}
