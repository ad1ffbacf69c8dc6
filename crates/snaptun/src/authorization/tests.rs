//! What the table promises.

use super::*;
use proptest::prelude::*;

fn identity(byte: u8) -> Identity {
    Identity::new([byte; 32]).unwrap()
}

fn timestamp(n: u64) -> Timestamp {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&n.to_be_bytes());
    bytes
}

fn table(now: Instant) -> AuthorizationTable {
    AuthorizationTable::new(now, 2)
}

#[test]
fn an_identity_is_asked_for_once_and_then_stands_as_answered() {
    let now = Instant::now();
    let table = table(now);
    assert!(matches!(table.admit(identity(1), timestamp(1), now), Standing::Ask));
    assert!(matches!(table.admit(identity(1), timestamp(2), now), Standing::Asked));
    assert!(matches!(table.admit(identity(1), timestamp(2), now), Standing::Replayed));
    table.grant(identity(1), Grant::default(), now);
    assert!(matches!(table.standing(identity(1), now), Standing::Granted(_)));
    assert!(matches!(table.admit(identity(1), timestamp(2), now), Standing::Replayed));
    assert!(matches!(table.admit(identity(2), timestamp(1), now), Standing::Ask));
}

#[test]
fn those_who_wait_are_bounded_and_time_out() {
    let now = Instant::now();
    let table = table(now);
    assert!(matches!(table.admit(identity(1), timestamp(1), now), Standing::Ask));
    assert!(matches!(table.admit(identity(2), timestamp(1), now), Standing::Ask));
    assert!(matches!(table.admit(identity(3), timestamp(1), now), Standing::AtCapacity));
    let mut late = table.time_out(now, now);
    late.sort_by_key(|one| *one.as_bytes());
    assert_eq!(late, [identity(1), identity(2)]);
    assert!(matches!(table.admit(identity(3), timestamp(1), now), Standing::Ask));
    assert!(matches!(table.admit(identity(1), timestamp(2), now), Standing::Refused));
}

#[test]
fn a_refusal_is_remembered_for_a_moment() {
    let now = Instant::now();
    let table = table(now);
    assert!(matches!(table.admit(identity(1), timestamp(1), now), Standing::Ask));
    table.refuse(identity(1), now);
    assert!(matches!(table.admit(identity(1), timestamp(2), now), Standing::Refused));
    let later = now + REFUSAL_MEMORY;
    assert!(matches!(table.admit(identity(1), timestamp(3), later), Standing::Ask));
}

#[test]
fn refusals_are_bounded() {
    let now = Instant::now();
    let table = table(now);
    for n in 0..2 * MAX_REFUSALS as u64 {
        let mut bytes = [1; 32];
        bytes[..8].copy_from_slice(&n.to_le_bytes());
        table.refuse(Identity::new(bytes).unwrap(), now);
    }
    let tables = table.tables.lock();
    assert_eq!((tables.refused.len(), tables.refusals.len()), (MAX_REFUSALS, MAX_REFUSALS));
}

#[test]
fn an_expiry_passes_nothing_from_its_instant_on() {
    let now = Instant::now();
    let table = table(now);
    let end = now + Duration::from_secs(5);
    table.grant(identity(1), Grant { expires_at: Some(end), preshared_key: None }, now);
    let Standing::Granted(held) = table.standing(identity(1), now) else { panic!() };
    assert!(held.allows(table.clock(end - Duration::from_nanos(1))));
    assert!(!held.allows(table.clock(end)));
    table.grant(identity(1), Grant::default(), now);
    assert!(held.allows(table.clock(end)), "a renewed grant serves living tunnels");
}

#[test]
fn a_grant_is_asked_for_again_once_shortly_before_its_end() {
    let now = Instant::now();
    let table = table(now);
    let end = now + Duration::from_secs(100);
    let until = |end| Grant { expires_at: Some(end), preshared_key: None };
    table.grant(identity(1), until(end), now);
    let Standing::Granted(held) = table.standing(identity(1), now) else { panic!() };
    let soon = end - Duration::from_secs(10);
    assert!(!table.renew(&held, soon - Duration::from_nanos(1)));
    assert!(table.renew(&held, soon) && !table.renew(&held, soon));
    table.grant(identity(1), until(end + Duration::from_secs(100)), soon);
    assert!(!table.renew(&held, end) && held.allows(table.clock(end)));
}

#[test]
fn places_are_bounded_and_given_back() {
    let now = Instant::now();
    let table = table(now);
    let granted = |byte| {
        table.grant(identity(byte), Grant::default(), now);
        let Standing::Granted(held) = table.standing(identity(byte), now) else { panic!() };
        held
    };
    let (one, two) = (granted(1), granted(2));
    let from = |port| SocketAddr::from(([192, 0, 2, 1], port));
    let first = table.place(&one, (2, 1), from(1), 7);
    assert!(first.is_some());
    assert!(table.place(&one, (2, 1), from(2), 7).is_none(), "one for an identity");
    let second = table.place(&two, (2, 1), from(1), 7);
    assert!(second.is_some());
    assert!(table.place(&granted(3), (2, 1), from(3), 7).is_none(), "two in all");
    drop(first);
    assert_eq!(table.owner(from(1)), Some(7), "the other is still there");
    drop(second);
    assert_eq!(table.owner(from(1)), None);
    assert!(table.place(&one, (2, 1), from(1), 7).is_some());
}

#[test]
fn a_revoked_authorization_stays_so_for_who_holds_it() {
    let now = Instant::now();
    let table = table(now);
    assert!(!table.revoke(identity(1), now));
    table.grant(identity(1), Grant::default(), now);
    let Standing::Granted(held) = table.standing(identity(1), now) else { panic!() };
    assert!(table.revoke(identity(1), now));
    assert!(!held.allows(table.clock(now)) && held.is_revoked());
    table.grant(identity(1), Grant::default(), now);
    assert!(!held.allows(table.clock(now)));
    assert!(table.is_granted(identity(1), now));
}

#[test]
fn a_replay_is_recognized_until_long_after_the_authorization() {
    let now = Instant::now();
    let table = table(now);
    table.grant(identity(1), Grant::default(), now);
    assert!(matches!(table.admit(identity(1), timestamp(1), now), Standing::Granted(_)));
    table.revoke(identity(1), now);
    table.sweep(now + REPLAY_MEMORY - Duration::from_secs(1));
    assert!(matches!(table.admit(identity(1), timestamp(1), now), Standing::Replayed));
    table.sweep(now + REPLAY_MEMORY);
    assert!(table.tables.lock().known.is_empty());
}

proptest! {
    #[test]
    fn no_timestamp_is_admitted_twice(sequence in prop::collection::vec(0u64..100, 0..300)) {
        let now = Instant::now();
        let table = table(now);
        table.grant(identity(1), Grant::default(), now);
        let mut admitted = std::collections::HashSet::new();
        for n in sequence {
            if !matches!(table.admit(identity(1), timestamp(n), now), Standing::Replayed) {
                prop_assert!(admitted.insert(n));
            }
        }
    }
}
