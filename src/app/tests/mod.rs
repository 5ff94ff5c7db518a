//! Tests of the whole worker.

mod actor_restarts;
