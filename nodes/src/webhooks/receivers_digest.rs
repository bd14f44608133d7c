//! Whether all nodes would tell the same receivers: whoever leads delivers, so that a node which is configured otherwise
//! would deliver elsewhere once it leads, and nobody would notice before.

use crate::config::WebhookConfig;
use sha2::{Digest, Sha256};

/// Names, URLs and filters of a node's webhooks as one number, in any order; 0 if there are none. Secrets are not part of
/// it, and nothing leads back from it.
#[must_use]
pub fn receivers_digest(hooks: &[WebhookConfig]) -> u32 {
    if hooks.is_empty() {
        return 0;
    }
    let mut told: Vec<Vec<&str>> = hooks.iter().map(told).collect();
    told.sort_unstable();
    let mut hash = Sha256::new();
    for hook in told {
        hash.update((hook.len() as u64).to_le_bytes());
        for text in hook {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
    }
    let [a, b, c, d, ..] = <[u8; 32]>::from(hash.finalize());
    u32::from_le_bytes([a, b, c, d]).max(1)
}

fn told(hook: &WebhookConfig) -> Vec<&str> {
    let mut events: Vec<&str> = hook.events.iter().map(String::as_str).collect();
    events.sort_unstable();
    [hook.name.as_str(), hook.url.expose()].into_iter().chain(events).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::webhooks::SigningSecret;

    fn hook(name: &str, url: &str, events: &[&str]) -> WebhookConfig {
        WebhookConfig {
            name: name.to_owned(),
            url: Secret::new(url.to_owned()),
            secret: SigningSecret::parse(&SigningSecret::text(&[7; 32])).unwrap(),
            events: events.iter().map(|&name| name.to_owned()).collect(),
            ca_file: None,
            timeout_ms: 1_000,
        }
    }

    #[test]
    fn the_same_receivers_in_another_order_are_the_same_and_any_other_receiver_is_seen() {
        let (pager, siem) =
            (hook("pager", "https://a", &["device.*", "license.*"]), hook("siem", "https://b", &[]));
        let both = receivers_digest(&[pager.clone(), siem.clone()]);
        let turned = hook("pager", "https://a", &["license.*", "device.*"]);
        assert_eq!(receivers_digest(&[siem.clone(), turned]), both);
        for other in [
            vec![],
            vec![pager.clone()],
            vec![hook("pager", "https://elsewhere", &["device.*", "license.*"]), siem.clone()],
            vec![hook("page", "rhttps://a", &["device.*", "license.*"]), siem.clone()],
            vec![hook("pager", "https://a", &["device.*"]), siem],
        ] {
            assert_ne!(receivers_digest(&other), both, "{other:?}");
        }
        assert_eq!(receivers_digest(&[]), 0);
    }

    #[test]
    fn another_secret_is_no_other_receiver() {
        let one = hook("pager", "https://a", &[]);
        let secret = SigningSecret::parse(&SigningSecret::text(&[8; 32])).unwrap();
        assert_eq!(receivers_digest(&[WebhookConfig { secret, ..one.clone() }]), receivers_digest(&[one]));
    }
}
