//! The site's own tests: it must be as faithful as the stories believe it to be.

mod extras;
mod grammar;
mod listings;
mod lore;
mod wire;
