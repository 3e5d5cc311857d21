// SPDX-License-Identifier: GPL-2.0

//! A test that sets the client's counters. All others are in `tests/client`, where they see the public interface.

use super::*;
use crate::channel::TableFull;
use crate::gpadl::{GpadlId, Range};
use crate::message::wire::OfferChannel;
use crate::offer::Offer;
use zerocopy::FromZeros;

/// A table of one channel.
struct OneChannel(Channel);

impl ChannelTable for OneChannel {
    fn get(&self, relid: Relid) -> Option<&Channel> {
        (self.0.relid() == relid).then_some(&self.0)
    }

    fn get_mut(&mut self, relid: Relid) -> Option<&mut Channel> {
        (self.0.relid() == relid).then_some(&mut self.0)
    }

    fn insert(&mut self, _: Channel) -> Result<(), TableFull> {
        Err(TableFull)
    }

    fn remove(&mut self, _: Relid) {}

    fn clear(&mut self) {}

    fn iter(&self) -> impl Iterator<Item = &Channel> {
        core::iter::once(&self.0)
    }
}

#[test]
fn gpadl_names_skip_zero_and_those_in_use() {
    let relid = Relid::new(1).unwrap();
    let offer = Offer::new(relid, &OfferChannel::new_zeroed()).unwrap();
    let mut client = Client::new(OneChannel(Channel::new(offer)));
    let (version, offers) = (Version::V6_0, Offers::Delivered);
    client.connection = Connection::Connected(Link {
        version,
        connection_id: 1,
        offers,
    });
    let mut create = |next| {
        client.next_gpadl = next;
        let (gpadl, _) = client
            .create_gpadl(relid, Range::pages(1).unwrap(), 0..)
            .unwrap();
        (gpadl, client.next_gpadl)
    };
    assert_eq!(create(u32::MAX), (GpadlId(u32::MAX), 0));
    assert_eq!(create(0), (GpadlId(1), 2));
    assert_eq!(create(2), (GpadlId(2), 3));
    assert_eq!(create(u32::MAX), (GpadlId(3), 4));
}
