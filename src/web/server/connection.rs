//! A second handle on a visitor's connection, to cut it from outside.
//!
//! A browser that stops reading stalls its connection for good: the HTTP server waits for room to write and polls
//! nothing else of that connection, no timer and no actor. Only shutting the socket itself ends it.

use std::{any::Any, net::Shutdown, os::fd::AsFd, sync::Arc};

/// The connection of one visitor. The default is one that cannot be cut, for requests without a network.
#[derive(Debug, Clone, Default)]
pub struct Socket(Option<Arc<std::net::TcpStream>>);

impl Socket {
    /// Looks at a connection the HTTP server has just accepted.
    pub fn of(connection: &dyn Any) -> Self {
        let stream = connection.downcast_ref::<actix_web::rt::net::TcpStream>();
        let handle = stream.and_then(|stream| stream.as_fd().try_clone_to_owned().ok());
        Self(handle.map(|handle| Arc::new(handle.into())))
    }

    /// Ends the connection at once, whatever was still to be written.
    pub fn cut(&self) {
        if let Some(stream) = &self.0 {
            // It may be gone already, which is what we want.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
