use super::*;
use proptest::prelude::*;

fn code(symbols: [u8; CODE_SYMBOLS]) -> ActivationCode {
    ActivationCode { symbols }
}

fn any_code() -> impl Strategy<Value = ActivationCode> {
    prop::array::uniform20(0..32u8).prop_map(code)
}

/// The 21 symbols without dashes.
fn letters(code: &ActivationCode) -> Vec<char> {
    code.to_string().chars().filter(|c| *c != '-').collect()
}

fn read(letters: &[char]) -> Result<ActivationCode, CodeError> {
    letters.iter().collect::<String>().parse()
}

proptest! {
    #[test]
    fn every_code_survives_its_text_and_its_bytes(code in any_code()) {
        prop_assert_eq!(code.to_string().parse(), Ok(code.clone()));
        prop_assert_eq!(ActivationCode::from_bytes(&code.to_bytes()[..]), Ok(code));
    }

    #[test]
    fn a_code_is_read_however_a_customer_types_it(code in any_code()) {
        let text = code.to_string();
        let sloppy = text.to_lowercase().replace('0', "o").replace('1', "l").replace('-', " ");
        prop_assert_eq!(sloppy.parse(), Ok(code.clone()));
        prop_assert_eq!(text.replace('-', "").replace('1', "I").parse(), Ok(code));
    }

    #[test]
    fn any_one_wrong_symbol_is_detected(code in any_code(), at in 0..21usize, other in 0..32usize) {
        let mut letters = letters(&code);
        let wrong = char::from(ALPHABET[other]);
        prop_assume!(letters[at] != wrong);
        letters[at] = wrong;
        prop_assert_eq!(read(&letters), Err(CodeError::Check));
    }

    #[test]
    fn any_two_symbols_that_changed_places_are_detected(code in any_code(), a in 0..21usize, b in 0..21usize) {
        let mut letters = letters(&code);
        prop_assume!(letters[a] != letters[b]);
        letters.swap(a, b);
        prop_assert_eq!(read(&letters), Err(CodeError::Check));
    }

    #[test]
    fn no_text_panics_the_parser(text: String, bytes: Vec<u8>) {
        let _ = text.parse::<ActivationCode>();
        let _ = ActivationCode::from_bytes(&bytes);
    }
}

#[test]
fn the_weights_of_all_21_symbols_differ() {
    let powers: std::collections::BTreeSet<u8> =
        std::iter::successors(Some(1), |power| Some(times_a(*power))).take(21).collect();
    assert_eq!(powers.len(), 21);
    assert!(!powers.contains(&0));
}

#[test]
fn a_code_is_written_in_groups_of_five() {
    assert_eq!(code([0; 20]).to_string(), "00000-00000-00000-00000-0");
    // a¹·1 = 2; and x²⁰ mod (x⁵ + x² + 1) = x³ + x², which is 12.
    let first: [u8; 20] = std::array::from_fn(|i| u8::from(i == 0));
    assert_eq!(code(first).to_string(), "10000-00000-00000-00000-2");
    let last: [u8; 20] = std::array::from_fn(|i| u8::from(i == 19));
    assert_eq!(code(last).to_string(), "00000-00000-00000-00001-C");
}

#[test]
fn fresh_codes_use_every_symbol_and_never_repeat() {
    let mut rng = getrandom::rand_core::UnwrapErr(getrandom::SysRng);
    let codes: Vec<_> = (0..200).map(|_| ActivationCode::generate(&mut rng)).collect();
    let texts: std::collections::BTreeSet<_> = codes.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 200);
    let used: std::collections::BTreeSet<_> = codes.iter().flat_map(|code| code.symbols).collect();
    assert_eq!(used.len(), 32, "200 codes of 20 symbols miss one with odds below 10^-50");
}

#[test]
fn a_wrong_code_says_what_is_wrong_without_repeating_it() {
    assert_eq!("12345".parse::<ActivationCode>(), Err(CodeError::Length(5)));
    let special = "0000U-00000-00000-00000-0".parse::<ActivationCode>();
    assert_eq!(special, Err(CodeError::Symbol { position: 5 }));
    assert_eq!(ActivationCode::from_bytes(b"0000000000000000000o"), Err(CodeError::Symbol { position: 20 }));
}

#[test]
fn rule_18_a_code_never_prints_through_debug() {
    assert_eq!(format!("{:?}", code([7; 20])), "ActivationCode(…)");
}
