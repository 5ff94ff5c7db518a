//! The message that users or configuration changed.

use std::sync::Arc;

use actix::Message;

use crate::db::Directory;

/// Users or configuration changed; holds the new directory.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct DirectoryChanged(pub Arc<Directory>);
