//! What goes there and back is the same, and nothing that comes is too much.

use super::*;
use crate::{testing, to_pb};
use linkerd2_proxy_api::{destination as dst, inbound as inp, outbound as out};
use proptest::{collection::vec, prelude::*};
use prost::Message;

// --- there and back

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn outbound_policies_survive_the_way_there_and_back(policy in testing::policy()) {
        let back = outbound(&to_pb::outbound(&policy));
        prop_assert_eq!(back.map_err(|p| p.text()), Ok(policy));
    }

    #[test]
    fn server_policies_survive_the_way_there_and_back(policy in testing::server()) {
        let back = server(&to_pb::server(&policy));
        prop_assert_eq!(back.map_err(|p| p.text()), Ok(policy));
    }

    #[test]
    fn profiles_survive_the_way_there_and_back(it in testing::profile()) {
        let (back, problems) = profile(&to_pb::profile(&it));
        prop_assert!(problems.is_empty(), "{:?}", problems);
        prop_assert_eq!(back, it);
    }

    #[test]
    fn changes_survive_the_way_there_and_back(added in vec(testing::endpoint(), 0..4), removed in vec(testing::socket_addr(), 0..4), exists: bool) {
        for change in [Change::Add(added), Change::Remove(removed), Change::NoEndpoints { exists }] {
            let (back, problems) = update(&to_pb::update(&change));
            prop_assert!(problems.is_empty(), "{:?}", problems);
            prop_assert_eq!(back, Some(change));
        }
    }
}

// --- whatever comes

/// Bytes of a message with some of them changed.
fn mangled(message: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    vec((any::<prop::sample::Index>(), any::<u8>()), 0..6).prop_map(move |changes| {
        let mut bytes = message.clone();
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn mangled_policies_are_understood_or_refused(
        bytes in testing::policy().prop_flat_map(|p| mangled(to_pb::outbound(&p).encode_to_vec()))
    ) {
        if let Ok(message) = out::OutboundPolicy::decode(&*bytes) {
            let policy = Policy::from_pb(&message);
            if let Some(problem) = &policy.problem {
                prop_assert!(problem.starts_with("invalid "), "{}", problem);
            } else {
                // What was understood can be told again, but for failing backends that get a filter by it.
                let once = Policy::from_pb(&to_pb::outbound(&policy));
                prop_assert_eq!(Policy::from_pb(&to_pb::outbound(&once)), once);
            }
        }
    }

    #[test]
    fn mangled_servers_are_understood_or_refused(
        bytes in testing::server().prop_flat_map(|p| mangled(to_pb::server(&p).encode_to_vec()))
    ) {
        if let Ok(message) = inp::Server::decode(&*bytes) {
            let policy = ServerPolicy::from_pb(&message);
            if policy.problem.is_none() {
                prop_assert!(ServerPolicy::from_pb(&to_pb::server(&policy)).problem.is_none());
            }
        }
    }

    #[test]
    fn mangled_profiles_are_understood_in_parts(
        bytes in testing::profile().prop_flat_map(|p| mangled(to_pb::profile(&p).encode_to_vec()))
    ) {
        if let Ok(message) = dst::DestinationProfile::decode(&*bytes) {
            let profile = Profile::from_pb(&message);
            prop_assert!(profile.routes.len() <= message.routes.len());
        }
    }

    #[test]
    fn mangled_updates_are_understood_in_parts(
        bytes in vec(testing::endpoint(), 0..3).prop_flat_map(|e| mangled(to_pb::update(&Change::Add(e)).encode_to_vec()))
    ) {
        if let Ok(message) = dst::Update::decode(&*bytes) {
            let _ = Change::from_pb(&message);
        }
    }
}
