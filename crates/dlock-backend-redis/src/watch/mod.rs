//! Watches: what scripts announce, told to those who watch.

mod follower;
mod hub;
mod queue;

pub(crate) use follower::follow;
pub(crate) use hub::Hub;
