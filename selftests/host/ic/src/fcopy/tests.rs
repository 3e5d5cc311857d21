// SPDX-License-Identifier: GPL-2.0

//! Tests of the fcopy service.

use super::*;
use crate::guest::{Asked, Guest, Request};
use hv_utils_proto::fcopy::Body;
use hv_utils_proto::{MessageType, Version};

const V1_1: Version = Version::new(1, 1);
const V3_0: Version = Version::new(3, 0);

fn guest() -> Guest {
    Guest::ready(Ic::fcopy(FcopyOptions::default()), V3_0, V1_1)
}

/// What arrived in the guest.
#[derive(Debug, Default, PartialEq, Eq)]
struct Arrived {
    folder: String,
    name: String,
    flags: u32,
    size: u64,
    data: Vec<u8>,
    complete: bool,
    cancelled: bool,
}

impl Arrived {
    /// Does what a request asks for, as Linux' daemon does.
    fn accept(&mut self, request: &Request) -> Status {
        assert_eq!(request.prefix.message_type(), MessageType::FCOPY);
        let text = |field: &[_]| utf16::decode(field).unwrap().collect::<String>();
        match Body::parse(&request.body).unwrap() {
            Body::Start(start) => {
                self.folder = text(&start.path_name);
                self.name = text(&start.file_name);
                (self.flags, self.size) = (start.flags.get(), start.file_size.get());
            }
            Body::Write(write) => {
                assert_eq!(write.offset.get(), u64::try_from(self.data.len()).unwrap());
                self.data.extend_from_slice(write.data().unwrap());
            }
            Body::Complete => self.complete = true,
            Body::Cancel => {
                self.cancelled = true;
                return Status::FAIL;
            }
            Body::Other(operation) => panic!("{operation:?}"),
        }
        Status::OK
    }

    /// Does so with all requests, up to the first that is refused here with a status.
    fn serve(&mut self, guest: &mut Guest, refuse: Option<(usize, Status)>) {
        let mut count = 0;
        while let Some(request) = guest.take() {
            let status = match refuse {
                Some((at, status)) if at == count => status,
                _ => self.accept(&request),
            };
            guest.answer(&request, status, &[]);
            count += 1;
        }
    }
}

/// Copies something into a guest that accepts it.
fn copy(arguments: Value) -> (Arrived, Result<Value, String>) {
    let (mut guest, mut arrived) = (guest(), Arrived::default());
    let asked = guest.control("copy_file", arguments);
    arrived.serve(&mut guest, None);
    (arrived, asked.only())
}

#[test]
fn a_text_arrives() {
    let (arrived, answer) =
        copy(json!({"path": "/var/tmp/größe", "content": "hello", "create_path": true}));
    let expected = Arrived {
        folder: "/var/tmp/".into(),
        name: "größe".into(),
        flags: 2,
        size: 5,
        data: b"hello".into(),
        complete: true,
        cancelled: false,
    };
    assert_eq!((arrived, answer), (expected, Ok(json!({"bytes": 5}))));
}

#[test]
fn files_of_every_size_around_a_fragment_arrive_whole() {
    for size in [0, 1, 6143, 6144, 6145, 12288, 100_000] {
        let (arrived, answer) = copy(json!({"path": "/f", "size": size, "overwrite": true}));
        assert_eq!(answer, Ok(json!({"bytes": size})));
        assert_eq!(
            (arrived.flags, arrived.size, arrived.complete),
            (1, size, true)
        );
        let pattern = (0..size).map(|at| u8::try_from(at % 251).unwrap());
        assert!(arrived.data.into_iter().eq(pattern), "{size}");
    }
}

#[test]
fn a_file_of_the_host_arrives() {
    let path = std::env::temp_dir().join(format!("ic_vsp-fcopy-{}", std::process::id()));
    let data: Vec<u8> = (0..20_000u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&path, &data).unwrap();
    let (arrived, answer) = copy(json!({"path": "/f", "source": path.to_str().unwrap()}));
    assert_eq!(answer, Ok(json!({"bytes": 80_000})));
    assert!(arrived.data == data);
    // One that shrinks on the way.
    let (mut guest, mut arrived) = (guest(), Arrived::default());
    let asked = guest.control(
        "copy_file",
        json!({"path": "/f", "source": path.to_str().unwrap()}),
    );
    std::fs::write(&path, b"less").unwrap();
    arrived.serve(&mut guest, None);
    assert!(asked.only().unwrap_err().contains("cannot be read"));
    assert!(arrived.cancelled && !arrived.complete);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn what_cannot_be_copied_is_refused_at_once() {
    let long = format!("/{}", "x".repeat(260));
    for (arguments, error) in [
        (json!({"path": "f", "size": 1}), "slash"),
        (json!({"path": "f/g", "size": 1}), "slash"),
        (json!({"path": "/f/", "size": 1}), "no file name"),
        (json!({"path": long, "size": 1}), "259"),
        (json!({"path": "/f"}), "one of"),
        (json!({"path": "/f", "size": 1, "content": ""}), "one of"),
        (json!({"path": "/f", "source": "/dev/null"}), "regular"),
        (
            json!({"path": "/f", "source": "/does/not/exist"}),
            "No such",
        ),
        (json!({"size": 1}), "path"),
    ] {
        let (arrived, answer) = copy(arguments);
        assert!(answer.as_ref().unwrap_err().contains(error), "{answer:?}");
        assert_eq!(arrived, Arrived::default());
    }
}

#[test]
fn the_guests_refusals_are_told_in_words() {
    for (at, status, error, cancelled) in [
        (0, Status::ALREADY_EXISTS, "exists", false),
        (0, Status::FAIL, "FAIL", false),
        (1, Status::DISK_FULL, "full", true),
        (2, Status::FAIL, "FAIL", true),
        (3, Status(0x8007_0001), "0x80070001", true),
    ] {
        let (mut guest, mut arrived) = (guest(), Arrived::default());
        let asked = guest.control("copy_file", json!({"path": "/f", "size": 10_000}));
        arrived.serve(&mut guest, Some((at, status)));
        let answer = asked.only().unwrap_err();
        assert!(answer.contains(error), "{answer}");
        assert_eq!(arrived.cancelled, cancelled);
        assert_eq!(
            (guest.status("failed"), guest.status("last_error")),
            (json!(1), json!(answer))
        );
        // The service goes on.
        let asked = guest.control("copy_file", json!({"path": "/f", "size": 1}));
        Arrived::default().serve(&mut guest, None);
        assert!(asked.only().is_ok());
    }
}

/// A copy of which the guest has taken the first two messages.
fn under_way(guest: &mut Guest) -> Asked {
    let asked = guest.control(
        "copy_file",
        json!({"path": "/f", "size": 20_000, "timeout_ms": 500}),
    );
    for _ in 0..2 {
        let request = guest.expect();
        guest.answer(&request, Status::OK, &[]);
    }
    let copying = json!({"path": "/f", "bytes": 6144, "size": 20_000});
    assert_eq!((asked.answer(), guest.status("copying")), (None, copying));
    asked
}

#[test]
fn silence_cancels() {
    let mut guest = guest();
    let asked = under_way(&mut guest);
    let _write = guest.expect();
    guest.pass(Duration::from_millis(500));
    let cancel = guest.expect();
    assert!(matches!(Body::parse(&cancel.body), Ok(Body::Cancel)));
    assert_eq!(asked.answer(), None);
    guest.pass(Duration::from_millis(500));
    assert_eq!(asked.only(), Err("the guest did not answer in time".into()));
    assert_eq!(guest.status("copying"), Value::Null);
}

#[test]
fn a_copy_can_be_cancelled() {
    let mut guest = guest();
    let asked = under_way(&mut guest);
    assert_eq!(guest.control("cancel", json!({})).only(), Ok(Value::Null));
    let mut arrived = Arrived {
        data: vec![0; 6144],
        ..Arrived::default()
    };
    arrived.serve(&mut guest, None);
    assert_eq!(asked.only(), Err("cancelled".into()));
    assert!(arrived.cancelled);
    assert!(guest.control("cancel", json!({})).only().is_err());
}

#[test]
fn one_copy_at_a_time() {
    let mut guest = guest();
    let _asked = under_way(&mut guest);
    let second = guest.control("copy_file", json!({"path": "/g", "size": 1}));
    assert!(second.only().unwrap_err().contains("another"));
    let unknown = guest.control("copy", json!({}));
    assert!(unknown.only().unwrap_err().contains("copy_file, cancel"));
}

#[test]
fn closing_ends_the_copy() {
    let mut guest = guest();
    let asked = under_way(&mut guest);
    guest.close();
    assert_eq!(asked.only(), Err(crate::CLOSED.into()));
}
