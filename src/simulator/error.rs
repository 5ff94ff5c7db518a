//! Errors of starting the simulator.

/// Why a simulator could not start.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    #[error("the simulator could not listen on loopback")]
    Listen(#[source] std::io::Error),
    #[error("the simulator's thread could not start")]
    Thread(#[source] std::io::Error),
}
