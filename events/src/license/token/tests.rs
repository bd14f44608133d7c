use super::*;
use proptest::prelude::*;

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 48]).unwrap()
}

fn claims() -> Claims {
    Claims {
        cluster: ClusterId::from_bytes([1; 16]),
        device: key(2).public().device_id(),
        license: LicenseId::from_bytes([3; 16]),
        plan: "gold".to_owned(),
        entitlements: vec!["uhd".to_owned(), "recorder".to_owned()],
        issued_at: Timestamp::from_millis(1_795_374_203_000),
        expires: Timestamp::from_millis(1_795_633_403_000),
        confirmation: KeyThumbprint::of(&key(2).public()),
        lease_counter: 7,
    }
}

fn within() -> Timestamp {
    claims().issued_at
}

fn check(token: &str) -> Result<Claims, TokenError> {
    verify(&key(1).public(), token, within())
}

/// A token of any header and payload, signed with the license key.
fn signed(header: &str, payload: &str) -> String {
    let parts = [header, payload].map(|part| BASE64URL_NOPAD.encode(part.as_bytes())).join(".");
    let signature = key(1).sign(parts.as_bytes());
    format!("{parts}.{}", BASE64URL_NOPAD.encode(signature.as_bytes()))
}

fn payload() -> String {
    serde_json::to_string(&ClaimsText::from(&claims())).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_token_survives_its_text(plan in "\\PC{0,20}", ent in prop::collection::vec("[a-z\"\\\\]{0,9}", 0..6), lease: u64, start in 0..4_000_000_000u64) {
        let (issued_at, expires) = (Timestamp::from_millis(start * 1000), Timestamp::from_millis(start * 1000 + 1000));
        let claims = Claims { plan, entitlements: ent, lease_counter: lease, issued_at, expires, ..claims() };
        let token = issue(&key(1), &claims).unwrap();
        prop_assert_eq!(verify(&key(1).public(), &token, issued_at), Ok(claims));
    }

    #[test]
    fn no_changed_letter_goes_unnoticed(at: prop::sample::Index, letter in "[A-Za-z0-9_.=-]") {
        let token = issue(&key(1), &claims()).unwrap();
        let at = at.index(token.len());
        let mut changed = token.clone();
        changed.replace_range(at..=at, &letter);
        prop_assume!(changed != token);
        prop_assert!(check(&changed).is_err());
    }
}

proptest! {
    #[test]
    fn no_text_panics_the_parser(text: String, header in "[A-Za-z0-9]{0,9}", rest in "[A-Za-z0-9.]{0,99}") {
        prop_assert!(check(&text).is_err());
        let (other, ours) = (format!("{header}.{rest}"), format!("{}.{rest}", encoded_header()));
        prop_assert!(check(&other).is_err());
        prop_assert!(check(&ours).is_err());
    }
}

#[test]
fn rule_20_a_token_is_a_plain_jwt_with_these_claims() {
    let token = issue(&key(1), &claims()).unwrap();
    let parts: Vec<_> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("{token}") };
    let json = |part: &str| -> serde_json::Value {
        serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
    };
    assert_eq!(json(header), serde_json::json!({"alg": "ES384", "typ": "JWT"}));
    let expected = serde_json::json!({
        "iss": claims().cluster.to_string(), "sub": claims().device.to_string(),
        "lic": claims().license.to_string(), "plan": "gold", "ent": ["uhd", "recorder"],
        "iat": 1_795_374_203u64, "exp": 1_795_633_403u64,
        "cnf": {"jkt": claims().confirmation.as_str()}, "lctr": 7,
    });
    assert_eq!(json(payload), expected);
    assert_eq!(BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap().len(), 96, "r and s, not DER");
}

#[test]
fn rule_20_no_other_algorithm_is_accepted_even_with_a_good_signature() {
    assert_eq!(check(&signed(HEADER, &payload())), Ok(claims()), "the helper makes good tokens");
    for header in [
        r#"{"alg":"none","typ":"JWT"}"#,
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"alg":"ES256","typ":"JWT"}"#,
        r#"{"typ":"JWT","alg":"ES384"}"#,
        r#"{"alg":"ES384","typ":"JWT","jku":"https://elsewhere"}"#,
        r#"{"alg":"ES384"}"#,
    ] {
        assert_eq!(check(&signed(header, &payload())), Err(TokenError::Header), "{header}");
    }
}

#[test]
fn rule_20_a_token_without_signature_or_of_another_key_is_refused() {
    let token = issue(&key(1), &claims()).unwrap();
    let (unsigned, _) = token.rsplit_once('.').unwrap();
    assert_eq!(check(&format!("{unsigned}.")), Err(TokenError::Signature));
    assert_eq!(check(&issue(&key(9), &claims()).unwrap()), Err(TokenError::Signature));
}

#[test]
fn rule_17_the_high_s_twin_of_a_tokens_signature_is_refused() {
    let token = issue(&key(1), &claims()).unwrap();
    let (unsigned, signature) = token.rsplit_once('.').unwrap();
    let twin = crate::identity::fixtures::high_s_twin(&BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap());
    let twin = format!("{unsigned}.{}", BASE64URL_NOPAD.encode(&twin));
    assert_eq!(check(&twin), Err(TokenError::Signature));
}

#[test]
fn rule_20_a_token_dies_with_its_lease() {
    let (token, expires) = (issue(&key(1), &claims()).unwrap(), claims().expires);
    let last = Timestamp::from_millis(expires.as_millis() - 1);
    assert_eq!(verify(&key(1).public(), &token, last), Ok(claims()));
    assert_eq!(verify(&key(1).public(), &token, expires), Err(TokenError::Expired(expires)));
}

#[test]
fn rule_20_a_token_names_the_one_key_that_may_show_it() {
    let thumbprint = claims().confirmation;
    assert_eq!(thumbprint, KeyThumbprint::of(&key(2).public()));
    assert_ne!(thumbprint, KeyThumbprint::of(&key(3).public()));
    assert_eq!(BASE64URL_NOPAD.decode(thumbprint.as_str().as_bytes()).unwrap().len(), 32);
}

#[test]
fn claims_that_are_unknown_missing_or_out_of_range_are_refused() {
    let refused = |payload: String| matches!(check(&signed(HEADER, &payload)), Err(TokenError::Malformed(_)));
    assert!(refused(payload().replace("\"lctr\"", "\"counter\"")));
    assert!(refused(payload().replace("\"lctr\":7", "\"lctr\":7,\"admin\":true")));
    assert!(refused(payload().replace("1795633403", "18446744073709551615")));
    assert!(refused("{}".to_owned()));
}

#[test]
fn a_token_that_would_not_fit_into_an_answer_is_not_issued() {
    let entitlements = vec!["x".repeat(40); 40];
    let refused = issue(&key(1), &Claims { entitlements, ..claims() });
    assert!(matches!(refused, Err(TokenError::TooLong(_))));
    assert!(matches!(check(&"x".repeat(LICENSE_TOKEN_BYTES_MAX + 1)), Err(TokenError::TooLong(_))));
}

/// A plan whose token is exactly as long as a token may be, or so many letters longer.
fn plan_at_the_bound(more: usize) -> Plan {
    let plan = |letters: usize| {
        let entitlements = vec!["e".repeat(letters)];
        Plan { name: "gold".to_owned(), entitlements, term_seconds: 0, lease_seconds: 1 }
    };
    let most = (0..LICENSE_TOKEN_BYTES_MAX).rev().find(|letters| plan_fits(&plan(*letters)).is_ok());
    plan(most.unwrap() + more)
}

#[test]
fn a_plan_fits_if_even_its_longest_token_can_be_issued_and_not_one_letter_more() {
    let longest = |plan: Plan| Claims {
        plan: plan.name,
        entitlements: plan.entitlements,
        issued_at: Timestamp::from_millis(u64::MAX),
        expires: Timestamp::from_millis(u64::MAX),
        lease_counter: u64::MAX,
        ..claims()
    };
    assert!(issue(&key(1), &longest(plan_at_the_bound(0))).is_ok());
    let above = plan_at_the_bound(1);
    assert!(matches!(plan_fits(&above), Err(TokenError::TooLong(_))));
    assert!(matches!(issue(&key(1), &longest(above)), Err(TokenError::TooLong(_))));
}
