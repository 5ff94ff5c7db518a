//! A second handle on a visitor's connection, which can close it from outside.
//!
//! A browser that stops reading stalls its connection forever: the HTTP server waits for space to write and polls
//! nothing else of that connection, no timer and no actor. Only a shutdown of the socket ends it.

use std::{any::Any, net::Shutdown, os::fd::AsFd, sync::Arc};

/// The connection of one visitor. The default cannot be cut; it is for requests without a network, as in tests.
#[derive(Debug, Clone, Default)]
pub struct Socket(Option<Arc<std::net::TcpStream>>);

impl Socket {
    /// Duplicates the handle of a connection that the HTTP server has just accepted.
    pub fn of(connection: &dyn Any) -> Self {
        let stream = connection.downcast_ref::<actix_web::rt::net::TcpStream>();
        let handle = stream.and_then(|stream| stream.as_fd().try_clone_to_owned().ok());
        Self(handle.map(|handle| Arc::new(handle.into())))
    }

    /// Closes the connection immediately. Unsent data is lost.
    pub fn cut(&self) {
        if let Some(stream) = &self.0 {
            // An error means that the connection is closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
