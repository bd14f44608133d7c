//! `muster-agent license`: asks the running agent as an app does.

use super::args::LicenseArgs;
use super::exit::{FAILED, Failure, REFUSED, UNREACHABLE};
use super::output::Output;
use crate::license::client::{self, ClientError};
use crate::license::wire::Nonce;
use crate::shell::entropy::Entropy;
use events::license::proof::NONCE_BYTES;
use rand_core::Rng;

pub fn show(wanted: &LicenseArgs, output: Output) -> Result<(), Failure> {
    let nonce = wanted.nonce.unwrap_or_else(fresh_nonce);
    let answer = client::ask(&wanted.socket, &wanted.app, nonce).map_err(|error| {
        let code = match error {
            ClientError::Refused { .. } => REFUSED,
            ClientError::Socket { .. } => UNREACHABLE,
            ClientError::Answer(_) | ClientError::Proof(_) => FAILED,
        };
        Failure::new(code, error)
    })?;
    output.answer(&answer, || {
        format!(
            "token    {}\nlease    until {}\njudged   at {}\nproof    holds for this app and nonce, by the device key",
            answer.token, answer.expires, answer.at
        )
    });
    Ok(())
}

fn fresh_nonce() -> Nonce {
    let mut nonce = [0; NONCE_BYTES];
    Entropy.fill_bytes(&mut nonce);
    Nonce(nonce)
}
