//! What P-384 costs with each engine: the arithmetic of an activation and nothing else.

use super::report::EngineFigures;
use events::identity::key::SigningKey;
use events::keyring::HpkeSecretKey;
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use nodes::crypto_engine::{AwsLcEngine, P384Engine, PureEngine};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Both engines; the one that nodes use comes last.
#[must_use]
pub fn measure(within: Duration) -> Vec<EngineFigures> {
    let engines: [Arc<dyn P384Engine>; 2] = [Arc::new(PureEngine), Arc::new(AwsLcEngine::default())];
    engines.iter().map(|engine| figures(engine, within)).collect()
}

/// The mean of two measurements of the same engines.
#[must_use]
pub fn mean(first: Vec<EngineFigures>, second: Vec<EngineFigures>) -> Vec<EngineFigures> {
    let mean = |(first, second): (EngineFigures, EngineFigures)| EngineFigures {
        ecdh_micros: first.ecdh_micros.midpoint(second.ecdh_micros),
        verify_micros: first.verify_micros.midpoint(second.verify_micros),
        sign_micros: first.sign_micros.midpoint(second.sign_micros),
        activations_per_second: first.activations_per_second.midpoint(second.activations_per_second),
        engine: first.engine,
    };
    first.into_iter().zip(second).map(mean).collect()
}

/// Keys and messages as an activation has them.
struct Bench {
    receiver: HpkeSecretKey,
    point: [u8; 97],
    signer: SigningKey,
}

impl Bench {
    fn new() -> Self {
        let rng = &mut UnwrapErr(SysRng);
        let point = *HpkeSecretKey::generate(2, rng).public().key.as_bytes();
        Bench { receiver: HpkeSecretKey::generate(1, rng), point, signer: SigningKey::generate(rng) }
    }
}

fn figures(engine: &Arc<dyn P384Engine>, within: Duration) -> EngineFigures {
    let bench = Bench::new();
    let message = [7; 400];
    let (public, signature) = (bench.signer.public(), bench.signer.sign(&message));
    let agree = || assert!(engine.agree(&bench.receiver, &bench.point).is_ok());
    let verify = || assert!(engine.verify(&public, &message, &signature).is_ok());
    let sign = || assert_ne!(engine.sign(&bench.signer, &message).as_bytes(), &[0; 96]);
    let share = within / 4;
    EngineFigures {
        engine: engine.name().to_owned(),
        ecdh_micros: micros_each(&agree, share),
        verify_micros: micros_each(&verify, share),
        sign_micros: micros_each(&sign, share),
        activations_per_second: on_all_cores(&|| (agree(), verify(), sign()).0, share),
    }
}

fn micros_each(work: &dyn Fn(), within: Duration) -> f64 {
    // Once for what only the first time costs.
    work();
    let (began, mut times) = (Instant::now(), 0);
    while began.elapsed() < within || times == 0 {
        work();
        times += 1;
    }
    began.elapsed().as_secs_f64() * 1e6 / f64::from(times)
}

/// How often a second all cores together do `work`.
fn on_all_cores(work: &(dyn Fn() + Sync), within: Duration) -> f64 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..cores).map(|_| scope.spawn(|| 1e6 / micros_each(&|| work(), within))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).sum()
    })
}
