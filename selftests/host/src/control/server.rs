// SPDX-License-Identifier: GPL-2.0

//! The control socket: a thread for each connection, one request after the other.

use super::{handle, MAX_REQUEST};
use crate::machine::Machine;
use serde_json::json;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::Arc;
use std::thread;

/// Connections at a time.
const MAX_CONNECTIONS: usize = 32;

/// The socket; it is removed with this.
pub(crate) struct Server {
    /// Where it is.
    path: PathBuf,
}

impl Server {
    /// Listens on a socket at `path`. One that a dead machine has left there is replaced.
    ///
    /// # Errors
    ///
    /// A sentence that names the path.
    pub(crate) fn start(machine: &Arc<Machine>, path: &Path) -> Result<Self, String> {
        let shown = path.display();
        if path
            .metadata()
            .is_ok_and(|found| found.file_type().is_socket())
        {
            if UnixStream::connect(path).is_ok() {
                return Err(format!("--control {shown}: another machine listens there"));
            }
            let _ = std::fs::remove_file(path);
        }
        let error = |error: io::Error| format!("--control {shown}: {error}");
        let listener = UnixListener::bind(path).map_err(error)?;
        let machine = machine.clone();
        thread::Builder::new()
            .name("control".into())
            .spawn(move || accept(&listener, &machine))
            .map_err(error)?;
        Ok(Self { path: path.into() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Takes connections.
fn accept(listener: &UnixListener, machine: &Arc<Machine>) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        // A connection that failed is its peer's loss.
        let Ok(stream) = stream else { continue };
        if open.load(Ordering::SeqCst) >= MAX_CONNECTIONS {
            continue;
        }
        open.fetch_add(1, Ordering::SeqCst);
        let (machine, open) = (machine.clone(), open.clone());
        let serve = move || {
            let _ = serve(&machine, &stream);
            open.fetch_sub(1, Ordering::SeqCst);
        };
        let _ = thread::Builder::new().name("request".into()).spawn(serve);
    }
}

/// Serves a connection until its end.
fn serve(machine: &Arc<Machine>, mut stream: &UnixStream) -> io::Result<()> {
    let limit = u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX);
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        reader.by_ref().take(limit).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let (sender, receiver) = channel();
        handle(machine, &line, move |answer| {
            // Nobody waits any longer: the connection is gone.
            let _ = sender.send(answer);
        });
        let answer = receiver
            .recv()
            .unwrap_or_else(|_| json!({ "error": "there is no answer" }));
        stream.write_all(format!("{answer}\n").as_bytes())?;
    }
}
