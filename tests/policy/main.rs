//! What a signed policy allows, asked of the floor itself: no store, no HTTP. One binary for all of it, which is linked once.

mod cases;
mod causes;
mod property;
mod requests;
