//! Anything at all, read as the reference implementation reads it, and without a panic.

use proptest::prelude::*;

use super::*;

/// A message with a bit of everything that may go wrong in pieces.
const ORDER: &str = r#"syntax = "proto3"; import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
    enum Kind { NONE = 0; BUY = 1; }
    message Order { int64 id = 1; Customer customer = 2; repeated Item items = 3; map<string, sint32> tags = 4; google.protobuf.Timestamp at = 5;
        oneof how { int32 card = 6; Customer friend = 7; string cash = 8; } Kind kind = 9; google.protobuf.DoubleValue rate = 10; repeated double weights = 11; }
    message Customer { string id = 1; optional uint32 tier = 2; Customer invited_by = 3; }
    message Item { string sku = 1; fixed64 price = 2; bool gift = 3; }"#;

const ORDERED: &str = r#"id: -1 customer { id: "c" tier: 2 invited_by { id: "d" } } items { sku: "a\"b" price: 5 } items { gift: true }
    tags { key: "x" value: -1 } at { seconds: 1769679063 nanos: 1000 } friend { id: "f" tier: 1 } kind: BUY rate { value: 0.5 } weights: [1, 2.5]"#;

fn columns_of_order() -> Vec<(Column, FieldSpec)> {
    vec![
        column("id", "bigint", &[]),
        column("customer_id", "varchar(3)", &["customer.id"]),
        column("tier", "bigint", &["customer.tier"]),
        column("by", "text", &["customer.invited_by.id"]),
        json("items"),
        json("tags"),
        column("at", "timestamp", &[]),
        column("card", "bigint", &[]),
        json("friend"),
        column("cash", "text", &[]),
        column("kind", "text", &[]),
        column("rate", "double", &[]),
        json("weights"),
    ]
}

/// Checks that a record is read as what the reference makes of it, if both can read it.
fn agrees(record: &[u8]) -> Result<(), TestCaseError> {
    let read = |record: &[u8]| decode(columns_of_order(), &[(1, ORDER)], &[framed(1, &[0], record)]);
    let own = read(record);
    prop_assert_eq!(own.offsets.len() + own.dead.len(), 1);
    let Ok(reference) = DynamicMessage::decode(descriptor(ORDER), record) else { return Ok(()) };
    if own.dead.is_empty() {
        prop_assert_eq!(shown(&own), shown(&read(&reference.encode_to_vec())));
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_become_one_row_or_one_dead_letter(payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..9)) {
        let messages: Vec<_> = payloads.iter().map(|payload| framed(1, &[], payload)).collect();
        // What begins with a zero names a schema, about which nobody can be asked here.
        let bare = payloads.iter().filter(|payload| payload.first() != Some(&0)).cloned();
        let messages: Vec<_> = messages.into_iter().chain(bare).collect();
        let batch = decode(columns_of_order(), &[(1, ORDER)], &messages);
        prop_assert_eq!(batch.offsets.len() + batch.dead.len(), messages.len());
        payloads.iter().try_for_each(|payload| agrees(payload))?;
    }

    #[test]
    fn damaged_records_become_one_row_or_one_dead_letter(at in 0_usize..200, byte in any::<u8>(), cut in 0_usize..200) {
        let good = message(1, ORDER, ORDERED);
        let mut bad = good.clone();
        let at = 6 + at % (bad.len() - 6);
        bad[at] = byte;
        agrees(&bad[6..])?;
        bad.truncate(cut.max(1));
        let batch = decode(columns_of_order(), &[(1, ORDER)], &[good.clone(), bad, good]);
        prop_assert_eq!(batch.offsets.len() + batch.dead.len(), 3);
        prop_assert!(batch.offsets.contains(&0) && batch.offsets.contains(&2));
    }

    #[test]
    fn fields_in_any_order_and_any_number_are_read_as_the_reference_does(pieces in proptest::collection::vec((0_usize..13, 0_u8..4), 0..9)) {
        let piece = |(which, n): (usize, u8)| -> Vec<u8> {
            match which {
                0 => vec![8, n],
                1 => field(2, &field(1, &vec![b'c'; n.into()])),
                2 => field(2, &[16, n]),
                3 => field(2, &field(3, &field(1, b"d"))),
                4 => field(3, &[24, n]),
                5 => field(4, &[10, 1, b'a' + n % 2, 16, n]),
                6 => field(5, if n % 2 == 0 { &[8, 9] } else { &[16, 0x80, 0x89, 0x7a] }),
                7 => vec![48, n],
                8 => field(7, &[16, n]),
                9 => field(7, &field(1, b"f")),
                10 => field(8, b"cash"),
                11 => vec![72, n],
                _ => field(10, if n % 2 == 0 { &[] } else { &[9, 0, 0, 0, 0, 0, 0, 0, 0x40] }),
            }
        };
        let record: Vec<u8> = pieces.into_iter().flat_map(piece).collect();
        prop_assert!(DynamicMessage::decode(descriptor(ORDER), &*record).is_ok());
        prop_assert!(decode(columns_of_order(), &[(1, ORDER)], &[framed(1, &[0], &record)]).dead.is_empty());
        agrees(&record)?;
    }

    #[test]
    fn damaged_schemas_are_refused_or_read(at in any::<prop::sample::Index>(), text in "[{}\\[\\]\"=;0-9a-z/* <>]{0,4}", cut in any::<prop::sample::Index>()) {
        let at = at.index(ORDER.len());
        let end = at + cut.index(ORDER.len() - at).min(9);
        let _ = Schema::parse(&format!("{}{text}{}", &ORDER[..at], &ORDER[end..]), &[]);
    }
}
