// SPDX-License-Identifier: GPL-2.0

//! Tests of the choice of versions.

use super::*;
use proptest::prelude::*;
use std::vec::Vec;

const V1_0: Version = Version::new(1, 0);
const V3_0: Version = Version::new(3, 0);
const V3_2: Version = Version::new(3, 2);

/// The body of an offer.
fn offer(framework: &[Version], message: &[Version]) -> Vec<u8> {
    let mut body = Vec::new();
    for count in [framework.len(), message.len()] {
        body.extend_from_slice(&u16::try_from(count).unwrap().to_le_bytes());
    }
    body.extend_from_slice(&[0; 4]);
    body.extend_from_slice(framework.as_bytes());
    body.extend_from_slice(message.as_bytes());
    body
}

#[test]
fn the_best_of_ours_wins_in_any_order_of_theirs() {
    let ours = Versions::of(Service::Shutdown);
    for framework in [[V1_0, V3_0], [V3_0, V1_0]] {
        for message in [[V1_0, V3_2, V3_0], [V3_2, V3_0, V1_0]] {
            let theirs = Versions {
                framework: &framework,
                message: &message,
            };
            assert_eq!(ours.best_common(&theirs), Some((V3_0, V3_2)));
        }
    }
}

#[test]
fn a_newer_host_is_met_at_our_best() {
    let ours = Versions::of(Service::Vss);
    let offered = [5, 6, 7].map(|major| Version::new(major, 0));
    let theirs = Versions {
        framework: &[V1_0, V3_0, Version::new(4, 0)],
        message: &offered,
    };
    assert_eq!(ours.best_common(&theirs), Some((V3_0, Version::new(5, 0))));
}

#[test]
fn both_kinds_must_be_common() {
    let ours = Versions::of(Service::Shutdown);
    let unknown = [Version::new(9, 9)];
    for (framework, message) in [(&unknown, &[V3_0]), (&[V3_0], &unknown)] {
        let theirs = Versions { framework, message };
        assert_eq!(ours.best_common(&theirs), None);
    }
    let theirs = Versions {
        framework: &[],
        message: &[],
    };
    assert_eq!(ours.best_common(&theirs), None);
}

#[test]
fn an_offer_parses_with_padding_and_not_when_cut() {
    let mut body = offer(&[V3_0], &[V1_0, V3_2]);
    body.extend_from_slice(&[0; 4]);
    let versions = Versions::parse(&body).unwrap();
    assert_eq!(
        (versions.framework, versions.message),
        (&[V3_0][..], &[V1_0, V3_2][..])
    );
    for length in 0..20 {
        assert!(Versions::parse(&body[..length]).is_err(), "{length}");
    }
    assert!(Versions::parse(&body[..20]).is_ok());
}

#[test]
fn a_hundred_versions_of_each_kind_are_the_most() {
    let many = [V1_0; 101];
    assert!(Versions::parse(&offer(&many[..100], &many[..100])).is_ok());
    for (framework, message) in [(101, 1), (1, 101)] {
        let body = offer(&many[..framework], &many[..message]);
        let counts = (
            u16::try_from(framework).unwrap(),
            u16::try_from(message).unwrap(),
        );
        assert_eq!(
            Versions::parse(&body),
            Err(Malformed::VersionCount(counts.0, counts.1))
        );
    }
}

#[test]
fn answers_read_back() {
    for chosen in [None, Some((V3_0, V3_2))] {
        let mut body = offer(&[V1_0], &[V1_0]);
        Answer::new(chosen).write(&mut body).unwrap();
        let versions = Versions::parse(&body).unwrap();
        let read = match (versions.framework, versions.message) {
            ([framework], [message]) => Some((*framework, *message)),
            _ => None,
        };
        assert_eq!(read, chosen);
    }
    assert_eq!(
        Answer::new(None).write(&mut [0; 15]),
        Err(Malformed::Short(15))
    );
    assert_eq!(usize::from(ANSWER_LENGTH), size_of::<Answer>());
}

proptest! {
    #[test]
    fn a_choice_is_in_both_lists_and_none_is_better(
        framework in proptest::collection::vec((0u16..4, 0u16..2), 0..6),
        message in proptest::collection::vec((0u16..5, 0u16..3), 0..8),
    ) {
        let versions = |list: Vec<(u16, u16)>| -> Vec<Version> {
            list.into_iter().map(|(major, minor)| Version::new(major, minor)).collect()
        };
        let (framework, message) = (versions(framework), versions(message));
        let theirs = Versions { framework: &framework, message: &message };
        for service in Service::ALL {
            let ours = Versions::of(service);
            let best = |ours: &[Version], theirs: &[Version]| {
                ours.iter().copied().filter(|version| theirs.contains(version)).max()
            };
            let expected = best(ours.framework, theirs.framework)
                .zip(best(ours.message, theirs.message));
            prop_assert_eq!(ours.best_common(&theirs), expected);
        }
    }
}
