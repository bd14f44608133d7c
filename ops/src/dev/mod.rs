pub mod children;
pub mod nats;
pub mod ports;
