use super::*;
use crate::identity::fixtures::{board, fingerprint, honest_board, policy, seed};
use ComponentKind::{EmmcCid, MacAddress, PanelSerial, RadioSerial, SocSerial};
use proptest::prelude::*;

fn component(kind: ComponentKind, value: &[u8]) -> Component {
    Component::new(kind, value).unwrap()
}

fn any_kind() -> impl Strategy<Value = ComponentKind> {
    prop::sample::select(ComponentKind::ALL)
}

proptest! {
    #[test]
    fn blanks_around_a_value_change_nothing(value in "[a-z0-9]{1,60}", before in "[ \n\t\0]{0,9}", after in "[ \n\t\0]{0,9}") {
        let padded = component(SocSerial, format!("{before}{value}{after}").as_bytes());
        prop_assert_eq!(padded, component(SocSerial, value.as_bytes()));
    }

    #[test]
    fn no_value_panics_the_constructor(kind in any_kind(), value: Vec<u8>) {
        if let Ok(component) = Component::new(kind, &value) {
            let encoded = component.encode();
            prop_assert_eq!(encoded.len(), 3 + usize::from(u16::from_le_bytes([encoded[1], encoded[2]])));
        }
    }

    #[test]
    fn two_components_never_share_an_encoding(a in (any_kind(), "[a-c]{1,3}"), b in (any_kind(), "[a-c]{1,3}")) {
        let encode = |(kind, value): &(_, String)| component(*kind, value.as_bytes()).encode();
        prop_assert_eq!(a == b, encode(&a) == encode(&b));
    }

    #[test]
    fn the_order_in_which_components_are_read_changes_nothing(
        kinds in prop::sample::subsequence(ComponentKind::ALL, 1..=8).prop_shuffle()
    ) {
        let read: Vec<_> = kinds.iter().map(|kind| component(*kind, kind.as_str().as_bytes())).collect();
        let mut sorted = read.clone();
        sorted.sort_by_key(Component::kind);
        let fingerprint = Fingerprint::new(read).unwrap();
        prop_assert_eq!(fingerprint.components(), &sorted[..]);
    }

    #[test]
    fn a_board_passes_exactly_if_all_required_and_enough_optional_components_match(same: [bool; 4], k in 0..=2u8) {
        let policy = ComponentPolicy::new(vec![SocSerial, EmmcCid], vec![MacAddress, PanelSerial], k).unwrap();
        let now = board(same.map(|same| if same { "burned" } else { "other" }));
        let burned = board(["burned"; 4]);
        let comparison = compare(&burned.digests(&seed(1)), &now.digests(&seed(1)), &policy);
        let optional = u8::from(same[2]) + u8::from(same[3]);
        prop_assert_eq!(comparison.passes, same[0] && same[1] && optional >= k);
        let differing: Vec<_> = policy.slots().zip(same).filter(|(_, same)| !same).map(|(kind, _)| kind).collect();
        prop_assert_eq!(comparison.mismatched, differing);
    }
}

#[test]
fn rule_25_a_mismatch_names_the_component() {
    let burned = honest_board().digests(&seed(1));
    let now = board(["soc 1", "emmc 1", "another mac", "panel 1"]).digests(&seed(1));
    let comparison = compare(&burned, &now, &policy());
    assert_eq!(comparison, Comparison { mismatched: vec![MacAddress], passes: true });
}

#[test]
fn a_component_that_is_gone_counts_as_differing_and_an_unasked_one_for_nothing() {
    let burned = honest_board().digests(&seed(1));
    let now = fingerprint(&[(SocSerial, "soc 1"), (EmmcCid, "emmc 1"), (RadioSerial, "radio")]);
    let comparison = compare(&burned, &now.digests(&seed(1)), &policy());
    assert_eq!(comparison, Comparison { mismatched: vec![MacAddress, PanelSerial], passes: false });
    let with_radio = [burned.clone(), now.digests(&seed(1))[2..].to_vec()].concat();
    assert!(compare(&burned, &with_radio, &policy()).passes);
}

#[test]
fn rule_19_a_component_leaves_the_terminal_only_as_a_digest_under_its_own_seed() {
    let digests = |number, value| fingerprint(&[(SocSerial, value)]).digests(&seed(number))[0].digest;
    assert_eq!(digests(1, "soc"), digests(1, "soc"));
    assert_ne!(digests(1, "soc"), digests(2, "soc"), "another unit's key");
    assert_ne!(digests(1, "soc"), digests(1, "sod"), "another value");
    let as_panel = fingerprint(&[(PanelSerial, "soc")]).digests(&seed(1))[0].digest;
    assert_ne!(digests(1, "soc"), as_panel, "another kind");
    assert_eq!(format!("{:?}", component(SocSerial, b"soc")), "Component(soc-serial, 3 bytes)");
}

#[test]
fn rule_23_a_digest_is_hmac_sha384_under_the_component_key_cut_to_8_bytes() {
    let mut mac = <Hmac<Sha384> as KeyInit>::new_from_slice(&seed(1).component_key()[..]).unwrap();
    mac.update(b"\x01\x05\x00soc 1");
    let full = mac.finalize().into_bytes();
    assert_eq!(honest_board().digests(&seed(1))[0].digest[..], full[..8]);
}

#[test]
fn values_that_cannot_be_compared_are_refused() {
    assert_eq!(Component::new(SocSerial, b" \n\0"), Err(FingerprintError::Empty(SocSerial)));
    let long = FingerprintError::TooLong { kind: SocSerial, got: 65 };
    assert_eq!(Component::new(SocSerial, &[b'x'; 65]), Err(long));
    let twice = vec![component(SocSerial, b"a"), component(EmmcCid, b"b"), component(SocSerial, b"c")];
    assert_eq!(Fingerprint::new(twice), Err(FingerprintError::Twice(SocSerial)));
    assert_eq!(Fingerprint::new(vec![]), Err(FingerprintError::None));
}

#[test]
fn a_policy_that_cannot_protect_or_cannot_be_met_is_refused() {
    let policy = |required: &[_], optional: &[_], k| {
        ComponentPolicy::new(required.to_vec(), optional.to_vec(), k).unwrap_err()
    };
    assert_eq!(policy(&[], &[SocSerial], 1), PolicyError::NothingRequired);
    assert_eq!(policy(&[SocSerial], &[SocSerial], 0), PolicyError::Twice(SocSerial));
    assert_eq!(policy(&[SocSerial], &[EmmcCid], 2), PolicyError::Threshold { threshold: 2, optional: 1 });
}

#[test]
fn a_policy_survives_its_file_and_an_unknown_field_does_not() {
    let json = serde_json::to_string(&policy()).unwrap();
    assert_eq!(
        json,
        r#"{"required":["soc-serial","emmc-cid"],"optional":["mac-address","panel-serial"],"threshold":1}"#
    );
    assert_eq!(serde_json::from_str::<ComponentPolicy>(&json).unwrap(), policy());
    let unknown = json.replace("threshold", "treshold");
    assert!(serde_json::from_str::<ComponentPolicy>(&unknown).unwrap_err().to_string().contains("treshold"));
    let unmeetable = json.replace(":1}", ":3}");
    let error = serde_json::from_str::<ComponentPolicy>(&unmeetable).unwrap_err().to_string();
    assert!(error.contains("a threshold of 3 cannot be met by 2"), "{error}");
}
