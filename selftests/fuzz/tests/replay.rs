// SPDX-License-Identifier: GPL-2.0

//! Replays the committed corpus: inputs that once broke a parser, and seeds of the fuzzer.

#![expect(clippy::expect_used, reason = "what panics in a test is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

use parser_fuzz::TARGETS;

/// Files in a folder, in order.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    paths.sort();
    paths
}

#[test]
fn the_corpus_passes() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in TARGETS {
        let inputs = entries(&corpus.join(name));
        assert!(!inputs.is_empty(), "{name} has no input");
        for input in inputs {
            // Shown only if the target panics.
            println!("{}", input.display());
            target(&fs::read(&input).expect("it can be read"));
        }
    }
    assert_eq!(
        entries(&corpus).len(),
        TARGETS.len(),
        "a folder of the corpus has no target"
    );
}
